/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What things cost, in instructions. Only where time is made of instructions:
 * in a guest under `qemu -icount shift=0` (ctest/vm/run --icount); elsewhere
 * the test is skipped.
 *
 * Fails when a munmap of unmonitored memory costs 5 % more for 100,000
 * monitored regions, or 10 % more for 200 idle descriptors, or a region
 * monitored in a batch a quarter of one monitored alone.
 */
#include "kt.h"
#include "../counted.h"

#define REPEAT 201
#define REGIONS 100000
#define BATCH 64
#define KEYS 5
#define DESCRIPTORS 200

/* A page in the middle of the area in which regions are monitored. */
static char *hole;

/* Of that page, which is not monitored. */
static uint64_t cost_munmap(void)
{
    uint64_t values[REPEAT];
    size_t page = kt_page();

    for (unsigned i = 0; i < REPEAT; i++) {
        uint64_t start;

        CHECK(mmap(hole, page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED, -1, 0) == hole, "%m");
        start = now();
        munmap(hole, page);
        values[i] = now() - start - reading;
    }
    return median(values, REPEAT);
}

static int fd;
static const struct kdreg2_status_data *status;

/* Into the device and out again, with nothing to do there. */
static uint64_t cost_call(void)
{
    uint64_t values[REPEAT];

    for (unsigned i = 0; i < REPEAT; i++) {
        uint64_t start = now();

        CHECK_ERRNO(ioctl(fd, _IO(KDREG2_IOC_MAGIC, 99)), ENOTTY);
        values[i] = now() - start - reading;
    }
    return median(values, REPEAT);
}

static char *area;
static struct kdreg_monitor_entry entries[REGIONS];

/* Region i of the area: 64 bytes, in scattered order. */
static struct kdreg_monitor_entry region(size_t i)
{
    size_t place = i * 7919 % REGIONS;
    /* The middle is left free, with a margin. */
    size_t gap = place < REGIONS / 2 ? 0 : 3 * kt_page();

    return (struct kdreg_monitor_entry){
        .addr = (uintptr_t)area + 64 * place + gap, .length = 64, .cookie = i * 0x9e3779b97f4a7c15ULL >> 1};
}

static void fill(size_t from, size_t to)
{
    while (from < to) {
        unsigned n = to - from < BATCH ? (unsigned)(to - from) : BATCH;
        struct kdreg_batch batch = {.entries = (uintptr_t)(entries + from), .count = n};

        for (unsigned i = 0; i < n; i++)
            entries[from + i] = region(from + i);
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        for (unsigned i = 0; i < n; i++)
            CHECK(entries[from + i].status == 0, "%d", entries[from + i].status);
        from += n;
    }
}

/* One region more and one less, singly and in batches, with `present` there. */
static void cost_monitor(size_t present, uint64_t *monitor, uint64_t *unmonitor,
                         uint64_t *monitor_batch, uint64_t *unmonitor_batch)
{
    uint64_t m[REPEAT], u[REPEAT];

    for (unsigned i = 0; i < REPEAT; i++) {
        struct kdreg_monitor_entry e = region(present + i);
        struct kdreg2_ioctl_monitor single = {
            .addr = (void *)(uintptr_t)e.addr, .length = e.length, .cookie = e.cookie};
        uint64_t start = now();

        CHECK(ioctl(fd, KDREG2_IOCTL_MONITOR, &single) == 0, "%m");
        m[i] = now() - start - reading;
        struct kdreg2_ioctl_unmonitor back = {.cookie = e.cookie,
                                              .monitoring_params = single.monitoring_params};
        start = now();
        CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR, &back) == 0, "%m");
        u[i] = now() - start - reading;
    }
    *monitor = median(m, REPEAT);
    *unmonitor = median(u, REPEAT);

    for (unsigned i = 0; i < REPEAT; i++) {
        struct kdreg_monitor_entry batch[BATCH];
        struct kdreg_unmonitor_entry back[BATCH];
        struct kdreg_batch b = {.entries = (uintptr_t)batch, .count = BATCH};

        for (unsigned n = 0; n < BATCH; n++)
            batch[n] = region(present + i + n);
        uint64_t start = now();
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &b) == 0, "%m");
        m[i] = (now() - start - reading) / BATCH;
        for (unsigned n = 0; n < BATCH; n++) {
            CHECK(batch[n].status == 0);
            back[n] = (struct kdreg_unmonitor_entry){.cookie = batch[n].cookie,
                                                     .location = batch[n].location,
                                                     .generation = batch[n].generation};
        }
        b.entries = (uintptr_t)back;
        start = now();
        CHECK(ioctl(fd, KDREG_IOCTL_UNMONITOR_BATCH, &b) == 0, "%m");
        u[i] = (now() - start - reading) / BATCH;
    }
    *monitor_batch = median(m, REPEAT);
    *unmonitor_batch = median(u, REPEAT);
}

/* What a MONITOR_BATCH of `count` costs that leaves as many regions as before,
 * or whose regions are unmonitored at once. `result` is what becomes of the call,
 * `status` of each entry. */
static uint64_t cost_batch(const struct kdreg_monitor_entry *like, unsigned count, int result,
                           int status_of_each, bool undo)
{
    uint64_t values[REPEAT];

    for (unsigned i = 0; i < REPEAT; i++) {
        struct kdreg_monitor_entry batch[BATCH];
        struct kdreg_unmonitor_entry back[BATCH];
        struct kdreg_batch b = {.entries = (uintptr_t)batch, .count = count};

        memcpy(batch, like, sizeof batch);
        uint64_t start = now();
        int error = ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &b) ? -errno : 0;
        values[i] = now() - start - reading;
        CHECK(error == result, "%d", error);
        for (unsigned n = 0; n < count; n++) {
            CHECK(batch[n].status == status_of_each, "%d", batch[n].status);
            back[n] = (struct kdreg_unmonitor_entry){.cookie = batch[n].cookie,
                                                     .location = batch[n].location,
                                                     .generation = batch[n].generation};
        }
        b.entries = (uintptr_t)back;
        if (undo)
            CHECK(ioctl(fd, KDREG_IOCTL_UNMONITOR_BATCH, &b) == 0, "%m");
    }
    return median(values, REPEAT);
}

/* Where the cost of a batch into an empty tree comes from: calls that do ever
 * more of the work, each of 64 entries. Prints what each step adds per entry. */
static void cost_parts(void)
{
    struct kdreg_monitor_entry e[BATCH] = {0}, old[BATCH];
    const uint64_t call = cost_batch(e, 0, -EINVAL, 0, false);
    uint64_t refused, same, alone, all;

    /* No length: copied in and out, checked, refused. */
    refused = cost_batch(e, BATCH, 0, -EINVAL, false);
    /* What is monitored already: the search for the cookie comes to that. */
    for (unsigned n = 0; n < BATCH; n++)
        e[n] = old[n] = region(n);
    struct kdreg_batch b = {.entries = (uintptr_t)old, .count = BATCH};
    CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &b) == 0 && kt_active(status) == BATCH, "%m");
    same = cost_batch(e, BATCH, 0, 0, false);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    all = cost_batch(e, BATCH, 0, 0, true);
    /* The module has a tree for each mask of changes: each is the first of its. */
    for (unsigned n = 0; n < BATCH; n++)
        e[n].changes = n + 1;
    alone = cost_batch(e, BATCH, 0, 0, true);
    printf("a batch of %u into an empty tree, each of %ju: %ju the call, %ju to copy and check an "
           "entry, %ju to find its cookie monitored already; or, if it is not, %ju for a slot, its "
           "word and a tree of its own, and %ju more to insert it into one with the others\n",
           BATCH, (uintmax_t)(all / BATCH), (uintmax_t)(call / BATCH),
           (uintmax_t)((refused - call) / BATCH), (uintmax_t)((same - refused) / BATCH),
           (uintmax_t)((alone - refused) / BATCH), (uintmax_t)((all - alone) / BATCH));
}

/* A change of one region, and of 64 at once; reading the events. */
static void cost_events(uint64_t *one, uint64_t *read_one, uint64_t *read_many)
{
    uint64_t c[REPEAT], r[REPEAT];
    size_t page = kt_page();
    static struct kdreg2_event events[BATCH];

    for (unsigned i = 0; i < REPEAT; i++) {
        char *p = kt_map(page);
        kt_monitor(fd, p, page, 1);
        uint64_t start = now();
        munmap(p, page);
        c[i] = now() - start - reading;
        start = now();
        CHECK(read(fd, events, sizeof events) == sizeof *events, "%m");
        r[i] = now() - start - reading;
    }
    *one = median(c, REPEAT);
    *read_one = median(r, REPEAT);
    for (unsigned i = 0; i < REPEAT; i++) {
        char *p = kt_map(page);
        for (unsigned n = 0; n < BATCH; n++)
            kt_monitor(fd, p + n, 1, n);
        munmap(p, page);
        uint64_t start = now();
        CHECK(read(fd, events, sizeof events) == sizeof events, "%m");
        r[i] = (now() - start - reading) / BATCH;
    }
    *read_many = median(r, REPEAT);
}

/* That munmap where the process has so many descriptors, each with a region
 * elsewhere or without. */
static uint64_t cost_beside(unsigned count, bool regions)
{
    const size_t size = 2 * kt_page();
    int others[DESCRIPTORS];
    void *mapped[DESCRIPTORS];

    for (unsigned i = 0; i < count; i++) {
        others[i] = kt_open();
        mapped[i] = (void *)kt_config(others[i], 16);
        if (regions)
            kt_monitor(others[i], area, 64, i);
    }
    uint64_t cost = cost_munmap();
    for (unsigned i = 0; i < count; i++)
        CHECK(close(others[i]) == 0 && munmap(mapped[i], size) == 0, "%m");
    return cost;
}

static void cost_descriptors(void)
{
    static const unsigned counts[] = {1, 2, 8, 64, DESCRIPTORS};
    uint64_t idle[5];

    for (unsigned i = 0; i < 5; i++) {
        idle[i] = cost_beside(counts[i], false);
        printf("%u descriptors: munmap of unmonitored memory %ju, %ju with a region in each\n", counts[i],
               (uintmax_t)idle[i], (uintmax_t)cost_beside(counts[i], true));
    }
    /* 200 mappings of words besides are in the way of any munmap. */
    CHECK(idle[4] * 100 < idle[0] * 110);
}

/* One descriptor, and with it one random key of the hash by which cookies are
 * found. Among other regions the key decides how long the chains are in which a
 * cookie is looked for: returns whether a region in a batch costs less than a
 * quarter of one monitored alone, and a little, there, too. */
static bool costs(void)
{
    static const size_t counts[] = {0, 1000, REGIONS - REPEAT - BATCH};
    uint64_t munmaps[3], m, u, mb[3], ub, ms[3], one, read_one, read_many;
    size_t present = 0;

    fd = kt_open();
    status = kt_config(fd, REGIONS);
    printf("an ioctl that does nothing: %ju\n", (uintmax_t)cost_call());
    for (unsigned i = 0; i < 3; i++) {
        fill(present, counts[i]);
        present = counts[i];
        munmaps[i] = cost_munmap();
        cost_monitor(present, &m, &u, &mb[i], &ub);
        ms[i] = m;
        printf("%zu regions: munmap of unmonitored memory %ju; MONITOR %ju, UNMONITOR %ju; "
               "batch of %u, each: MONITOR %ju, UNMONITOR %ju\n",
               present, (uintmax_t)munmaps[i], (uintmax_t)m, (uintmax_t)u, BATCH,
               (uintmax_t)mb[i], (uintmax_t)ub);
    }
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    cost_parts();
    cost_events(&one, &read_one, &read_many);
    printf("munmap of a monitored page: %ju; read of one event %ju, of %u each %ju\n",
           (uintmax_t)one, (uintmax_t)read_one, BATCH, (uintmax_t)read_many);
    printf("munmap with %zu regions / with none: %.3f\n", counts[2],
           (double)munmaps[2] / (double)munmaps[0]);
    printf("batch / single MONITOR: %.3f, %.3f, %.3f\n", (double)mb[0] / (double)ms[0],
           (double)mb[1] / (double)ms[1], (double)mb[2] / (double)ms[2]);
    CHECK(munmaps[2] * 100 < munmaps[0] * 105);
    CHECK(mb[0] * 4 < ms[0]);
    munmap((void *)status, kt_page() + (4UL * REGIONS + kt_page() - 1) / kt_page() * kt_page());
    CHECK(close(fd) == 0, "%m");
    return mb[1] * 100 < ms[1] * 28 && mb[2] * 100 < ms[2] * 28;
}

int main(void)
{
    if (!counting())
        kt_skip("instructions cannot be counted here: ctest/vm/run --icount");
    /* No page there, that the kernel could move: its events would be counted in. */
    area = kt_space(64UL * REGIONS + 4 * kt_page());
    hole = area + 64UL * REGIONS / 2 / kt_page() * kt_page() + 2 * kt_page();
    cost_munmap();
    printf("instructions, median of %u\n", REPEAT);
    printf("munmap of a page, no descriptor open: %ju\n", (uintmax_t)cost_munmap());
    cost_descriptors();
    /* One key in ten has long chains; a search that is too dear has them with all. */
    for (unsigned key = 0; key < KEYS; key++) {
        if (costs())
            return 0;
        printf("with another key:\n");
    }
    CHECK(!"a region in a batch costs less than 0.28 of one alone");
    return 1;
}
