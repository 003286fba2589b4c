/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every way to change a mapping is seen before the call that did it returns,
 * and nothing else is.
 *
 * The pages are there, or there would be nothing to change: so the kernel may
 * move them meanwhile, and says so. What that can hide (why a region is invalid,
 * or that it is not) is looked at again until it was left alone; that a change
 * is seen must hold each time.
 */
#include "detect.h"

#include <sched.h>

#define ATTEMPTS 50

static int fd;
static const struct kdreg2_status_data *status;

static unsigned skipped;

/* Returns whether the events said what was expected of them, unless the kernel
 * was first to take the pages away (which it announces as CLEAR). */
static bool run(unsigned i)
{
    struct area a = cases[i].area();
    char *neighbour = kt_space(page);
    bool fitting = true;

    if (a.base == MAP_FAILED) {
        printf("  %s: no such memory here\n", cases[i].name);
        skipped++;
        return true;
    }
    struct kdreg2_monitoring_params whole =
        kt_monitor_mask(fd, a.base, a.length, 1, 0, KDREG_MONITOR_REASON);
    struct kdreg2_monitoring_params byte = kt_monitor(fd, middle(&a) + page / 2, 1, 2);
    struct kdreg2_monitoring_params other = kt_monitor(fd, neighbour, page, 3);
    int error = cases[i].change(&a);
    bool seen = kt_changed(status, whole), exactly = kt_changed(status, byte);

    if (error != 0 && cases[i].optional) {
        printf("  %s: %s\n", cases[i].name, strerrorname_np(error));
        skipped++;
    } else {
        CHECK(error == 0, "%s: %s", cases[i].name, strerror(error));
        /* At the first look after the call. */
        CHECK(seen, "%s: the region is still valid", cases[i].name);
        CHECK(exactly, "%s: the byte is still valid", cases[i].name);
        CHECK(!kt_changed(status, other), "%s: reaches memory it did not change", cases[i].name);
        CHECK(kt_pending(status) == 2, "%s: %ju events", cases[i].name,
              (uintmax_t)kt_pending(status));
        for (int n = 0; n < 2; n++) {
            struct kdreg2_event event = kt_event(fd);

            if (event.u.mapping_change.cookie == 1) {
                fitting = cases[i].reason == 0 || event._alignment == cases[i].reason;
                CHECK(fitting || event._alignment == KDREG_CHANGE_CLEAR, "%s: reason %#x",
                      cases[i].name, event._alignment);
                CHECK(event._alignment != 0);
            } else {
                CHECK(event._alignment == 0);
            }
        }
    }
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    release(&a);
    kt_unspace(neighbour, page);
    return fitting;
}

/* The heap, where libc does not take part. */
static void program_break(void)
{
    char *end = sbrk(0);
    char *start = (char *)(((uintptr_t)end + page - 1) & ~(page - 1));

    CHECK(syscall(SYS_brk, start + 4 * page) == (long)(start + 4 * page));
    memset(start, 1, 4 * page);
    struct kdreg2_monitoring_params p = kt_monitor(fd, start + 3 * page, page, 1);
    CHECK(syscall(SYS_brk, start + 2 * page) == (long)(start + 2 * page));
    CHECK(kt_changed(status, p), "brk: still valid");
    CHECK(syscall(SYS_brk, end) == (long)end);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
}

static long number_in(const char *name)
{
    FILE *file = fopen(name, "r");
    long value = -1;

    if (file) {
        if (fscanf(file, "%ld", &value) != 1)
            value = -1;
        fclose(file);
    }
    return value;
}

/* The kernel's own doing: when a page has gone where it was sent, the region
 * is invalid. */
static void background(void)
{
    size_t huge = 2UL << 20;

    /* Swapped out. */
    struct area a = anonymous();
    struct kdreg2_monitoring_params p = kt_monitor(fd, a.base, a.length, 1);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        (void)write_to("/proc/sys/vm/compact_memory", "1");
        (void)madvise(a.base, a.length, MADV_PAGEOUT);
        for (int n = 0; n < PAGES; n++)
            gone |= page_entry(a.base + (size_t)n * page) >> 62 & 1;
    }
    CHECK(!gone || kt_changed(status, p), "swapped out: still valid");
    printf("  swap: %s\n", gone ? "seen" : "nothing was swapped out");
    release(&a);

    /* Small pages made into a huge one. */
    char *space = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(space != MAP_FAILED, "%m");
    char *block = (char *)(((uintptr_t)space + huge - 1) & ~(huge - 1));
    CHECK(madvise(space, 2 * huge, MADV_NOHUGEPAGE) == 0, "%m");
    memset(block, 1, huge);
    /* Monitored first: from the moment it may, the kernel collapses the block by itself. */
    p = kt_monitor(fd, block + 5 * page, 1, 2);
    CHECK(madvise(space, 2 * huge, MADV_HUGEPAGE) == 0, "%m");
    int r = madvise(block, huge, MADV_COLLAPSE);
    CHECK(r != 0 || kt_changed(status, p), "collapsed: still valid");
    printf("  MADV_COLLAPSE: %s\n", r == 0 ? "seen" : strerrorname_np(errno));
    munmap(space, 2 * huge);

    /* Merged with a page of the same contents. */
    a = anonymous();
    for (int n = 0; n < PAGES; n++)
        memset(a.base + (size_t)n * page, 0x77, page);
    p = kt_monitor(fd, a.base, a.length, 3);
    bool merged = false;
    if (madvise(a.base, a.length, MADV_MERGEABLE) == 0 && write_to("/sys/kernel/mm/ksm/run", "1")) {
        (void)write_to("/sys/kernel/mm/ksm/sleep_millisecs", "1");
        for (int i = 0; i < 3000 && !merged; i++) {
            merged = number_in("/proc/self/ksm_merging_pages") > 0;
            usleep(1000);
        }
        (void)write_to("/sys/kernel/mm/ksm/run", "0");
    }
    CHECK(!merged || kt_changed(status, p), "merged: still valid");
    printf("  KSM: %s\n", merged ? "seen" : "nothing was merged");
    release(&a);

    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
}

/* What does not change the pages does not invalidate. Returns whether that held. */
static bool harmless(unsigned unused)
{
    struct area a = anonymous(), s = shared_memory();
    struct kdreg2_monitoring_params p = kt_monitor(fd, a.base, a.length, 1);
    struct kdreg2_monitoring_params q = kt_monitor(fd, s.base, s.length, 2);
    unsigned char vector[PAGES];

    (void)unused;
    memset(a.base, 7, a.length);
    memset(s.base, 7, s.length);
    CHECK(mincore(a.base, a.length, vector) == 0, "%m");
    CHECK(madvise(a.base, a.length, MADV_WILLNEED) == 0, "%m");
    CHECK(madvise(a.base, a.length, MADV_DONTFORK) == 0, "%m");
    CHECK(mlock(a.base, page) == 0 && munlock(a.base, page) == 0, "%m");
    CHECK(msync(s.base, s.length, MS_SYNC) == 0, "%m");
    CHECK(ftruncate(s.file, (off_t)s.length * 2) == 0, "%m");
    /* Next to it. */
    char *next = kt_map(page);
    munmap(next, page);
    bool kept = !kt_changed(status, p) && !kt_changed(status, q) && kt_poll(fd) == 0;
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    kt_no_event(fd);
    release(&a);
    release(&s);
    return kept;
}

/* Holds at once, or as soon as the kernel leaves the pages alone. */
static bool eventually(bool (*holds)(unsigned), unsigned i)
{
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++)
        if (holds(i))
            return true;
    return false;
}

int main(void)
{
    fd = kt_open();
    page = kt_page();
    status = kt_config(fd, 64);
    for (unsigned i = 0; i < case_count; i++)
        CHECK(eventually(run, i), "%s: never for the reason it should", cases[i].name);
    program_break();
    background();
    CHECK(eventually(harmless, 0), "a region is invalid after nothing has changed");
    printf("%zu changes, %u of them not to be had here\n", case_count + 4,
           skipped);
    return 0;
}
