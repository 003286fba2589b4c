/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Beyond kdreg2: feature query, batches, masks of changes. */
#include "kt.h"

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;

static void features(void)
{
    struct kdreg_features f;
    int fresh = kt_open();

    memset(&f, 0xee, sizeof f);
    CHECK(ioctl(fresh, KDREG_IOCTL_FEATURES, &f) == 0, "%m");
    CHECK(f.version == KDREG_FEATURES_VERSION && f.max_batch == KDREG_MAX_BATCH);
    CHECK(f.features == 0x3f, "%#llx", (unsigned long long)f.features);
    CHECK(f.changes == KDREG_CHANGE_ALL && f.default_changes == KDREG_CHANGE_DEFAULT);
    for (int i = 0; i < 4; i++)
        CHECK(f.reserved[i] == 0);
    /* The cap is what CONFIG_DATA goes by. */
    struct kdreg2_config_data data = {.max_regions = f.max_regions + 1};
    CHECK_ERRNO(ioctl(fresh, KDREG2_IOCTL_CONFIG_DATA, &data), ENOSPC);
    data.max_regions = f.max_regions;
    CHECK(ioctl(fresh, KDREG2_IOCTL_CONFIG_DATA, &data) == 0, "%m");
    CHECK_ERRNO(ioctl(fresh, KDREG_IOCTL_FEATURES, NULL), EFAULT);
    close(fresh);
}

static int monitor_batch(struct kdreg_monitor_entry *entries, uint32_t count, uint32_t *done)
{
    struct kdreg_batch batch = {.entries = (uintptr_t)entries, .count = count, .done = 0xeeeeeeee};
    int r = ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch), error = errno;

    if (done)
        *done = batch.done;
    errno = error;
    return r;
}

static int unmonitor_batch(struct kdreg_unmonitor_entry *entries, uint32_t count, uint32_t *done)
{
    struct kdreg_batch batch = {.entries = (uintptr_t)entries, .count = count, .done = 0xeeeeeeee};
    int r = ioctl(fd, KDREG_IOCTL_UNMONITOR_BATCH, &batch), error = errno;

    if (done)
        *done = batch.done;
    errno = error;
    return r;
}

#define COUNT 1000

static void batches(void)
{
    char *memory = kt_space(page);
    struct kdreg_monitor_entry *m = calloc(COUNT, sizeof *m);
    struct kdreg_unmonitor_entry *u = calloc(COUNT, sizeof *u);
    uint32_t done;

    for (unsigned i = 0; i < COUNT; i++)
        m[i] = (struct kdreg_monitor_entry){
            .addr = (uintptr_t)memory, .length = 1 + i, .cookie = i, .status = 5};
    m[3].length = 0;
    m[4].cookie = KDREG2_BAD_COOKIE_VALUE;
    m[5].changes = KDREG_CHANGE_ALL + 1;
    m[6].flags = 8;
    m[7].cookie = 2;
    m[8] = m[2];
    CHECK(monitor_batch(m, COUNT, &done) == 0, "%m");
    CHECK(done == COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        int expected = i == 7 ? -EBUSY : i >= 3 && i <= 6 ? -EINVAL : 0;

        CHECK(m[i].status == expected, "entry %u: %d", i, m[i].status);
        if (expected) {
            CHECK(m[i].location == KDREG2_LOCATION_NONE);
        } else {
            struct kdreg2_monitoring_params p = {m[i].location, m[i].generation};
            CHECK(!kt_changed(status, p), "entry %u", i);
        }
    }
    /* The same region twice is the same region. */
    CHECK(m[8].location == m[2].location && m[8].generation == m[2].generation);
    CHECK(kt_active(status) == COUNT - 6);

    for (unsigned i = 0; i < COUNT; i++)
        u[i] = (struct kdreg_unmonitor_entry){
            .cookie = i, .location = m[i].location, .generation = m[i].generation};
    u[9].location = 1 << 20;
    u[10].generation += 2;
    u[11].cookie = 1 << 20;
    CHECK(unmonitor_batch(u, COUNT, &done) == 0, "%m");
    CHECK(done == COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        int expected = i == 9 || (i >= 3 && i <= 6) ? -EINVAL : i == 10 ? -EBADSLT : 0;

        /* Entry 7 names a cookie that is not in use. */
        if (i != 7)
            CHECK(u[i].status == expected, "entry %u: %d", i, u[i].status);
    }
    CHECK(kt_active(status) == 3);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");

    /* Too few, too many, nowhere. */
    CHECK(monitor_batch(m, 0, &done) == -1 && errno == EINVAL && done == 0, "%m");
    CHECK(monitor_batch(m, KDREG_MAX_BATCH + 1, &done) == -1 && errno == EINVAL && done == 0);
    CHECK(unmonitor_batch(u, 0, &done) == -1 && errno == EINVAL && done == 0);
    CHECK(monitor_batch(NULL, 1, &done) == -1 && errno == EFAULT && done == 0);
    CHECK(unmonitor_batch((void *)-8L, 1, &done) == -1 && errno == EFAULT && done == 0);
    CHECK_ERRNO(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, NULL), EFAULT);
    CHECK(kt_active(status) == 0);
    free(m);
    free(u);
    munmap(memory, page);
}

/* The array ends, or can no longer be written, half way: what `done` says was
 * done, and nothing else. */
static void half_way(int protection)
{
    char *memory = kt_map(3 * page), *space = kt_space(page);
    struct kdreg_monitor_entry *m =
        (struct kdreg_monitor_entry *)(memory + page) - 40;
    uint32_t done;

    for (unsigned i = 0; i < 100; i++)
        m[i] = (struct kdreg_monitor_entry){
            .addr = (uintptr_t)space, .length = 1, .cookie = 1000 + i};
    CHECK(mprotect(memory + page, 2 * page, protection) == 0, "%m");
    CHECK(monitor_batch(m, 100, &done) == -1 && errno == EFAULT, "%m");
    CHECK(done <= 40 && done > 0, "%u", done);
    CHECK(kt_active(status) == done, "%ju active, %u done", (uintmax_t)kt_active(status), done);
    for (unsigned i = 0; i < done; i++)
        CHECK(m[i].status == 0);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    munmap(memory, 3 * page);
}

/* Slots run out half way: the entries say so, the call succeeds. */
static void run_out(void)
{
    struct kdreg_monitor_entry m[64];
    char *space = kt_space(page);
    uint32_t done;

    kt_config(fd, 40);
    for (unsigned i = 0; i < 64; i++)
        m[i] = (struct kdreg_monitor_entry){.addr = (uintptr_t)space, .length = 1, .cookie = i};
    CHECK(monitor_batch(m, 64, &done) == 0 && done == 64, "%m");
    for (unsigned i = 0; i < 64; i++)
        CHECK(m[i].status == (i < 40 ? 0 : -ENOSPC), "entry %u: %d", i, m[i].status);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    status = kt_config(fd, 2000);
}

/* Does the change invalidate a region with this mask? */
static bool sees(uint32_t mask, void (*change)(char *))
{
    char *memory = kt_space(page);
    struct kdreg2_monitoring_params p =
        kt_monitor_mask(fd, memory, page, 1, mask, KDREG_MONITOR_REASON);

    change(memory);
    bool seen = kt_changed(status, p);
    if (seen) {
        struct kdreg2_event event = kt_event(fd);
        CHECK((event._alignment & mask) == event._alignment && event._alignment != 0,
              "reason %#x for mask %#x", event._alignment, mask);
    }
    kt_no_event(fd);
    kt_unspace(memory, page);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    return seen;
}

static void protect(char *memory) { CHECK(mprotect(memory, page, PROT_READ) == 0, "%m"); }
static void discard(char *memory) { CHECK(madvise(memory, page, MADV_DONTNEED) == 0, "%m"); }
static void unmap(char *memory) { CHECK(munmap(memory, page) == 0, "%m"); }
static void write_protect(char *memory)
{
    pid_t child = fork();

    (void)memory;
    if (child == 0)
        _exit(0);
    CHECK(kt_wait(child) == 0);
}
static void soft_dirty(char *memory)
{
    int file = open("/proc/self/clear_refs", O_WRONLY);

    (void)memory;
    CHECK(file >= 0 && write(file, "4", 1) == 1, "%m");
    close(file);
}

static void masks(void)
{
    static const struct {
        uint32_t bit;
        void (*change)(char *);
    } changes[] = {
        {KDREG_CHANGE_UNMAP, unmap},
        {KDREG_CHANGE_CLEAR, discard},
        {KDREG_CHANGE_PROTECTION, protect},
        {KDREG_CHANGE_WRITE_PROTECT, write_protect},
        {KDREG_CHANGE_SOFT_DIRTY, soft_dirty},
    };

    for (uint32_t mask = 1; mask <= KDREG_CHANGE_ALL; mask++)
        for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++)
            CHECK(sees(mask, changes[i].change) == !!(mask & changes[i].bit),
                  "mask %#x, change %#x", mask, changes[i].bit);

    /* The mask is part of what makes a region the same. */
    char *space = kt_space(page);
    struct kdreg_monitor_entry m[2] = {
        {.addr = (uintptr_t)space, .length = 1, .cookie = 1, .changes = KDREG_CHANGE_UNMAP},
        {.addr = (uintptr_t)space, .length = 1, .cookie = 1},
    };
    CHECK(monitor_batch(m, 2, NULL) == 0, "%m");
    CHECK(m[0].status == 0 && m[1].status == -EBUSY);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
}

/* Regions with all masks at once, over the same memory. */
static void all_masks_at_once(void)
{
    char *memory = kt_space(page);
    struct kdreg2_monitoring_params p[KDREG_CHANGE_ALL + 1];

    for (uint32_t mask = 1; mask <= KDREG_CHANGE_ALL; mask++)
        p[mask] = kt_monitor_mask(fd, memory, page, mask, mask, 0);
    protect(memory);
    for (uint32_t mask = 1; mask <= KDREG_CHANGE_ALL; mask++)
        CHECK(kt_changed(status, p[mask]) == !!(mask & KDREG_CHANGE_PROTECTION));
    unmap(memory);
    for (uint32_t mask = 1; mask <= KDREG_CHANGE_ALL; mask++)
        CHECK(kt_changed(status, p[mask]) ==
              !!(mask & (KDREG_CHANGE_PROTECTION | KDREG_CHANGE_UNMAP)));
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    for (uint32_t mask = 1; mask <= KDREG_CHANGE_ALL; mask++)
        CHECK(kt_changed(status, p[mask]));
}

int main(void)
{
    fd = kt_open();
    page = kt_page();
    status = kt_config(fd, 2000);
    features();
    batches();
    half_way(PROT_NONE);
    half_way(PROT_READ);
    run_out();
    masks();
    all_masks_at_once();
    return 0;
}
