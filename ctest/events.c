/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Events and descriptors: one event per region, the word before the event, pollable descriptors, release without anybody calling. */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "check.h"

enum { WAIT_MS = 60000, WAIT_S = 60 };
static size_t page;

static kdreg_t *watching;

static char *map(size_t pages)
{
    char *memory = check_space(pages * page);
    check_pages(watching, memory, pages * page);
    return memory;
}

static bool readable(int fd, int milliseconds)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    return poll(&pollfd, 1, milliseconds) == 1 && (pollfd.revents & POLLIN);
}

/* Nothing is pending. Where changes to any memory make it readable, it may be so, and nothing can be taken. */
static bool quiet(kdreg_t *monitor, int milliseconds)
{
    struct kdreg_event event;
    return !readable(kdreg_fd(monitor), milliseconds) ||
           (check_is_bpf(monitor) && kdreg_check(monitor, &event, 1) == 0 && !readable(kdreg_fd(monitor), 0));
}

static void one_event_per_region(kdreg_t *monitor)
{
    check_says("one event per region, however often it changes; cookie, address and length are the caller's");
    char *memory = map(8);
    struct kdreg_region region;
    struct kdreg_event events[4];
    REQUIRE(kdreg_monitor(monitor, memory + 100, 5000, UINT64_MAX, &region) == 0, "kdreg_monitor");
    CHECK(quiet(monitor, 0), "readable before anything happened");
    for (int i = 0; i < 5; i++)
        madvise(memory, 2 * page, MADV_DONTNEED);
    munmap(memory, page);
    CHECK(!kdreg_valid(&region), "a change is missed");
    CHECK(readable(kdreg_fd(monitor), WAIT_MS), "the descriptor does not poll readable");
    int count = kdreg_check(monitor, events, 4);
    CHECK_IS(count, 1);
    CHECK(events[0].cookie == UINT64_MAX && events[0].addr == memory + 100 && events[0].length == 5000 &&
              (events[0].reason == KDREG_REASON_DISCARD || (check_is_bpf(monitor) && events[0].reason == KDREG_REASON_UNKNOWN)),
          "cookie %llx, %p+%zu, reason %u", (unsigned long long)events[0].cookie, (const void *)events[0].addr, events[0].length, events[0].reason);
    CHECK(!readable(kdreg_fd(monitor), 0) && kdreg_check(monitor, events, 4) == 0, "there is more");
    munmap(memory + page, 7 * page);
    CHECK(quiet(monitor, 50), "an event for a region that had its event");
    kdreg_unmonitor(monitor, &region);
}

static void small_drains(kdreg_t *monitor)
{
    enum { REGIONS = 100 };
    check_says("draining %d events three at a time loses none and repeats none; the descriptor is readable until the last", REGIONS);
    char *memory = map(REGIONS);
    static struct kdreg_region regions[REGIONS];
    unsigned char seen[REGIONS] = {0};
    for (size_t i = 0; i < REGIONS; i++)
        REQUIRE(kdreg_monitor(monitor, memory + i * page, page, i, &regions[i]) == 0, "kdreg_monitor");
    munmap(memory, REGIONS * page);
    int taken = 0;
    while (taken < REGIONS && readable(kdreg_fd(monitor), WAIT_MS)) {
        struct kdreg_event events[3];
        CHECK_IS(kdreg_check(monitor, NULL, 0), 0);
        int count = kdreg_check(monitor, events, 3);
        REQUIRE(count >= 0 && count <= 3, "kdreg_check: %d", count);
        for (int i = 0; i < count; i++)
            CHECK(events[i].cookie < REGIONS && !seen[events[i].cookie]++, "cookie %llu twice, or unknown", (unsigned long long)events[i].cookie);
        taken += count;
    }
    CHECK(taken == REGIONS && !readable(kdreg_fd(monitor), 0), "%d events of %d", taken, REGIONS);
    for (size_t i = 0; i < REGIONS; i++)
        CHECK_IS(kdreg_unmonitor(monitor, &regions[i]), 0);
}

static void unmonitored_is_silent(kdreg_t *monitor)
{
    check_says("no event after kdreg_unmonitor, not even one that was pending; other events stay");
    char *memory = map(4);
    struct kdreg_region one, two, three;
    struct kdreg_event event;
    REQUIRE(kdreg_monitor(monitor, memory, page, 1, &one) == 0 && kdreg_monitor(monitor, memory, page, 2, &two) == 0 &&
                kdreg_monitor(monitor, memory, page, 3, &three) == 0,
            "kdreg_monitor");
    CHECK_IS(kdreg_unmonitor(monitor, &one), 0);
    munmap(memory, page);
    CHECK(!kdreg_valid(&two), "a change is missed");
    CHECK_IS(kdreg_unmonitor(monitor, &two), 0);
    CHECK(readable(kdreg_fd(monitor), WAIT_MS), "the third region's event");
    CHECK_IS(kdreg_check(monitor, &event, 1), 1);
    CHECK(event.cookie == 3, "cookie %llu", (unsigned long long)event.cookie);
    CHECK_IS(kdreg_check(monitor, &event, 1), 0);
    CHECK_IS(kdreg_unmonitor(monitor, &three), 0);
    munmap(memory + page, 3 * page);
}

/* Whoever has taken the event must find the word changed. */
struct order {
    kdreg_t *monitor;
    struct kdreg_region *regions;
    int count;
    int early;
};

static void *take_events(void *argument)
{
    struct order *order = argument;
    for (int taken = 0; taken < order->count;) {
        struct kdreg_event event;
        int got = kdreg_check(order->monitor, &event, 1);
        REQUIRE(got >= 0, "kdreg_check: %s", kdreg_strerror(got));
        if (!got)
            continue;
        taken++;
        const struct kdreg_region *region = &order->regions[event.cookie];
        order->early += __atomic_load_n(region->word, __ATOMIC_ACQUIRE) == region->generation;
        order->early += kdreg_valid(region);
    }
    return NULL;
}

static void word_before_event(kdreg_t *monitor)
{
    enum { REGIONS = 2000 };
    check_says("the word is changed before the event can be taken (%d regions, another thread takes)", REGIONS);
    char *memory = map(REGIONS);
    struct kdreg_region *regions = calloc(REGIONS, sizeof *regions);
    for (size_t i = 0; i < REGIONS; i++)
        REQUIRE(kdreg_monitor(monitor, memory + i * page, page, i, &regions[i]) == 0, "kdreg_monitor");
    struct order order = {.monitor = monitor, .regions = regions, .count = REGIONS};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, take_events, &order) == 0, "pthread_create");
    for (size_t i = 0; i < REGIONS / 2; i++)
        madvise(memory + i * page, page, MADV_DONTNEED);
    munmap(memory, REGIONS * page);
    pthread_join(thread, NULL);
    CHECK(order.early == 0, "%d events came before their word had changed", order.early);
    for (size_t i = 0; i < REGIONS; i++)
        kdreg_unmonitor(monitor, &regions[i]);
    free(regions);
}

static void epoll_works(kdreg_t *monitor)
{
    check_says("kdreg_fd in an epoll set: level- and edge-triggered, quiet when nothing is pending");
    int level = epoll_create1(EPOLL_CLOEXEC), edge = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event watch = {.events = EPOLLIN}, got;
    REQUIRE(epoll_ctl(level, EPOLL_CTL_ADD, kdreg_fd(monitor), &watch) == 0, "epoll_ctl: %s", strerror(errno));
    watch.events = EPOLLIN | EPOLLET;
    REQUIRE(epoll_ctl(edge, EPOLL_CTL_ADD, kdreg_fd(monitor), &watch) == 0, "epoll_ctl: %s", strerror(errno));
    for (int round = 0; round < 20; round++) {
        char *memory = map(2);
        struct kdreg_region region;
        struct kdreg_event event;
        REQUIRE(kdreg_monitor(monitor, memory, 2 * page, 1, &region) == 0, "kdreg_monitor");
        CHECK(quiet(monitor, 0) && epoll_wait(level, &got, 1, 0) == 0, "round %d: readable while nothing is pending", round);
        munmap(memory, 2 * page);
        CHECK(epoll_wait(edge, &got, 1, WAIT_MS) == 1, "round %d: no edge", round);
        CHECK(epoll_wait(level, &got, 1, WAIT_MS) == 1, "round %d: no level", round);
        CHECK(epoll_wait(level, &got, 1, 0) == 1, "round %d: the level dropped though nothing was taken", round);
        CHECK_IS(kdreg_check(monitor, &event, 1), 1);
        kdreg_unmonitor(monitor, &region);
    }
    CHECK(epoll_wait(level, &got, 1, 0) == 0, "readable after all was taken");
    close(level);
    close(edge);
}

static void close_discards(void)
{
    check_says("closing with events pending; a handle opened afterwards hears nothing of them");
    kdreg_t *monitor = check_open(0);
    char *memory = map(1);
    struct kdreg_region region;
    struct kdreg_event event;
    REQUIRE(kdreg_monitor(monitor, memory, page, 1, &region) == 0, "kdreg_monitor");
    munmap(memory, page);
    CHECK_IS(kdreg_close(monitor), 0);
    CHECK(!kdreg_valid(&region), "valid after close");
    CHECK_IS(kdreg_check(monitor, &event, 1), -EBADF);
    monitor = check_open(0);
    CHECK(kdreg_check(monitor, &event, 1) == 0 && !readable(kdreg_fd(monitor), 50), "an old event");
    CHECK_IS(kdreg_close(monitor), 0);
}

static atomic_int pinned;
static atomic_bool outside_calls;
static _Thread_local bool in_call;

static int pin(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)length;
    (void)access;
    *handle = addr;
    atomic_fetch_add(&pinned, 1);
    if (!in_call)
        atomic_store(&outside_calls, true);
    return 0;
}

static int unpin(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)addr;
    (void)length;
    (void)handle;
    atomic_fetch_sub(&pinned, 1);
    if (!in_call)
        atomic_store(&outside_calls, true);
    return 0;
}

static int get_put(kdreg_cache_t *cache, char *addr, size_t length)
{
    kdreg_entry_t *entry = NULL;
    in_call = true;
    int error = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &entry);
    error = error ? error : kdreg_cache_put(cache, entry);
    in_call = false;
    return error;
}

static void reaper_releases(kdreg_t *monitor)
{
    enum { ENTRIES = 50 };
    check_says("with a reaper: pins of unmapped memory are released though nobody calls the library");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = pin, .dereg = unpin};
    kdreg_cache_t *cache = NULL;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    char *memory = map(2 * ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    CHECK_IS(atomic_load(&pinned), ENTRIES);
    munmap(memory, ENTRIES * page);
    CHECK_EVENTUALLY(atomic_load(&pinned) == ENTRIES / 2, WAIT_S, "%d pins of %d are left", atomic_load(&pinned), ENTRIES / 2);
    munmap(memory + ENTRIES * page, ENTRIES * page);
    CHECK_EVENTUALLY(atomic_load(&pinned) == 0, WAIT_S, "%d pins are left", atomic_load(&pinned));

    check_says("an entry held over the change is released at its last put, not before");
    memory = map(1);
    kdreg_entry_t *entry;
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    munmap(memory, page);
    check_sleep_ms(100);
    CHECK_IS(atomic_load(&pinned), 1);
    CHECK(kdreg_entry_base(entry) == memory && kdreg_entry_handle(entry) == memory && !kdreg_entry_valid(cache, entry), "the held entry");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_EVENTUALLY(atomic_load(&pinned) == 0, WAIT_S, "%d pins are left", atomic_load(&pinned));
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void no_reaper_waits(kdreg_t *monitor)
{
    enum { ENTRIES = 20 };
    check_says("KDREG_CACHE_NO_REAPER: the descriptor says that there is something to reap, callbacks run only inside calls");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = pin, .dereg = unpin, .flags = KDREG_CACHE_NO_REAPER};
    kdreg_cache_t *cache = NULL;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    atomic_store(&outside_calls, false);
    char *memory = map(2 * ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    CHECK(!readable(kdreg_cache_fd(cache), 0), "something to reap before anything changed");
    munmap(memory, 2 * ENTRIES * page);
    CHECK(readable(kdreg_cache_fd(cache), WAIT_MS), "the descriptor does not poll readable");
    check_sleep_ms(200);
    CHECK_IS(atomic_load(&pinned), ENTRIES);
    in_call = true;
    CHECK_IS(kdreg_cache_reap(cache), ENTRIES);
    CHECK_IS(kdreg_cache_reap(cache), 0);
    in_call = false;
    CHECK(atomic_load(&pinned) == 0 && !readable(kdreg_cache_fd(cache), 0), "after the reap: %d pins", atomic_load(&pinned));

    check_says("a thread asleep in poll on kdreg_cache_fd wakes up");
    memory = map(2);
    CHECK_IS(get_put(cache, memory, page), 0);
    pid_t child = fork();   /* another process may not use it, and does not disturb it */
    if (child == 0)
        _exit(kdreg_cache_fd(cache) == -ECHILD ? 0 : 1);
    CHECK(check_child_succeeded(child), "the child");
    madvise(memory, page, MADV_DONTNEED);
    CHECK(readable(kdreg_cache_fd(cache), WAIT_MS), "no wake-up");
    in_call = true;
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    in_call = false;
    CHECK(atomic_load(&pinned) == 0, "%d pins are left", atomic_load(&pinned));
    CHECK(!atomic_load(&outside_calls), "a callback outside a call of the cache");
    munmap(memory, 2 * page);
}

static void two_subscribers(void)
{
    check_says("two handles on one region: both hear of it, once; draining one leaves the other's");
    kdreg_t *one = check_open(0), *two = check_open(0);
    char *memory = map(1);
    struct kdreg_region first, second;
    struct kdreg_event event;
    REQUIRE(kdreg_monitor(one, memory, page, 1, &first) == 0 && kdreg_monitor(two, memory, page, 2, &second) == 0, "kdreg_monitor");
    munmap(memory, page);
    CHECK(!kdreg_valid(&first) && !kdreg_valid(&second), "a change is missed");
    CHECK(readable(kdreg_fd(one), WAIT_MS) && readable(kdreg_fd(two), WAIT_MS), "both poll readable");
    CHECK(kdreg_check(one, &event, 1) == 1 && event.cookie == 1, "the first one's event");
    CHECK(!readable(kdreg_fd(one), 0) && readable(kdreg_fd(two), 0), "the second one's stays");
    CHECK(kdreg_check(two, &event, 1) == 1 && event.cookie == 2, "the second one's event");
    CHECK_IS(kdreg_close(one), 0);
    CHECK_IS(kdreg_close(two), 0);
}

int main(void)
{
    check_watchdog(280);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = watching = check_open(0);
    one_event_per_region(monitor);
    small_drains(monitor);
    unmonitored_is_silent(monitor);
    word_before_event(monitor);
    epoll_works(monitor);
    close_discards();
    two_subscribers();
    reaper_releases(monitor);
    no_reaper_waits(monitor);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("events");
}
