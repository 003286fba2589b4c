/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A process that has no thread-specific key left before the library asks for one: what is noted of a thread under a key is not, and what depends on it
 * must not wait for itself. */
#include <pthread.h>

#include "caches.h"

static size_t page;
static bool watches;
static char *memory;

static struct device {
    kdreg_cache_t *cache;
    int registered, undone, flushed, heard;
    bool flushes, waits, goes_on;
} device;

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    device.registered++;
    *handle = addr;
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    device.undone++;
    if (device.flushes) {
        CHECK(kdreg_cache_flush(device.cache) >= 0, "kdreg_cache_flush in a callback");
        CHECK_IS(kdreg_cache_drain(device.cache, NULL, NULL), -EDEADLK);
        CHECK_IS(kdreg_cache_destroy(device.cache), -EDEADLK);
        device.flushed++;
    }
    if (__atomic_exchange_n(&device.waits, false, __ATOMIC_ACQ_REL))
        while (!__atomic_load_n(&device.goes_on, __ATOMIC_ACQUIRE))
            check_sleep_ms(1);
    return 0;
}

/* Called in the middle of a deregistration, among others. */
static void hear(void *context, int level, const char *message)
{
    (void)context, (void)level;
    if (strncmp(message, "deregister ", 11) || device.heard++)
        return;
    CHECK(kdreg_cache_flush(device.cache) >= 0, "kdreg_cache_flush in a function of the log's");
    CHECK_IS(kdreg_cache_destroy(device.cache), -EDEADLK);
}

static void create(bool flushes)
{
    device = (struct device){.flushes = flushes};
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = device_register;
    attr.dereg = device_deregister;
    attr.flags = KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER;
    device.cache = new_cache(NULL, &attr);
}

static void destroy(void)
{
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
    CHECK_IS(device.undone, device.registered);
}

static void drop_one(void)
{
    kdreg_entry_t *entry = NULL;
    CHECK_IS(kdreg_cache_get(device.cache, memory, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_drop(device.cache, entry, NULL, NULL), 0);
    CHECK_IS(kdreg_cache_put(device.cache, entry), 0);
}

static void *drop_in_thread(void *unused)
{
    drop_one();
    return unused;
}

static int flush_ended;
static void *flush_in_thread(void *unused)
{
    CHECK(kdreg_cache_flush(device.cache) >= 0, "kdreg_cache_flush");
    CHECK(__atomic_load_n(&device.goes_on, __ATOMIC_ACQUIRE), "a flush did not wait for another thread's deregistration");
    __atomic_store_n(&flush_ended, 1, __ATOMIC_RELEASE);
    return unused;
}

/* One is inside a callback, and another flushes: not being the one, it waits. */
static void others(void)
{
    check_says("a flush beside a callback waits for it");
    create(false);
    device.waits = true;
    pthread_t inside, flushing;
    REQUIRE(pthread_create(&inside, NULL, drop_in_thread, NULL) == 0, "pthread_create");
    CHECK_EVENTUALLY(!__atomic_load_n(&device.waits, __ATOMIC_ACQUIRE), 60, "nothing is deregistered");
    REQUIRE(pthread_create(&flushing, NULL, flush_in_thread, NULL) == 0, "pthread_create");
    /* As long as it takes to flush without waiting, many times over. */
    for (int i = 0; i < 200 && !__atomic_load_n(&flush_ended, __ATOMIC_ACQUIRE); i++)
        check_sleep_ms(1);
    __atomic_store_n(&device.goes_on, true, __ATOMIC_RELEASE);
    pthread_join(inside, NULL);
    pthread_join(flushing, NULL);
    destroy();
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    memory = check_space(16 * page);
    pthread_key_t key;
    int keys = 0;
    while (pthread_key_create(&key, NULL) == 0)
        keys++;
    CHECK(keys > 0, "the process has no key to take");
    CHECK_IS(kdreg_close(check_open_any(&watches)), 0);

    check_says("entries are got, found, and put");
    create(false);
    for (int i = 0; i < 16; i++)
        CHECK_IS(get_put(device.cache, memory + (size_t)(i % 4) * page, page), 0);
    CHECK_IS(device.registered, watches ? 4 : 16);
    CHECK_IS(kdreg_cache_flush(device.cache), watches ? 4 : 0);
    destroy();

    check_says("a flush in a callback waits for nobody");
    create(true);
    drop_one();
    CHECK_IS(get_put(device.cache, memory, page), 0);
    CHECK(kdreg_cache_flush(device.cache) >= 0, "kdreg_cache_flush");
    CHECK_IS(device.flushed, 2);
    destroy();

    check_says("nor does one in a function of the log's");
    create(false);
    CHECK_IS(kdreg_add_log(hear, NULL, KDREG_LOG_DEBUG), 0);
    drop_one();
    CHECK(device.heard > 0, "it has not heard of a deregistration");
    CHECK_IS(kdreg_remove_log(hear, NULL), 0);
    destroy();
    others();
    return check_result("keyless");
}
