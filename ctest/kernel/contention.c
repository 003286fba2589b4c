/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Threads hammer MONITOR, UNMONITOR, batches, read and poll on one descriptor
 * while others change mappings and look at the state words at once on return.
 * No invalidation may be late, and every changed region yields one event.
 *
 *   contention [INVALIDATIONS]   how many to check, all threads together
 *
 * KDREG_INVALIDATIONS says the same, which KDREG_TEST_SLOWNESS divides. A
 * machine that is busy otherwise does not get that far in the three minutes
 * after which it ends all the same.
 */
#include "kt.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define SECONDS 180
#define CHANGERS 2
#define HAMMERS 2
#define READERS 2
#define POLLERS 1
#define PAGES 32 /* that one change replaces at most, each a region */
#define SLOTS 4096
/* Cookies of the changers' regions; those of the hammers' are above. */
#define HAMMER_COOKIE (1ULL << 40)

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;
static unsigned long wanted = 1200000;
static time_t end;
static atomic_ulong changes, checked, late, full, events_for_changers, polls;
static atomic_bool started, done;

static int change(char *memory, size_t length, unsigned long n)
{
    switch (n % 4) {
    case 0:
        return mmap(memory, length, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) == MAP_FAILED;
    case 1:
        return madvise(memory, length, MADV_DONTNEED);
    case 2:
        return mprotect(memory, length, PROT_READ) ||
               mprotect(memory, length, PROT_READ | PROT_WRITE);
    default:
        return munmap(memory, length);
    }
}

/* Monitors each of the pages, the first alone and the others in a batch. Returns
 * how many it was given slots for. */
static unsigned monitor_pages(char *memory, unsigned pages, uint64_t cookie,
                              struct kdreg2_monitoring_params *p)
{
    struct kdreg_monitor_entry m[PAGES];
    struct kdreg_batch batch = {.entries = (uintptr_t)(m + 1), .count = pages - 1};
    unsigned good = 1;

    if (kt_try_monitor(fd, memory, page, cookie, p) != 0) {
        CHECK(errno == ENOSPC, "%m");
        return 0;
    }
    for (unsigned i = 1; i < pages; i++)
        m[i] = (struct kdreg_monitor_entry){
            .addr = (uintptr_t)memory + i * page, .length = page, .cookie = cookie + i};
    if (pages > 1)
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
    for (unsigned i = 1; i < pages; i++) {
        CHECK(m[i].status == 0 || m[i].status == -ENOSPC, "%d", m[i].status);
        if (m[i].status == 0)
            p[good++] = (struct kdreg2_monitoring_params){m[i].location, m[i].generation};
    }
    return good;
}

/* Each has its own pages and cookies: whether its regions are valid is for it
 * alone to say. */
static void *changer(void *argument)
{
    unsigned long self = (unsigned long)argument, n;
    char *memory = kt_map((PAGES + 2) * page) + page;

    /* Nothing else is mapped from then on, where these pages are not. */
    while (!atomic_load(&started))
        sched_yield();
    for (n = 0; !atomic_load(&done); n++) {
        struct kdreg2_monitoring_params p[PAGES];
        unsigned pages = 1 + (unsigned)(n / 4 % PAGES), good, missed = 0;

        if (n % 4 == 0)
            CHECK(mmap(memory, pages * page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) == memory,
                  "%m");
        else
            /* mprotect and MADV_DONTNEED are seen because the pages are there. */
            for (unsigned i = 0; i < pages; i++)
                memory[i * page] = 1;
        good = monitor_pages(memory, pages, self << 36 | n << 6, p);
        CHECK(change(memory, pages * page, n) == 0, "%m");
        for (unsigned i = 0; i < good; i++)
            missed += !kt_changed(status, p[i]);
        atomic_fetch_add(&late, missed);
        atomic_fetch_add(&changes, 1);
        unsigned long before = atomic_fetch_add(&checked, good), step = wanted / 10 + 1;
        if (before / step != (before + good) / step)
            fprintf(stderr, "%lu of %lu invalidations, %lu late\n", before + good, wanted, late);
        if (before + good >= wanted || time(NULL) >= end)
            atomic_store(&done, true);
        if (good < pages) {
            atomic_fetch_add(&full, 1);
            sched_yield();
        }
    }
    return NULL;
}

/* Keeps the lock busy, one region or 64 at a time. */
static void *hammer(void *argument)
{
    uint64_t base = HAMMER_COOKIE * (1 + (unsigned long)argument);
    static char memory[64];
    struct kdreg_monitor_entry m[64];
    struct kdreg_unmonitor_entry u[64];

    while (!atomic_load(&done)) {
        struct kdreg_batch batch = {.entries = (uintptr_t)m, .count = 64};
        struct kdreg2_monitoring_params p;

        if (kt_try_monitor(fd, memory, sizeof memory, base, &p) == 0)
            CHECK(kt_unmonitor(fd, base, p) == 0, "%m");
        for (unsigned i = 0; i < 64; i++)
            m[i] = (struct kdreg_monitor_entry){
                .addr = (uintptr_t)memory, .length = 1 + i, .cookie = base + i};
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        for (unsigned i = 0; i < 64; i++)
            u[i] = (struct kdreg_unmonitor_entry){.cookie = base + i,
                                                  .location = m[i].location,
                                                  .generation = m[i].generation};
        batch.entries = (uintptr_t)u;
        CHECK(ioctl(fd, KDREG_IOCTL_UNMONITOR_BATCH, &batch) == 0, "%m");
        for (unsigned i = 0; i < 64; i++)
            CHECK(m[i].status == -ENOSPC || u[i].status == 0, "%d %d", m[i].status, u[i].status);
        /* There may be fewer processors than threads. */
        sched_yield();
    }
    return NULL;
}

static void take(const struct kdreg2_event *event)
{
    CHECK(event->type == KDREG2_EVENT_MAPPING_CHANGE && event->u.mapping_change.len != 0);
    if (event->u.mapping_change.cookie < HAMMER_COOKIE) {
        CHECK(event->u.mapping_change.len == page);
        atomic_fetch_add(&events_for_changers, 1);
    }
}

static void *reader(void *argument)
{
    struct kdreg2_event events[40];
    struct pollfd p = {.fd = fd, .events = POLLIN};

    (void)argument;
    for (;;) {
        bool last = atomic_load(&done);
        ssize_t size = read(fd, events, sizeof events);

        if (size < 0) {
            CHECK(errno == EAGAIN, "%m");
            if (last)
                return NULL;
            CHECK(poll(&p, 1, 10) >= 0, "%m");
            continue;
        }
        CHECK(size > 0 && size % sizeof *events == 0, "%zd", size);
        for (size_t i = 0; i < size / sizeof *events; i++)
            take(events + i);
    }
}

/* Asks for events over and over, and takes none. */
static void *poller(void *argument)
{
    (void)argument;
    while (!atomic_load(&done)) {
        CHECK((kt_poll(fd) & ~POLLIN) == 0);
        atomic_fetch_add(&polls, 1);
        sched_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[CHANGERS + HAMMERS + READERS + POLLERS];
    unsigned n = 0;

    if (argc > 1)
        wanted = strtoul(argv[1], NULL, 0);
    else if (getenv("KDREG_INVALIDATIONS"))
        wanted = strtoul(getenv("KDREG_INVALIDATIONS"), NULL, 0) / kt_slowness();
    end = time(NULL) + SECONDS;
    fd = kt_open();
    page = kt_page();
    status = kt_config(fd, SLOTS);
    for (unsigned long i = 0; i < CHANGERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, changer, (void *)i) == 0);
    for (unsigned long i = 0; i < HAMMERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, hammer, (void *)i) == 0);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, reader, NULL) == 0);
    for (int i = 0; i < POLLERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, poller, NULL) == 0);
    atomic_store(&started, true);
    for (unsigned i = 0; i < CHANGERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = CHANGERS; i < n; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    /* A changer's event can come between a reader's last look and its end. */
    struct kdreg2_event event;
    while (read(fd, &event, sizeof event) == sizeof event)
        take(&event);
    printf("%lu invalidations checked after %lu changes, %lu of them late; %lu events; %lu polls; "
           "%lu times full\n",
           checked, changes, late, events_for_changers, polls, full);
    CHECK(late == 0 && checked > 0);
    CHECK(events_for_changers == checked, "%lu events", events_for_changers);
    CHECK(kt_active(status) == 0 && kt_pending(status) == 0);
    return 0;
}
