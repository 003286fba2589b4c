/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Changes of protection, for regions that say what they need: what leaves that
 * keeps them, what takes it away invalidates before the call returns, and so
 * does what cannot be told apart. Those that say nothing are invalidated by each.
 */
#include "kt.h"

#include <linux/userfaultfd.h>

#define REGIONS 3

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;

/* What the three regions over the same memory need. */
static const uint32_t needs[REGIONS] = {0, KDREG_MONITOR_NEEDS_READ, KDREG_MONITOR_NEEDS_WRITE};
enum { ANY = 1, READING = 2, WRITING = 4, ALL = 7 };

static struct kdreg2_monitoring_params watched[REGIONS];

static void watch(const char *memory, size_t length)
{
    for (uint32_t i = 0; i < REGIONS; i++)
        watched[i] = kt_monitor_mask(fd, memory, length, i, 0, needs[i] | KDREG_MONITOR_REASON);
}

/* The set of regions that changed; each has its one event, for its reason. */
static unsigned changed(void)
{
    unsigned set = 0;

    for (unsigned i = 0; i < REGIONS; i++)
        if (kt_changed(status, watched[i]))
            set |= 1u << i;
    CHECK(kt_pending(status) == (unsigned)__builtin_popcount(set));
    while (kt_pending(status)) {
        struct kdreg2_event event = kt_event(fd);

        CHECK(event._alignment == KDREG_CHANGE_PROTECTION, "reason %#x", event._alignment);
        CHECK(set & 1u << event.u.mapping_change.cookie);
    }
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    return set;
}

static char *map(size_t length, int protection)
{
    /* With page tables, so that changes are announced; untouched, so that nothing is moved. */
    char *memory = kt_space(length);

    CHECK(mprotect(memory, length, protection) == 0, "%m");
    return memory;
}

static void protect(int before, int after, unsigned expected)
{
    size_t length = 16 * page;
    char *memory = map(length, before);

    /* All of it, and one page of sixteen. */
    for (unsigned part = 0; part < 2; part++) {
        CHECK(mprotect(memory, length, before) == 0, "%m");
        watch(memory, length);
        CHECK(mprotect(memory + (part ? 5 * page : 0), part ? page : length, after) == 0, "%m");
        unsigned set = changed();
        CHECK(set == expected, "%#x to %#x, part %u: changed are %#x, not %#x", before, after, part,
              set, expected);
    }
    CHECK(mprotect(memory, length, PROT_READ | PROT_WRITE) == 0, "%m");
    kt_unspace(memory, length);
}

/* A call that does nothing to the rights is no change to the memory; the kernel
 * does not even announce it unless it goes through the page tables. */
static void rights(void)
{
    const int none = PROT_NONE, r = PROT_READ, rw = PROT_READ | PROT_WRITE;

    protect(rw, r, ANY | WRITING);
    protect(rw, none, ALL);
    protect(r, none, ALL);
    protect(r, rw, ANY);
    /* What is needed has never been there: each change counts. */
    protect(none, r, ANY | WRITING);
    protect(none, rw, ANY);
    protect(r, r | PROT_EXEC, ANY | WRITING);
    protect(rw, rw | PROT_EXEC, ANY);
    /* There and back. */
    char *memory = map(page, rw);
    watch(memory, page);
    CHECK(mprotect(memory, page, none) == 0 && mprotect(memory, page, rw) == 0, "%m");
    unsigned set = changed();
    CHECK(set == ALL, "%#x", set);
    kt_unspace(memory, page);
}

/* Regions that reach over several mappings, and beyond them. */
static void neighbours(void)
{
    char *memory = map(8 * page, PROT_READ | PROT_WRITE);

    CHECK(mprotect(memory + 2 * page, page, PROT_READ) == 0, "%m");
    watch(memory, 8 * page);
    CHECK(mprotect(memory + 4 * page, page, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, "%m");
    unsigned set = changed();
    CHECK(set == ANY, "%#x", set);
    watch(memory, 8 * page);
    CHECK(mprotect(memory + page, 3 * page, PROT_READ) == 0, "%m");
    set = changed();
    CHECK(set == (ANY | WRITING), "%#x", set);
    CHECK(mprotect(memory, 8 * page, PROT_READ | PROT_WRITE) == 0, "%m");
    kt_unspace(memory, 8 * page);
}

/* A client of the kdreg2 interface says nothing of needs. */
static void plain(void)
{
    char *memory = map(page, PROT_READ);
    struct kdreg2_monitoring_params p = kt_monitor(fd, memory, page, 1);

    CHECK(mprotect(memory, page, PROT_READ | PROT_WRITE) == 0, "%m");
    CHECK(kt_changed(status, p));
    kt_event(fd);
    kt_unspace(memory, page);
    /* Nor does one for whom protection does not count at all hear of it. */
    memory = map(page, PROT_READ | PROT_WRITE);
    p = kt_monitor_mask(fd, memory, page, 1, KDREG_CHANGE_UNMAP, KDREG_MONITOR_NEEDS_WRITE);
    CHECK(mprotect(memory, page, PROT_NONE) == 0, "%m");
    CHECK(!kt_changed(status, p));
    CHECK(mprotect(memory, page, PROT_READ | PROT_WRITE) == 0, "%m");
    CHECK(munmap(memory, page) == 0 && kt_changed(status, p), "%m");
    kt_event(fd);
}

/* A region under the same name with other needs is another one. */
static void names(void)
{
    char *memory = map(page, PROT_READ | PROT_WRITE);
    struct kdreg_monitor_entry entry = {
        .addr = (uintptr_t)memory, .length = page, .cookie = 1, .flags = KDREG_MONITOR_NEEDS_READ};
    struct kdreg_batch batch = {.entries = (uintptr_t)&entry, .count = 1};

    for (int i = 0; i < 2; i++)
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0 && entry.status == 0, "%m");
    entry.flags = KDREG_MONITOR_NEEDS_WRITE;
    CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0 && entry.status == -EBUSY, "%d",
          entry.status);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    kt_unspace(memory, page);
}

/* The rights of the mapping say less than they seem to: protection keys. */
static void keys(void)
{
    int key = (int)syscall(SYS_pkey_alloc, 0, 0);

    if (key < 0) {
        printf("no protection keys: %m\n");
        return;
    }
    char *memory = map(page, PROT_READ | PROT_WRITE);
    watch(memory, page);
    CHECK(syscall(SYS_pkey_mprotect, memory, page, PROT_READ | PROT_WRITE, key) == 0, "%m");
    unsigned set = changed();
    CHECK(set == ALL, "%#x", set);
    watch(memory, page);
    CHECK(mprotect(memory, page, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, "%m");
    set = changed();
    CHECK(set == ALL, "%#x", set);
    kt_unspace(memory, page);
    syscall(SYS_pkey_free, key);
}

/* userfaultfd takes rights away from pages, not from the mapping. */
static void write_protected(void)
{
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};

    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0) {
        printf("no write protection by userfaultfd: %m\n");
        return;
    }
    char *memory = map(page, PROT_READ | PROT_WRITE);
    struct uffdio_register area = {.range = {(uintptr_t)memory, page},
                                   .mode = UFFDIO_REGISTER_MODE_WP};
    CHECK(ioctl(uffd, UFFDIO_REGISTER, &area) == 0, "%m");
    watch(memory, page);
    struct uffdio_writeprotect protect = {.range = {(uintptr_t)memory, page},
                                          .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    CHECK(ioctl(uffd, UFFDIO_WRITEPROTECT, &protect) == 0, "%m");
    unsigned set = changed();
    CHECK(set == ALL, "%#x", set);
    close(uffd);
    kt_unspace(memory, page);
}

/* PAGEMAP_SCAN write-protects in one go over several mappings, those that userfaultfd
 * watches; the one at the start of what it announces need not be one of these. */
static void scanned(void)
{
    /* As in linux/fs.h, from 6.7 on. */
    struct scan {
        uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
            category_mask, category_anyof_mask, return_mask;
    };
    enum { WP_MATCHING = 1, PAGE_IS_WRITTEN = 2, WP_UNPOPULATED = 1 << 13, WP_ASYNC = 1 << 15 };
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API, .features = WP_UNPOPULATED | WP_ASYNC};

    if (uffd < 0 || pagemap < 0 || ioctl(uffd, UFFDIO_API, &api) != 0) {
        printf("no PAGEMAP_SCAN: %m\n");
        return;
    }
    char *memory = map(2 * page, PROT_READ | PROT_WRITE);
    struct uffdio_register area = {.range = {(uintptr_t)memory + page, page},
                                   .mode = UFFDIO_REGISTER_MODE_WP};
    CHECK(ioctl(uffd, UFFDIO_REGISTER, &area) == 0, "%m");
    watch(memory + page, page);
    struct scan scan = {.size = sizeof scan,
                        .flags = WP_MATCHING,
                        .start = (uintptr_t)memory,
                        .end = (uintptr_t)memory + 2 * page,
                        .category_mask = PAGE_IS_WRITTEN,
                        .return_mask = PAGE_IS_WRITTEN};
    CHECK(ioctl(pagemap, _IOWR('f', 16, struct scan), &scan) >= 0, "%m");
    unsigned set = changed();
    CHECK(set == ALL, "%#x", set);
    close(uffd);
    close(pagemap);
    kt_unspace(memory, 2 * page);
}

/* Page tables of hugetlbfs may be shared: not looked into. */
static void huge(void)
{
    size_t size = 2UL << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);

    if (memory == MAP_FAILED) {
        printf("no huge page: %m\n");
        return;
    }
    watch(memory, size);
    CHECK(mprotect(memory, size, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, "%m");
    unsigned set = changed();
    CHECK(set == ALL, "%#x", set);
    munmap(memory, size);
}

int main(void)
{
    page = kt_page();
    fd = kt_open();
    status = kt_config(fd, 64);
    rights();
    neighbours();
    plain();
    names();
    keys();
    write_protected();
    scanned();
    huge();
    kt_no_event(fd);
    return 0;
}
