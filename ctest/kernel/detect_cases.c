/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every way to change a mapping, and every kind of memory. */
#include "detect.h"

#include <linux/userfaultfd.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/uio.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct { uint64_t a[5]; })
#endif

size_t page;

struct area anonymous(void)
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

struct area shared_memory(void)
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

void release(struct area *a)
{
    munmap(a->base, a->length);
    if (a->file >= 0)
        close(a->file);
}

char *middle(const struct area *a)
{
    return a->base + a->length / 2;
}

size_t unit(const struct area *a)
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
bool write_to(const char *name, const char *text)
{
    int file = open(name, O_WRONLY);
    bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    if (file >= 0)
        close(file);
    return written;
}

uint64_t page_entry(const void *address)
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

const struct detect_case cases[] = {
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
const size_t case_count = sizeof cases / sizeof *cases;
