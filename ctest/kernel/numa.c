/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Automatic NUMA balancing, on two nodes: it takes pages out of the page tables
 * to see who uses them, which is announced like a change of protection. Pinned
 * pages stay where they are, so a region that says what it needs stays valid.
 *
 * That balancing did take place is seen by regions over the same memory that do
 * not say what they need: when those are gone, the others have been looked at.
 */
#include "kt.h"

#include <linux/io_uring.h>
#include <sys/uio.h>
#include <time.h>

enum { PAGES = 1024, REGIONS = 64 };

static size_t page;

static bool put(const char *name, const char *text)
{
    int file = open(name, O_WRONLY | O_TRUNC);
    bool done = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    if (file >= 0)
        close(file);
    return done;
}

/* Really pins the memory, as a registration does: a buffer of io_uring. */
static void pin(char *memory, size_t length)
{
    struct io_uring_params params = {0};
    struct iovec buffer = {memory, length};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

    if (ring < 0)
        kt_skip("no io_uring, by which to pin memory");
    CHECK(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) == 0, "%m");
}

int main(void)
{
    page = kt_page();
    if (access("/sys/devices/system/node/node1", F_OK) != 0)
        kt_skip("one memory node");
    if (!put("/proc/sys/kernel/numa_balancing", "1"))
        kt_skip("no NUMA balancing");
    /* Sooner than after a second, where that can be said. */
    (void)!system("mount -t debugfs none /sys/kernel/debug 2>/dev/null");
    put("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "10");
    put("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "10");

    int fd = kt_open_flags(O_RDWR | O_CLOEXEC | O_NONBLOCK); /* not kt_open: it opts out */
    const struct kdreg2_status_data *status = kt_config(fd, 4 * REGIONS);
    size_t length = PAGES * page, part = length / REGIONS;
    char *memory = kt_map(length);
    struct kdreg2_monitoring_params any[REGIONS], writing[REGIONS];

    pin(memory, length);
    for (unsigned i = 0; i < REGIONS; i++) {
        any[i] = kt_monitor_mask(fd, memory + i * part, part, i, 0, KDREG_MONITOR_REASON);
        writing[i] = kt_monitor_mask(fd, memory + i * part, part, REGIONS + i, 0,
                                     KDREG_MONITOR_REASON | KDREG_MONITOR_NEEDS_WRITE);
    }
    /* A process is looked at as it runs: by its ticks. */
    unsigned looked_at = 0;
    struct timespec used;
    do {
        for (size_t i = 0; i < length; i += page)
            ((volatile char *)memory)[i]++;
        looked_at = 0;
        for (unsigned i = 0; i < REGIONS; i++)
            looked_at += kt_changed(status, any[i]);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (looked_at < REGIONS && used.tv_sec < 60);
    put("/proc/sys/kernel/numa_balancing", "0");

    unsigned by_reason[32] = {0}, wrong = 0;
    for (struct kdreg2_event event; read(fd, &event, sizeof event) == sizeof event;) {
        by_reason[__builtin_ctz(event._alignment)]++;
        wrong += event.u.mapping_change.cookie >= REGIONS;
    }
    printf("%u of %u regions looked at; %u changes of protection, %u of pages\n", looked_at, REGIONS,
           by_reason[__builtin_ctz(KDREG_CHANGE_PROTECTION)],
           by_reason[__builtin_ctz(KDREG_CHANGE_CLEAR)]);
    if (by_reason[__builtin_ctz(KDREG_CHANGE_PROTECTION)] == 0)
        kt_skip("NUMA balancing did not look at the memory");
    CHECK(wrong == 0, "%u regions that say what they need were invalidated", wrong);
    for (unsigned i = 0; i < REGIONS; i++)
        CHECK(!kt_changed(status, writing[i]));
    /* They are still watched. */
    CHECK(mprotect(memory, length, PROT_READ) == 0, "%m");
    for (unsigned i = 0; i < REGIONS; i++)
        CHECK(kt_changed(status, writing[i]));
    return 0;
}
