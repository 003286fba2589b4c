/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Callbacks that do not return, in the library's own threads: what was unmapped is released all the same, and exit() is not disturbed. */
#include "callbacks.h"

static void unmap_registered(kdreg_cache_t *cache, size_t count)
{
    char *memory = check_space(2 * count * page);
    for (size_t i = 0; i < count; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    munmap(memory, 2 * count * page);
}

static void in_the_reaper(kdreg_t *monitor, enum way way)
{
    check_says("deregister in the reaper %s, once, then each time", ways[way]);
    struct device device = {.way = way, .armed = DEREGISTER};
    kdreg_cache_t *cache = device_cache(monitor, &device, 0, 0, 0);
    unmap_registered(cache, 3);
    /* Nobody calls the cache: another reaper comes by itself. */
    CHECK_EVENTUALLY(atomic_load(&device.pinned) == 0, 60, "%d are still pinned", device.pinned);
    CHECK_IS(device.armed, NEITHER);
    unmap_registered(cache, 3);
    CHECK_EVENTUALLY(atomic_load(&device.pinned) == 0, 60, "%d are still pinned", device.pinned);
    atomic_store(&device.always, DEREGISTER);
    unmap_registered(cache, 2);
    CHECK_EVENTUALLY(atomic_load(&device.pinned) == 0, 60, "%d are still pinned", device.pinned);
    atomic_store(&device.always, NEITHER);
    device_check(cache, &device, ways[way]);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(alive(), 0);
}

/* Who is told in the cache's own thread, and leaves. */
struct told {
    kdreg_cache_t *cache;
    enum way way;
    bool from_done;
    atomic_int calls, done;
};

static void ready(void *argument, int status, kdreg_entry_t *entry)
{
    struct told *told = argument;
    atomic_fetch_add(&told->calls, 1);
    if (status == 0) {
        /* The drain has begun when this leaves. */
        kdreg_entry_t *other = NULL;
        while (kdreg_cache_find(told->cache, told, page, KDREG_ACCESS_READ, &other) != -ESHUTDOWN)
            check_sleep_ms(1);
        CHECK_IS(kdreg_cache_put(told->cache, entry), 0);
    }
    if (!told->from_done)
        leave(told->way);
}

static void done(void *argument)
{
    struct told *told = argument;
    atomic_fetch_add(&told->done, 1);
    if (told->from_done)
        leave(told->way);
}

static void in_a_drain(kdreg_t *monitor, enum way way, bool waits, bool from_done)
{
    check_says("a drain that %s, while %s in the cache's own thread %s", waits ? "waits" : "calls back", from_done ? "its callback" : "who is told", ways[way]);
    struct device device = {.way = way};
    kdreg_cache_t *cache = device_cache(monitor, &device, KDREG_CACHE_NO_REAPER, 0, 0);
    struct told told = {.cache = cache, .way = way, .from_done = from_done};
    char *memory = check_space(4 * page);
    for (int i = 0; i < 2; i++) {
        struct kdreg_get_attr attr = {.size = sizeof attr, .access = KDREG_ACCESS_READ};
        CHECK_IS(kdreg_cache_prefetch(cache, memory + 2 * (size_t)i * page, page, &attr, ready, &told), 0);
    }
    CHECK_EVENTUALLY(atomic_load(&told.calls) == 1, 60, "%d calls", told.calls);
    CHECK_IS(kdreg_cache_drain(cache, waits ? NULL : done, &told), 0);
    CHECK_EVENTUALLY(waits || atomic_load(&told.done) == 1, 60, "nobody is told that it is drained");
    CHECK_IS(told.calls, 2);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(told.done, waits ? 0 : 1);
    CHECK_IS(alive(), 0);
    munmap(memory, 4 * page);
}

/* The process exits while the reaper has something to do: no callback begins once exit() has come to the library. */
static struct device *last;
static atomic_bool exiting;
static atomic_int late;

static int late_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    if (atomic_load(&exiting))
        atomic_fetch_add(&late, 1);
    return 0;
}

static int late_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    *handle = addr;
    return 0;
}

/* Registered before the cache is made, so that it runs after the library's. */
static void at_exit(void)
{
    if (!last)
        return;
    atomic_store(&exiting, true);
    char *memory = (char *)last;
    munmap(memory, 64 * page);
    check_sleep_ms(50);
    _exit(atomic_load(&late) ? 1 : 0);
}

static void at_the_end(void)
{
    check_says("once the process exits the reaper calls nothing");
    pid_t child = check_fork();
    if (child == 0) {
        atexit(at_exit);
        struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = late_register, .dereg = late_deregister};
        kdreg_cache_t *cache;
        CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), 0);
        char *memory = check_space(64 * page);
        for (size_t i = 0; i < 32; i++)
            CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
        last = (struct device *)memory;
        exit(2);
    }
    CHECK(check_child_succeeded(child), "a callback was called after exit() had begun, or the process did not end");
}

int main(void)
{
    check_watchdog(240);
    page = (size_t)sysconf(_SC_PAGESIZE);
    /* First, while this process has no cache that a child could inherit. */
    kdreg_t *monitor = check_open(0);
    at_the_end();
    in_the_reaper(monitor, BY_EXIT);
    in_the_reaper(monitor, BY_THROWING);
    for (enum way way = BY_THROWING; way <= BY_EXIT; way++) {
        in_a_drain(monitor, way, true, false);
        in_a_drain(monitor, way, false, false);
        in_a_drain(monitor, way, false, true);
    }
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("unwinding_reaper");
}
