/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What changes while a registration is being made, and only the caller knows of it: kdreg_cache_invalidate and kdreg_cache_flush end what is
 * under way as well as what is there. */
#include <pthread.h>
#include <semaphore.h>

#include "check.h"

static size_t page;

/* Registrations are numbered as they begin. The first one of `held` threads waits inside the callback, as a slow driver would once it has
 * pinned the pages. */
struct device {
    sem_t inside, go_on;
    atomic_int slow, slow_to_undo;
    atomic_long begun, undone;
};

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)addr;
    (void)length;
    (void)access;
    *handle = (void *)(atomic_fetch_add(&device->begun, 1) + 1);
    if (atomic_fetch_sub(&device->slow, 1) > 0) {
        sem_post(&device->inside);
        while (sem_wait(&device->go_on))
            ;
    }
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    (void)addr;
    (void)length;
    (void)handle;
    if (atomic_load(&device->slow_to_undo)) {
        sem_post(&device->inside);
        usleep(100000);
    }
    atomic_fetch_add(&device->undone, 1);
    return 0;
}

struct getter {
    kdreg_cache_t *cache;
    char *addr;
    size_t length;
    int error;
    pthread_t thread;
};

static void *get_put(void *argument)
{
    struct getter *getter = argument;
    kdreg_entry_t *entry;
    getter->error = kdreg_cache_get(getter->cache, getter->addr, getter->length, KDREG_ACCESS_READ, &entry);
    if (!getter->error)
        getter->error = kdreg_cache_put(getter->cache, entry);
    return NULL;
}

/* The number of the registration that serves the range; 0: none does. */
static long found(kdreg_cache_t *cache, char *addr, size_t length)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_find(cache, addr, length, KDREG_ACCESS_READ, &entry);
    if (error) {
        CHECK_IS(error, -ENOENT);
        return 0;
    }
    long number = (long)kdreg_entry_handle(entry);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    return number;
}

/* What is said while the registration of pages 4 to 7 is under way. */
struct saying {
    const char *name;
    long first, count; /* pages that are invalidated; 0 of them: flush */
    size_t neighbour;  /* pages before the range that are cached and will be merged with it */
    int threads;       /* that are registering the range */
    bool ends;
};

static const struct saying sayings[] = {
    {"invalidate, the same range", 4, 4, 0, 1, true},
    {"invalidate, a page of it", 6, 1, 0, 1, true},
    {"invalidate, more than it", 0, 16, 0, 1, true},
    {"invalidate, its last page and more", 7, 4, 0, 1, true},
    {"invalidate, the page before it", 3, 1, 0, 1, false},
    {"invalidate, the page behind it", 8, 1, 0, 1, false},
    {"invalidate, a neighbour that is being merged", 2, 1, 2, 1, true},
    {"invalidate, several threads registering it", 4, 4, 0, 4, true},
    {"flush", 0, 0, 0, 1, true},
    {"flush, several threads registering it", 0, 0, 0, 4, true},
};

static void said_under_way(kdreg_t *monitor, const struct saying *saying)
{
    check_says("%s", saying->name);
    char *memory = check_space(16 * page), *range = memory + 4 * page;
    size_t length = 4 * page;
    struct device device = {.slow = 0};
    sem_init(&device.inside, 0, 0);
    sem_init(&device.go_on, 0, 0);
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister, .ctx = &device};
    kdreg_cache_t *cache;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");

    struct getter getters[4];
    if (saying->neighbour) {
        getters[0] = (struct getter){.cache = cache, .addr = range - saying->neighbour * page, .length = saying->neighbour * page};
        get_put(&getters[0]);
        CHECK_IS(getters[0].error, 0);
    }
    atomic_store(&device.slow, saying->threads);
    for (int i = 0; i < saying->threads; i++) {
        getters[i] = (struct getter){.cache = cache, .addr = range, .length = length};
        REQUIRE(pthread_create(&getters[i].thread, NULL, get_put, &getters[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < saying->threads; i++)
        while (sem_wait(&device.inside))
            ;
    long before = atomic_load(&device.begun);
    if (saying->count)
        CHECK(kdreg_cache_invalidate(cache, memory + saying->first * (long)page, (size_t)saying->count * page) >= 0, "kdreg_cache_invalidate");
    else
        CHECK(kdreg_cache_flush(cache) >= 0, "kdreg_cache_flush");
    CHECK_IS(found(cache, range, length), 0);
    for (int i = 0; i < saying->threads; i++)
        sem_post(&device.go_on);
    for (int i = 0; i < saying->threads; i++) {
        pthread_join(getters[i].thread, NULL);
        CHECK_IS(getters[i].error, 0);
    }
    long number = found(cache, range, length);
    if (saying->ends)
        CHECK(number == 0 || number > before, "registration %ld is found, begun before it was said that its memory changed", number);
    else
        CHECK(number == before, "registration %ld is found instead of %ld, which it was none of", number, before);

    /* And what is got from now on is from now. */
    get_put(&getters[0]);
    CHECK_IS(getters[0].error, 0);
    number = found(cache, range, length);
    CHECK(number > (saying->ends ? before : 0), "registration %ld is found", number);
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
    CHECK_IS(stats.in_use, 0);
    CHECK_IS(stats.entries, atomic_load(&device.begun) - atomic_load(&device.undone));
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(atomic_load(&device.undone), atomic_load(&device.begun));
    munmap(memory, 16 * page);
}

/* What it is registered in may go once a flush has returned, whoever had begun to deregister. */
static void released_under_way(kdreg_t *monitor)
{
    check_says("a flush waits for the reaper");
    struct device device = {.slow_to_undo = 1};
    sem_init(&device.inside, 0, 0);
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister, .ctx = &device};
    kdreg_cache_t *cache;
    CHECK_IS(kdreg_cache_create(monitor, &attr, &cache), 0);
    for (int round = 1; round <= 5; round++) {
        struct getter getter = {.cache = cache, .addr = check_space(page), .length = page};
        get_put(&getter);
        CHECK_IS(getter.error, 0);
        munmap(getter.addr, page);
        while (sem_wait(&device.inside))
            ;
        CHECK(kdreg_cache_flush(cache) >= 0, "kdreg_cache_flush");
        CHECK_IS(atomic_load(&device.undone), round);
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    sem_destroy(&device.inside);
}

int main(void)
{
    check_watchdog(240);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    for (size_t i = 0; i < sizeof sayings / sizeof *sayings; i++)
        said_under_way(monitor, &sayings[i]);
    released_under_way(monitor);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("underway");
}
