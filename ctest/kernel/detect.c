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
#include "kt.h"

#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/uio.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct { uint64_t a[5]; })
#endif

#define PAGES 8
#define ATTEMPTS 50

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;

/* The memory of one case: PAGES pages, all there. */
struct area {
    char *base;
    size_t length;
    int file; /* or -1 */
};

static struct area anonymous(void)
{
    return (struct area){kt_map(PAGES * page), PAGES * page, -1};
}

static struct area of_file(int file, int flags)
{
    struct area a = {.length = PAGES * page, .file = file};

    CHECK(ftruncate(file, (off_t)a.length) == 0, "%m");
    a.base = mmap(NULL, a.length, PROT_READ | PROT_WRITE, flags, file, 0);
    CHECK(a.base != MAP_FAILED, "%m");
    memset(a.base, 0x33, a.length);
    return a;
}

static struct area shared_memory(void)
{
    int file = memfd_create("kdreg", MFD_CLOEXEC);

    CHECK(file >= 0, "%m");
    return of_file(file, MAP_SHARED);
}

static struct area private_file(void)
{
    int file = memfd_create("kdreg", MFD_CLOEXEC);

    CHECK(file >= 0, "%m");
    return of_file(file, MAP_PRIVATE);
}

static struct area huge_pages(void)
{
    size_t huge = 2 << 20;
    struct area a = {.length = 2 * huge, .file = -1};

    a.base = mmap(NULL, a.length, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (a.base != MAP_FAILED)
        memset(a.base, 1, a.length);
    return a;
}

static struct area sysv(void)
{
    struct area a = {.length = PAGES * page, .file = -1};
    int id = shmget(IPC_PRIVATE, a.length, IPC_CREAT | 0600);

    CHECK(id >= 0, "%m");
    a.base = shmat(id, NULL, 0);
    CHECK(a.base != (void *)-1, "%m");
    shmctl(id, IPC_RMID, NULL);
    memset(a.base, 1, a.length);
    return a;
}

static void release(struct area *a)
{
    munmap(a->base, a->length);
    if (a->file >= 0)
        close(a->file);
}

/* The changes. Each must change the page in the middle of the area and may
 * change all of it; returns 0, or an errno where this kernel has it not. */
typedef int change(struct area *a);

static char *middle(const struct area *a)
{
    return a->base + a->length / 2;
}

static size_t unit(const struct area *a)
{
    return a->length > PAGES * page ? a->length / 2 : page;
}

static int result(long r)
{
    return r == -1 ? errno : 0;
}

static int unmap(struct area *a) { return result(munmap(middle(a), unit(a))); }
static int unmap_all(struct area *a) { return result(munmap(a->base, a->length)); }
static int unmap_raw(struct area *a)
{
    return result(syscall(SYS_munmap, middle(a), unit(a)));
}
static int map_over(struct area *a)
{
    void *p = mmap(middle(a), unit(a), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    return p == MAP_FAILED ? errno : 0;
}
static int protect(struct area *a) { return result(mprotect(middle(a), unit(a), PROT_READ)); }
static int protect_none(struct area *a) { return result(mprotect(middle(a), unit(a), PROT_NONE)); }
static int discard(struct area *a) { return result(madvise(middle(a), unit(a), MADV_DONTNEED)); }
static int discard_locked(struct area *a)
{
    return result(madvise(middle(a), unit(a), MADV_DONTNEED_LOCKED));
}
static int discard_free(struct area *a) { return result(madvise(middle(a), unit(a), MADV_FREE)); }
static int discard_remove(struct area *a)
{
    return result(madvise(middle(a), unit(a), MADV_REMOVE));
}
static bool write_to(const char *name, const char *text)
{
    int file = open(name, O_WRONLY);
    bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    if (file >= 0)
        close(file);
    return written;
}

static uint64_t page_entry(const void *address)
{
    int file = open("/proc/self/pagemap", O_RDONLY);
    uint64_t entry = 0;

    CHECK(file >= 0, "%m");
    CHECK(pread(file, &entry, sizeof entry, (off_t)((uintptr_t)address / page * sizeof entry)) ==
              sizeof entry, "%m");
    close(file);
    return entry;
}

/* Needs somewhere to go, and leaves pages alone that are in use elsewhere. */
static int page_out(struct area *a)
{
    for (int i = 0; i < 100; i++) {
        /* Every processor hands in its list of new pages. */
        (void)write_to("/proc/sys/vm/compact_memory", "1");
        if (madvise(a->base, a->length, MADV_PAGEOUT) != 0)
            return errno;
        if (!(page_entry(middle(a)) >> 63))
            return 0;
    }
    return EAGAIN;
}
static int guard(struct area *a) { return result(madvise(middle(a), unit(a), MADV_GUARD_INSTALL)); }
static int process_discard(struct area *a)
{
    struct iovec v = {middle(a), unit(a)};
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int r = result(syscall(SYS_process_madvise, pidfd, &v, 1, MADV_DONTNEED, 0) == (long)unit(a)
                       ? 0
                       : -1);

    close(pidfd);
    return r;
}
static int move_away(struct area *a)
{
    char *to = mmap(NULL, unit(a), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mremap(middle(a), unit(a), unit(a), MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED
               ? errno
               : 0;
}
static int move_over(struct area *a)
{
    char *from = kt_map(unit(a));

    return mremap(from, unit(a), unit(a), MREMAP_MAYMOVE | MREMAP_FIXED, middle(a)) == MAP_FAILED
               ? errno
               : 0;
}
static int move_dontunmap(struct area *a)
{
    return mremap(middle(a), unit(a), unit(a), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) ==
                   MAP_FAILED
               ? errno
               : 0;
}
static int shrink(struct area *a)
{
    return mremap(a->base, a->length, a->length / 2, 0) == MAP_FAILED ? errno : 0;
}
static int truncate_file(struct area *a) { return result(ftruncate(a->file, (off_t)a->length / 2)); }
static int punch_hole(struct area *a)
{
    return result(fallocate(a->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)a->length / 2, (off_t)unit(a)));
}
static int attach_over(struct area *a)
{
    int id = shmget(IPC_PRIVATE, page, IPC_CREAT | 0600);
    void *p = shmat(id, middle(a), SHM_REMAP);

    shmctl(id, IPC_RMID, NULL);
    return p == (void *)-1 ? errno : 0;
}
static int detach(struct area *a) { return result(shmdt(a->base)); }
/* Writing to a page that a child shares replaces it. */
static int copy_on_write(struct area *a)
{
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    *(volatile char *)middle(a) = 9;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
/* Moved to another frame of the same node by way of compaction; or another
 * node, where there is one. */
static int migrate(struct area *a)
{
    void *pages[PAGES];
    int nodes[PAGES], where[PAGES];
    int target;

    if (access("/sys/devices/system/node/node1", F_OK) != 0)
        return ENOTSUP;
    for (int i = 0; i < PAGES; i++)
        pages[i] = a->base + (size_t)i * page;
    if (syscall(SYS_move_pages, 0, PAGES, pages, NULL, where, 0) < 0)
        return errno;
    target = where[PAGES / 2] == 0 ? 1 : 0;
    for (int i = 0; i < PAGES; i++)
        nodes[i] = target;
    if (syscall(SYS_move_pages, 0, PAGES, pages, nodes, where, 2) < 0)
        return errno;
    return where[PAGES / 2] == target ? 0 : EAGAIN;
}
static int user_move(struct area *a)
{
    struct {
        uint64_t dst, src, len, mode;
        int64_t move;
    } move = {.src = (uintptr_t)middle(a), .len = unit(a)};
    char *to = mmap(NULL, unit(a), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
    struct uffdio_api api = {.api = UFFD_API, .features = 1 << 16};
    struct uffdio_register reg = {.range = {(uintptr_t)to, unit(a)},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
    int r;

    if (uffd < 0)
        return errno;
    if (ioctl(uffd, UFFDIO_API, &api) != 0 || ioctl(uffd, UFFDIO_REGISTER, &reg) != 0) {
        r = errno;
    } else {
        move.dst = (uintptr_t)to;
        r = result(ioctl(uffd, _IOWR(0xAA, 0x05, move), &move));
    }
    close(uffd);
    munmap(to, unit(a));
    return r;
}

static const struct {
    const char *name;
    change *change;
    struct area (*area)(void);
    uint32_t reason;
    bool optional; /* this kernel, or this machine, may lack it */
} cases[] = {
    {"munmap", unmap, anonymous, KDREG_CHANGE_UNMAP, false},
    {"munmap of all", unmap_all, anonymous, KDREG_CHANGE_UNMAP, false},
    {"munmap of a file", unmap, shared_memory, KDREG_CHANGE_UNMAP, false},
    {"munmap of a private file", unmap, private_file, KDREG_CHANGE_UNMAP, false},
    {"munmap of huge pages", unmap, huge_pages, KDREG_CHANGE_UNMAP, true},
    {"raw munmap", unmap_raw, anonymous, KDREG_CHANGE_UNMAP, false},
    {"mmap over it", map_over, anonymous, KDREG_CHANGE_UNMAP, false},
    {"mmap over a file", map_over, shared_memory, KDREG_CHANGE_UNMAP, false},
    {"mremap away", move_away, anonymous, KDREG_CHANGE_UNMAP, false},
    {"mremap of a file", move_away, shared_memory, KDREG_CHANGE_UNMAP, false},
    {"mremap over it", move_over, anonymous, KDREG_CHANGE_UNMAP, false},
    {"mremap that leaves it", move_dontunmap, anonymous, KDREG_CHANGE_UNMAP, false},
    {"mremap to half", shrink, anonymous, KDREG_CHANGE_UNMAP, false},
    {"shmat over it", attach_over, anonymous, KDREG_CHANGE_UNMAP, false},
    {"shmdt", detach, sysv, KDREG_CHANGE_UNMAP, false},
    {"mprotect", protect, anonymous, KDREG_CHANGE_PROTECTION, false},
    {"mprotect to nothing", protect_none, anonymous, KDREG_CHANGE_PROTECTION, false},
    {"mprotect of a file", protect, shared_memory, KDREG_CHANGE_PROTECTION, false},
    {"mprotect of huge pages", protect, huge_pages, KDREG_CHANGE_PROTECTION, true},
    {"MADV_DONTNEED", discard, anonymous, KDREG_CHANGE_CLEAR, false},
    {"MADV_DONTNEED of a file", discard, shared_memory, KDREG_CHANGE_CLEAR, false},
    {"MADV_DONTNEED of huge pages", discard, huge_pages, KDREG_CHANGE_CLEAR, true},
    {"MADV_DONTNEED_LOCKED", discard_locked, anonymous, KDREG_CHANGE_CLEAR, false},
    {"MADV_FREE", discard_free, anonymous, KDREG_CHANGE_CLEAR, false},
    {"MADV_REMOVE", discard_remove, shared_memory, KDREG_CHANGE_CLEAR, false},
    {"MADV_GUARD_INSTALL", guard, anonymous, KDREG_CHANGE_CLEAR, true},
    {"MADV_PAGEOUT", page_out, shared_memory, KDREG_CHANGE_CLEAR, true},
    {"process_madvise", process_discard, anonymous, KDREG_CHANGE_CLEAR, true},
    {"ftruncate", truncate_file, shared_memory, KDREG_CHANGE_CLEAR, false},
    {"ftruncate under a private mapping", truncate_file, private_file, KDREG_CHANGE_CLEAR, false},
    {"hole punching", punch_hole, shared_memory, KDREG_CHANGE_CLEAR, false},
    {"hole punching under a private mapping", punch_hole, private_file, 0, true},
    {"copy on write", copy_on_write, anonymous, KDREG_CHANGE_CLEAR, false},
    {"migration", migrate, anonymous, KDREG_CHANGE_CLEAR, true},
    {"UFFDIO_MOVE", user_move, anonymous, 0, true},
};

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
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(eventually(run, i), "%s: never for the reason it should", cases[i].name);
    program_break();
    background();
    CHECK(eventually(harmless, 0), "a region is invalid after nothing has changed");
    printf("%zu changes, %u of them not to be had here\n", sizeof cases / sizeof *cases + 4,
           skipped);
    return 0;
}
