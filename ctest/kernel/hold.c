/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How long the lock of a process is held at most, in instructions: for few and
 * for many regions, under honest and under hostile cookies, by whatever call.
 * Only where the module measures it (measure_holds=1) and where time is made of
 * instructions; skipped elsewhere.
 *
 * The bound is that of one step: 256 regions, or 512 descriptors and trees of
 * theirs that are looked at, whatever there are in all.
 */
#include "fdinfo.h"

#include <sys/resource.h>
#include <time.h>

/* For a region of a step: its trees are deeper where there are more, and an
 * interrupt may come in between. */
enum { STEP = 256, PER_REGION = 800, LOOKS = 512, PER_LOOK = 300, BATCH = 4096, FEW = 8 };
enum { DESCRIPTORS = 500 };

static struct kdreg_monitor_entry entries[BATCH];
static struct kdreg_unmonitor_entry ends[BATCH];
static size_t page;

static uint64_t honest(uint64_t i) { return (i + 1) * 0x9e3779b97f4a7c15ULL >> 1; }
/* Whoever knew the hash could have 64 in each chain, which is all that it takes:
 * these do, with one that takes the lower bits. */
static uint64_t hostile(uint64_t i) { return i % 64 << 32 | i / 64; }

static long longest(int fd) { return kt_fdinfo(0, fd, "kdreg-longest-hold"); }

static void fill(int fd, char *memory, size_t regions, uint64_t (*cookie)(uint64_t), bool stop)
{
    for (size_t from = 0; from < regions; from += BATCH) {
        uint32_t n = regions - from < BATCH ? (uint32_t)(regions - from) : BATCH;
        struct kdreg_batch batch = {.entries = (uintptr_t)entries, .count = n};

        for (uint32_t i = 0; i < n; i++)
            entries[i] = (struct kdreg_monitor_entry){.addr = (uintptr_t)memory + (from + i) % (16 * page),
                                                      .length = 1,
                                                      .cookie = cookie(from + i)};
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        for (uint32_t i = 0; i < n; i++) {
            CHECK(entries[i].status == 0, "%d", entries[i].status);
            ends[i] = (struct kdreg_unmonitor_entry){.cookie = entries[i].cookie,
                                                     .location = entries[i].location,
                                                     .generation = entries[i].generation};
        }
        batch.entries = (uintptr_t)ends;
        if (stop)
            CHECK(ioctl(fd, KDREG_IOCTL_UNMONITOR_BATCH, &batch) == 0, "%m");
    }
}

/* Everything that there is to do to so many regions, in a process of its own. */
static void measure(size_t regions, uint64_t (*cookie)(uint64_t), const char *name)
{
    pid_t child = fork();

    if (child == 0) {
        long step[6];
        int fd = kt_open();
        char *memory = kt_space(16 * page);

        kt_config(fd, regions);
        fill(fd, memory, regions, cookie, true);
        step[0] = longest(fd);
        fill(fd, memory, regions, cookie, false);
        step[1] = longest(fd);
        CHECK(madvise(memory, 16 * page, MADV_DONTNEED) == 0, "%m");
        step[2] = longest(fd);
        CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
        step[3] = longest(fd);
        fill(fd, memory, regions, cookie, false);
        CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
        step[4] = longest(fd);
        kt_config(fd, regions + 1);
        step[5] = longest(fd);
        printf("| %7zu | %-7s | %6ld | %6ld | %6ld | %6ld | %6ld | %6ld |\n", regions, name, step[0],
               step[1], step[2], step[3], step[4], step[5]);
        fflush(stdout);
        CHECK(step[5] <= STEP * PER_REGION, "the lock was held for %ld instructions", step[5]);
        exit(0);
    }
    CHECK(kt_wait(child) == 0);
}

/* Fills `entries` with one region of each kind that the module has a tree for: each
 * set of changes, and where protection is one of them each need. Returns how many. */
static uint32_t of_each_kind(uintptr_t addr, uint64_t *cookie)
{
    static const uint32_t needs[] = {0, KDREG_MONITOR_NEEDS_READ, KDREG_MONITOR_NEEDS_WRITE};
    uint32_t n = 0;

    for (uint32_t changes = 1; changes <= KDREG_CHANGE_ALL; changes++)
        for (uint32_t i = 0; i < (changes & KDREG_CHANGE_PROTECTION ? 3 : 1); i++)
            entries[n++] = (struct kdreg_monitor_entry){.addr = addr,
                                                        .length = 1,
                                                        .cookie = honest((*cookie)++),
                                                        .changes = changes,
                                                        .flags = needs[i]};
    return n;
}

/* One change in a process with many descriptors, and with all trees in each that there
 * can be, of so many regions on each side of the change; none overlaps it. */
static void descriptors(unsigned count, unsigned deep)
{
    pid_t child = fork();

    if (child == 0) {
        char *memory = kt_space(3 * page), *middle = memory + page;
        long by[3];
        uint32_t kinds = 0;
        /* The last one that a change comes to: whether it was heard of. */
        int first = kt_open(), fd = -1;

        kt_config(first, 2);
        kt_monitor(first, middle, 1, 1);
        for (unsigned i = 0; i < count; i++) {
            uint64_t cookie = 0;

            fd = kt_open();
            kt_config(fd, 2 * 256 * deep);
            for (unsigned side = 0; side < 2 * deep; side++) {
                uintptr_t addr = (uintptr_t)memory + side % 2 * 2 * page + side / 2 % page;

                kinds = of_each_kind(addr, &cookie);
                /* A few at a time, which takes less than a change may. */
                for (uint32_t n = 0; n < kinds; n += FEW) {
                    struct kdreg_batch batch = {.entries = (uintptr_t)&entries[n],
                                                .count = kinds - n < FEW ? kinds - n : FEW};

                    CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
                }
                for (uint32_t n = 0; n < kinds; n++)
                    CHECK(entries[n].status == 0, "%d", entries[n].status);
            }
        }
        by[0] = longest(fd);
        CHECK(madvise(middle, page, MADV_DONTNEED) == 0, "%m");
        by[1] = longest(fd);
        CHECK(kt_event(first).u.mapping_change.cookie == 1);
        *(volatile char *)middle = 1;
        kt_monitor(first, middle, 1, 2);
        CHECK(mprotect(middle, page, PROT_READ) == 0, "%m");
        by[2] = longest(fd);
        CHECK(kt_event(first).u.mapping_change.cookie == 2);
        printf("%u descriptors of %u trees of %u regions: %ld before, %ld after madvise, %ld after "
               "mprotect\n", count, kinds, 2 * deep, by[0], by[1], by[2]);
        fflush(stdout);
        CHECK(by[2] <= LOOKS * PER_LOOK, "the lock was held for %ld instructions", by[2]);
        exit(0);
    }
    CHECK(kt_wait(child) == 0);
}

/* hold [descriptors] */
int main(int argc, char **argv)
{
    struct rlimit files = {DESCRIPTORS + 64, DESCRIPTORS + 64};
    int fd = kt_open();

    page = kt_page();
    if (longest(fd) < 0)
        kt_skip("the module does not measure (measure_holds)");
    close(fd);
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0, "%m");
    printf("the longest hold up to each step, in instructions:\n"
           "| regions | cookies |  added |  again | marked | flushed | all ended | resized |\n");
    fflush(stdout);
    (void)argv;
    for (size_t regions = 1000; argc < 2 && regions <= 1000000; regions *= 10) {
        measure(regions, honest, "honest");
        measure(regions, hostile, "hostile");
    }
    descriptors(DESCRIPTORS, 1);
    descriptors(2, 500);
    return 0;
}
