/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads that are cancelled, in the deferred way: the library's own code is no cancellation point, whatever it does. */
#include "callbacks.h"
#include "cancelling.h"

static atomic_int reached;

/* Everything there is, by a thread that is to be cancelled at the next point where it can be. */
static void everything(kdreg_t *shared, int fd)
{
    char *memory = check_space(64 * page);
    void *nowhere = (void *)(2 * page);
    struct device device = {.capacity = 0};
    struct kdreg_region region;
    struct kdreg_event events[4];
    kdreg_t *monitor;
    kdreg_cache_t *cache;
    kdreg_entry_t *entry, *held;
    struct kdreg_backend_info info = {.size = sizeof info};
    struct kdreg_attr private = {.size = sizeof private, .flags = KDREG_OPEN_PRIVATE};
    for (uint32_t backend = KDREG_BACKEND_KERNEL; backend <= KDREG_BACKEND_BPF; backend++)
        kdreg_probe(backend, &info);
    CHECK_IS(kdreg_open(&private, &monitor), 0);
    CHECK_IS(kdreg_monitor(monitor, memory, page, 1, &region), 0);
    CHECK(kdreg_valid(&region), "a region that nobody changed");
    CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
    CHECK_IS(kdreg_monitor(monitor, memory, page, 2, &region), 0);
    munmap(memory, page);
    CHECK(!kdreg_valid(&region), "a region that is gone");
    CHECK_IS(kdreg_check(monitor, events, 4), 1);
    CHECK(kdreg_monitor(monitor, nowhere, page, 3, &region) < 0, "what is not mapped");
    CHECK_IS(kdreg_close(monitor), 0);
    for (uint32_t flags = 0; flags <= (KDREG_CACHE_NO_REAPER | KDREG_CACHE_BYPASS); flags += 2) {
        cache = device_cache(shared, &device, flags, 4, 0);
        for (size_t i = 1; i < 20; i++)
            CHECK_IS(get_put(cache, memory + 3 * i * page, page), 0);
        CHECK_IS(kdreg_cache_get(cache, memory + 3 * page, page, KDREG_ACCESS_READ, &entry), 0);
        kdreg_entry_valid(cache, entry);
        CHECK(kdreg_cache_get(cache, nowhere, page, KDREG_ACCESS_READ, &held) == -EFAULT || (flags & KDREG_CACHE_BYPASS), "what is not mapped");
        CHECK_IS(kdreg_cache_get(cache, memory + 6 * page, 9 * page, KDREG_ACCESS_READ, &held), 0);
        madvise(memory + page, 20 * page, MADV_DONTNEED);
        kdreg_cache_reap(cache);
        CHECK_IS(kdreg_cache_put(cache, held), 0);
        if (kdreg_cache_find(cache, memory + 3 * page, page, KDREG_ACCESS_READ, &held) == 0)
            CHECK_IS(kdreg_cache_put(cache, held), 0);
        kdreg_cache_invalidate(cache, memory, 64 * page);
        CHECK_IS(kdreg_cache_dump(cache, fd), 0);
        stats_of(cache);
        CHECK(kdreg_cache_flush(cache) >= 0, "flush");
        CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
        /* The last of the process: the reaper ends, too. */
        CHECK_IS(kdreg_cache_destroy(cache), 0);
    }
    munmap(memory + page, 63 * page);
}

struct pending {
    kdreg_t *monitor;
    int fd;
};

static void *cancel_first(void *argument)
{
    struct pending *pending = argument;
    pthread_cancel(pthread_self());
    everything(pending->monitor, pending->fd);
    atomic_fetch_add(&reached, 1);
    pthread_testcancel();
    return NULL;
}

static void is_no_cancellation_point(kdreg_t *monitor, int level)
{
    struct pending pending = {monitor, open("/dev/null", O_WRONLY | O_CLOEXEC)};
    REQUIRE(pending.fd >= 0, "/dev/null");
    int errors = dup(2);
    dup2(pending.fd, 2);
    CHECK_IS(kdreg_set_log(NULL, NULL, level), 0);
    atomic_store(&reached, 0);
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, cancel_first, &pending) == 0, "pthread_create");
    pthread_join(thread, &result);
    dup2(errors, 2);
    close(errors);
    close(pending.fd);
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    CHECK(reached == 1, "a call was a cancellation point");
    CHECK(result == PTHREAD_CANCELED, "the thread was not cancelled when it could be");
}

/* At any moment, from outside, with callbacks that are cancellation points. */
static struct device busy = {.capacity = 0};
static kdreg_cache_t *busy_cache;

static int pausing_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    pthread_testcancel();
    check_sleep_ms(0);
    *handle = addr;
    atomic_fetch_add(&busy.pinned, 1);
    return 0;
}

static int pausing_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    atomic_fetch_sub(&busy.pinned, 1);
    check_sleep_ms(0);
    return 0;
}

static void unmap(void *memory) { munmap(memory, 8 * page); }

static void *use(void *argument)
{
    (void)argument;
    for (;;) {
        char *memory = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED, "mmap");
        pthread_cleanup_push(unmap, memory);
        for (size_t i = 0; i < 8; i += 2) {
            kdreg_entry_t *entry;
            if (kdreg_cache_get(busy_cache, memory + i * page, page, KDREG_ACCESS_READ, &entry) == 0) {
                CHECK_IS(kdreg_cache_put(busy_cache, entry), 0);
            }
        }
        if (memory[0] == 0 && ((uintptr_t)memory / page) % 4 == 0)
            kdreg_cache_flush(busy_cache);
        pthread_cleanup_pop(1);
    }
    return NULL;
}

static bool all_is_undone(void)
{
    struct kdreg_cache_stats stats = stats_of(busy_cache);
    return stats.registrations == stats.deregistrations;
}

static void at_any_time(kdreg_t *monitor, uint32_t flags)
{
    check_says("threads are cancelled at any time%s", flags ? ", without a reaper" : "");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = pausing_register, .dereg = pausing_deregister, .flags = flags, .max_entries = 16};
    CHECK_IS(kdreg_cache_create(monitor, &attr, &busy_cache), 0);
    cancel_at_any_time(use);
    CHECK(kdreg_cache_flush(busy_cache) >= 0, "flush");
    CHECK_EVENTUALLY(atomic_load(&busy.pinned) == 0, 60, "%d are still pinned", busy.pinned);
    /* Counted once the callback has returned. */
    CHECK_EVENTUALLY(all_is_undone(), 60, "registrations that are not undone");
    struct kdreg_cache_stats stats = stats_of(busy_cache);
    CHECK_IS(stats.in_use, 0);
    CHECK(stats.registrations > 0, "nothing was registered");
    CHECK_IS(kdreg_cache_destroy(busy_cache), 0);
}

int main(void)
{
    check_watchdog(240);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    check_says("no call is a cancellation point");
    is_no_cancellation_point(monitor, KDREG_LOG_WARN);
    check_says("nor with all there is to be said");
    is_no_cancellation_point(monitor, KDREG_LOG_DEBUG);
    at_any_time(monitor, KDREG_CACHE_NO_REAPER);
    at_any_time(monitor, 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("cancelled");
}
