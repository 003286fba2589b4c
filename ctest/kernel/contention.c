/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Threads hammer MONITOR, UNMONITOR, batches, read and poll on one descriptor
 * while others change mappings and look at the state word at once on return.
 * No invalidation may be late, and every changed region yields one event.
 *
 *   contention [CHANGES]      how many changes to make, all threads together
 */
#include "kt.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define CHANGERS 2
#define HAMMERS 2
#define READERS 1
#define SLOTS 4096
/* Cookies of the changers' regions; those of the hammers' are above. */
#define HAMMER_COOKIE (1ULL << 40)

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;
static unsigned long wanted = 8000;
static atomic_ulong changes, late, full, events_for_changers;
static atomic_bool done;

static int change(char *memory, unsigned long n)
{
    switch (n % 4) {
    case 0:
        return mmap(memory, page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) == MAP_FAILED;
    case 1:
        return madvise(memory, page, MADV_DONTNEED);
    case 2:
        return mprotect(memory, page, PROT_READ) || mprotect(memory, page, PROT_READ | PROT_WRITE);
    default:
        return munmap(memory, page) ||
               mmap(memory, page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) == MAP_FAILED;
    }
}

/* Each has its own page and cookies: whether its region is valid is for it
 * alone to say. */
static void *changer(void *argument)
{
    unsigned long self = (unsigned long)argument, n;
    char *memory = kt_map(3 * page) + page;

    for (n = 0; !atomic_load(&done); n++) {
        struct kdreg2_monitoring_params p;

        *memory = 1;
        if (kt_try_monitor(fd, memory, page, self << 32 | n, &p) != 0) {
            CHECK(errno == ENOSPC, "%m");
            atomic_fetch_add(&full, 1);
            sched_yield();
            continue;
        }
        /* mprotect and MADV_DONTNEED are seen because the page is there. */
        CHECK(change(memory, n) == 0, "%m");
        if (!kt_changed(status, p))
            atomic_fetch_add(&late, 1);
        unsigned long made = atomic_fetch_add(&changes, 1) + 1;
        if (made % (wanted / 10 + 1) == 0)
            fprintf(stderr, "%lu of %lu changes, %lu late\n", made, wanted, late);
        if (made >= wanted)
            atomic_store(&done, true);
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

int main(int argc, char **argv)
{
    pthread_t threads[CHANGERS + HAMMERS + READERS];
    unsigned n = 0;

    if (argc > 1)
        wanted = strtoul(argv[1], NULL, 0);
    else if (getenv("KDREG_CHANGES"))
        wanted = strtoul(getenv("KDREG_CHANGES"), NULL, 0);
    fd = kt_open();
    page = kt_page();
    status = kt_config(fd, SLOTS);
    for (unsigned long i = 0; i < CHANGERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, changer, (void *)i) == 0);
    for (unsigned long i = 0; i < HAMMERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, hammer, (void *)i) == 0);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&threads[n++], NULL, reader, NULL) == 0);
    for (unsigned i = 0; i < CHANGERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = CHANGERS; i < n; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    /* A changer's event can come between a reader's last look and its end. */
    struct kdreg2_event event;
    while (read(fd, &event, sizeof event) == sizeof event)
        take(&event);
    printf("%lu changes, %lu of them late; %lu events; %lu times full\n", changes, late,
           events_for_changers, full);
    CHECK(late == 0);
    CHECK(events_for_changers == changes, "%lu events", events_for_changers);
    CHECK(kt_active(status) == 0 && kt_pending(status) == 0);
    return 0;
}
