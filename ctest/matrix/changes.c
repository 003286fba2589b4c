/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The rows of the matrix: every change to a mapping, what claims it, and how it is made. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifndef MATRIX_STATIC
#include <dlfcn.h>
#endif

#include "../../tools/newer/newer.h"
#include "matrix.h"

const struct extent extents[] = {{"whole", 4, 4}, {"middle page", 5, 1}, {"first page", 4, 1}, {"over several", 3, 8}};
const int extent_count = (int)(sizeof extents / sizeof *extents);

static char *at(const struct memory *memory, int unit)
{
    return memory->base + (size_t)unit * memory->unit;
}

static void call_set(struct call *call, long number, long a0, long a1, long a2, long a3, long a4, long a5)
{
    *call = (struct call){.number = number, .args = {a0, a1, a2, a3, a4, a5}};
}

/* Addresses nobody uses, aligned for huge pages. */
static char *reserve(const struct memory *memory, size_t length)
{
    char *space = mmap(NULL, length + memory->unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return NULL;
    return (char *)(((uintptr_t)space + memory->unit - 1) & ~(memory->unit - 1));
}

static int plan_munmap(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_munmap, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

static int plan_map_over(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_mmap, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return 0;
}

static int plan_map_file_over(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    int fd = memfd_create("kdreg-matrix-over", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)length))
        return -errno;
    call_set(call, SYS_mmap, (long)at(memory, *first), (long)length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    return 0;
}

static int plan_move(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    char *target = reserve(memory, length);
    if (!target)
        return -ENOMEM;
    call_set(call, SYS_mremap, (long)at(memory, *first), (long)length, (long)length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)target, 0);
    return 0;
}

static int plan_move_keeping(struct memory *memory, int *first, int *count, struct call *call)
{
    int error = plan_move(memory, first, count, call);
    call->args[3] |= MREMAP_DONTUNMAP;
    return error;
}

static int plan_grow_moving(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    call_set(call, SYS_mremap, (long)at(memory, *first), (long)length, (long)(length + 4 * memory->unit), MREMAP_MAYMOVE, 0, 0);
    return 0;
}

static int plan_shrink(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 5;
    *count = 3;
    call_set(call, SYS_mremap, (long)at(memory, 4), (long)(4 * memory->unit), (long)memory->unit, 0, 0, 0);
    return 0;
}

static int plan_move_onto(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    char *source = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (source == MAP_FAILED)
        return -errno;
    memset(source, 1, length);
    call_set(call, SYS_mremap, (long)source, (long)length, (long)length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)at(memory, *first), 0);
    return 0;
}

static bool suits_brk(const struct kind *kind, const struct memory *memory)
{
    return strcmp(kind->name, "brk heap") == 0 && memory->base + UNITS * memory->unit == (char *)sbrk(0);
}

static int plan_brk(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 5;
    *count = UNITS - 5;
    call_set(call, SYS_brk, (long)at(memory, 5), 0, 0, 0, 0, 0);
    return 0;
}

static int plan_advice(struct memory *memory, int first, int count, struct call *call, int advice)
{
    call_set(call, SYS_madvise, (long)at(memory, first), (long)(memory->unit * (size_t)count), advice, 0, 0, 0);
    return 0;
}
#define ADVICE(name)                                                                                                 \
    static int plan_##name(struct memory *memory, int *first, int *count, struct call *call)                         \
    {                                                                                                                \
        return plan_advice(memory, *first, *count, call, MADV_##name);                                               \
    }
ADVICE(DONTNEED)
ADVICE(DONTNEED_LOCKED)
ADVICE(FREE)
ADVICE(REMOVE)
ADVICE(GUARD_INSTALL)
ADVICE(PAGEOUT)
ADVICE(COLLAPSE)
ADVICE(WILLNEED)
ADVICE(COLD)
ADVICE(NORMAL)
ADVICE(SEQUENTIAL)
ADVICE(RANDOM)
ADVICE(DONTFORK)
ADVICE(DONTDUMP)
ADVICE(NOHUGEPAGE)
ADVICE(POPULATE_READ)
ADVICE(POPULATE_WRITE)

static int prepare_locked(struct memory *memory)
{
    return mlock(at(memory, 0), UNITS * memory->unit) ? -errno : 0;
}

static int prepare_clean(struct memory *memory)
{
    if (memory->fd >= 0 && fsync(memory->fd))
        return -errno;
    return 0;
}

/* Small pages where the kernel could use a huge one, so that there is something to collapse. */
static int prepare_small_pages(struct memory *memory)
{
    size_t length = UNITS * memory->unit;
    if (madvise(memory->base, length, MADV_NOHUGEPAGE) || madvise(memory->base, length, MADV_DONTNEED))
        return -errno;
    for (size_t offset = 0; offset < length; offset += memory->page)
        memory->base[offset] = 1;
    return madvise(memory->base, length, MADV_HUGEPAGE) ? -errno : 0;
}

static bool suits_thp(const struct kind *kind, const struct memory *memory)
{
    (void)memory;
    return strcmp(kind->name, "THP") == 0;
}

static bool suits_writable(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->writable;
}

static bool suits_descriptor(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->fd >= 0;
}

static bool suits_shared(const struct kind *kind, const struct memory *memory)
{
    (void)memory;
    return kind->shared;
}

static int plan_protect(struct memory *memory, int first, int count, struct call *call, int protection)
{
    call_set(call, SYS_mprotect, (long)at(memory, first), (long)(memory->unit * (size_t)count), protection, 0, 0, 0);
    return 0;
}

static int plan_protect_none(struct memory *memory, int *first, int *count, struct call *call)
{
    return plan_protect(memory, *first, *count, call, PROT_NONE);
}

static int plan_protect_read(struct memory *memory, int *first, int *count, struct call *call)
{
    return plan_protect(memory, *first, *count, call, PROT_READ);
}

static int plan_protect_same(struct memory *memory, int *first, int *count, struct call *call)
{
    return plan_protect(memory, *first, *count, call, memory->writable ? PROT_READ | PROT_WRITE : PROT_READ);
}

/* Before monitoring: so that plan_protect_same adds rights. */
static int prepare_read_only(struct memory *memory)
{
    return mprotect(memory->base, UNITS * memory->unit, PROT_READ) ? -errno : 0;
}

static bool put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

/* How often NUMA balancing has been through this process's memory; -1: it does not say. */
static long numa_scans(void)
{
    FILE *file = fopen("/proc/self/sched", "re");
    char line[160];
    long scans = -1;
    while (file && scans < 0 && fgets(line, sizeof line, file))
        (void)!sscanf(line, "mm->numa_scan_seq : %ld", &scans);
    if (file)
        fclose(file);
    return scans;
}

/* Lets NUMA balancing look at who uses the memory, which nobody does meanwhile. */
static long do_numa_hint(const struct call *call)
{
    (void)call;
    if (access("/sys/devices/system/node/node1", F_OK) || !put("/proc/sys/kernel/numa_balancing", "1"))
        return -ENOSYS;
    put("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "10");
    put("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "10");
    long first = numa_scans(), scans = first;
    struct timespec used = {0, 0};
    /* It comes with a process's ticks; in vain in one that is not looked at. */
    while (first >= 0 && scans < first + 2 && used.tv_sec < 20) {
        for (volatile int i = 0; i < 1000000; i++)
            ;
        scans = numa_scans();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    }
    put("/proc/sys/kernel/numa_balancing", "0");
    return scans >= first + 2 && first >= 0 ? 0 : -ENOSYS;
}

static int plan_numa_hint(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)memory;
    (void)first;
    (void)count;
    call_set(call, 0, 0, 0, 0, 0, 0, 0);
    call->function = do_numa_hint;
    return 0;
}

static int plan_protect_key(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_pkey_mprotect, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), PROT_NONE, -1, 0, 0);
    return 0;
}

static int plan_truncate(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 5;
    *count = UNITS - 5;
    call_set(call, SYS_ftruncate, memory->fd, (long)(5 * memory->unit), 0, 0, 0, 0);
    return 0;
}

static int plan_extend(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)first;
    (void)count;
    call_set(call, SYS_ftruncate, memory->fd, (long)(20 * memory->unit), 0, 0, 0, 0);
    return 0;
}

static int plan_hole(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_fallocate, memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (long)((size_t)*first * memory->unit), (long)((size_t)*count * memory->unit), 0, 0);
    return 0;
}

static int plan_zero_range(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_fallocate, memory->fd, FALLOC_FL_ZERO_RANGE, (long)((size_t)*first * memory->unit), (long)((size_t)*count * memory->unit), 0, 0);
    return 0;
}

static int plan_collapse_range(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_fallocate, memory->fd, FALLOC_FL_COLLAPSE_RANGE, (long)(5 * memory->unit), (long)memory->unit, 0, 0);
    *first = 5;
    *count = UNITS - 5;
    return 0;
}

static int plan_shmdt(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 0;
    *count = UNITS;
    call_set(call, SYS_shmdt, (long)memory->base, 0, 0, 0, 0, 0);
    return 0;
}

static bool suits_sysv(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->shmid >= 0;
}

static int plan_attach_over(struct memory *memory, int *first, int *count, struct call *call)
{
    int segment = shmget(IPC_PRIVATE, memory->unit * (size_t)*count, IPC_CREAT | 0600);
    if (segment < 0)
        return -errno;
    /* Marked for removal while attached once: it lives until this process ends. */
    void *keep = shmat(segment, NULL, 0);
    shmctl(segment, IPC_RMID, NULL);
    if (keep == (void *)-1)
        return -errno;
    call_set(call, SYS_shmat, segment, (long)at(memory, *first), SHM_REMAP, 0, 0, 0);
    return 0;
}

static int plan_remap_file_pages(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_remap_file_pages, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

static int plan_move_pages(struct memory *memory, int *first, int *count, struct call *call)
{
    static struct newer_uffdio_move move;
    size_t length = memory->unit * (size_t)*count;
    char *target = mmap(NULL, length + memory->unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (target == MAP_FAILED)
        return -errno;
    target = (char *)(((uintptr_t)target + memory->unit - 1) & ~(memory->unit - 1));
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | NEWER_UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register area = {.range = {(uintptr_t)target, length}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &area))
        return -errno;
    move = (struct newer_uffdio_move){.dst = (uintptr_t)target, .src = (uintptr_t)at(memory, *first), .len = length};
    call_set(call, SYS_ioctl, fd, (long)NEWER_UFFDIO_MOVE, (long)&move, 0, 0, 0);
    return 0;
}

static bool suits_malloc(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->block != NULL;
}

static long do_free(const struct call *call)
{
    free((void *)call->args[0]);
    return 0;
}

static int plan_free(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 0;
    *count = UNITS;
    call_set(call, 0, (long)memory->block, 0, 0, 0, 0, 0);
    call->function = do_free;
    return 0;
}

#ifndef MATRIX_STATIC
static bool suits_object(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->object != NULL;
}

static long do_dlclose(const struct call *call)
{
    return dlclose((void *)call->args[0]) ? -EINVAL : 0;
}

static int plan_dlclose(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 0;
    *count = UNITS;
    call_set(call, 0, (long)memory->object, 0, 0, 0, 0, 0);
    call->function = do_dlclose;
    return 0;
}
#endif

static long fork_and_wait(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0)
        return -errno;
    int status;
    return waitpid(child, &status, 0) == child ? 0 : -errno;
}

static long do_fork(const struct call *call)
{
    (void)call;
    return fork_and_wait();
}

static int plan_fork(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)memory;
    (void)first;
    (void)count;
    call_set(call, 0, 0, 0, 0, 0, 0, 0);
    call->function = do_fork;
    return 0;
}

static long do_fork_munmap(const struct call *call)
{
    long error = fork_and_wait();
    return error ? error : munmap((void *)call->args[0], (size_t)call->args[1]) ? -errno : 0;
}

static int plan_fork_munmap(struct memory *memory, int *first, int *count, struct call *call)
{
    plan_munmap(memory, first, count, call);
    call->function = do_fork_munmap;
    return 0;
}

static int plan_lock(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_mlock, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

static int plan_unlock(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_munlock, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

static int plan_sync(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_msync, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), MS_SYNC | MS_INVALIDATE, 0, 0, 0);
    return 0;
}

static int plan_grow_in_place(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)first;
    (void)count;
    call_set(call, SYS_mremap, (long)at(memory, 10), (long)(2 * memory->unit), (long)(3 * memory->unit), 0, 0, 0);
    return 0;
}

const struct change changes[] = {
    {"munmap", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_munmap, 0},
    {"mmap(MAP_FIXED) anonymous over it", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_map_over, 0},
    {"mmap(MAP_FIXED) file over it", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_map_file_over, 0},
    {"mremap away", KDREG_CAP_REMAP, REASON(REMAP) | REASON(UNMAP), NULL, NULL, plan_move, 0},
    {"mremap away, MREMAP_DONTUNMAP", KDREG_CAP_REMAP, REASON(REMAP) | REASON(UNMAP), NULL, NULL, plan_move_keeping, 0},
    {"mremap grown and moved", KDREG_CAP_REMAP, REASON(REMAP) | REASON(UNMAP), NULL, NULL, plan_grow_moving, 0},
    {"mremap shrink", KDREG_CAP_UNMAP, REASON(UNMAP) | REASON(REMAP), NULL, NULL, plan_shrink, WHOLE_ONLY},
    {"mremap(MREMAP_FIXED) onto it", KDREG_CAP_UNMAP, REASON(UNMAP) | REASON(REMAP), NULL, NULL, plan_move_onto, 0},
    {"brk shrink", KDREG_CAP_UNMAP, REASON(UNMAP), suits_brk, NULL, plan_brk, WHOLE_ONLY},
    {"free() of a large block", KDREG_CAP_UNMAP, REASON(UNMAP), suits_malloc, NULL, plan_free, WHOLE_ONLY | LIBC_ONLY},
#ifndef MATRIX_STATIC
    {"dlclose", KDREG_CAP_UNMAP, REASON(UNMAP), suits_object, NULL, plan_dlclose, WHOLE_ONLY | LIBC_ONLY},
#endif
    {"fork, then munmap", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_fork_munmap, LIBC_ONLY | FORKS},
    {"MADV_DONTNEED", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, NULL, plan_DONTNEED, 0},
    {"MADV_DONTNEED_LOCKED of locked pages", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, prepare_locked, plan_DONTNEED_LOCKED, 0},
    {"MADV_FREE", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, NULL, plan_FREE, 0},
    {"MADV_REMOVE", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, NULL, plan_REMOVE, 0},
    {"MADV_GUARD_INSTALL", KDREG_CAP_GUARD, REASON(DISCARD) | REASON(UNMAP) | REASON(PROTECT), NULL, NULL, plan_GUARD_INSTALL, 0},
    {"mprotect(PROT_NONE)", KDREG_CAP_PROTECT, REASON(PROTECT), NULL, NULL, plan_protect_none, 0},
    {"mprotect(PROT_READ)", KDREG_CAP_PROTECT, REASON(PROTECT), suits_writable, NULL, plan_protect_read, 0},
    {"pkey_mprotect(PROT_NONE)", KDREG_CAP_PROTECT, REASON(PROTECT), NULL, NULL, plan_protect_key, 0},
    {"ftruncate", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_truncate, WHOLE_ONLY},
    {"FALLOC_FL_PUNCH_HOLE", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_hole, 0},
    {"FALLOC_FL_ZERO_RANGE", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_zero_range, 0},
    {"FALLOC_FL_COLLAPSE_RANGE", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_collapse_range, WHOLE_ONLY},
    {"shmdt", KDREG_CAP_SYSV, REASON(UNMAP), suits_sysv, NULL, plan_shmdt, WHOLE_ONLY},
    {"shmat(SHM_REMAP) over it", KDREG_CAP_SYSV, REASON(UNMAP), NULL, NULL, plan_attach_over, 0},
    {"remap_file_pages", KDREG_CAP_PAGES, REASON(UNMAP) | REASON(REMAP) | REASON(DISCARD), suits_shared, NULL, plan_remap_file_pages, 0},
    {"UFFDIO_MOVE away", KDREG_CAP_PAGES, REASON(UNMAP) | REASON(REMAP) | REASON(DISCARD), NULL, NULL, plan_move_pages, 0},
    {"MADV_PAGEOUT", KDREG_CAP_MIGRATE, REASON(MIGRATE) | REASON(DISCARD) | REASON(UNMAP), NULL, prepare_clean, plan_PAGEOUT, IF_PAGES_MOVED},
    {"MADV_COLLAPSE", KDREG_CAP_MIGRATE, REASON(MIGRATE) | REASON(DISCARD) | REASON(UNMAP), suits_thp, prepare_small_pages, plan_COLLAPSE, IF_PAGES_MOVED},
    {"harmless: fork", 0, 0, NULL, NULL, plan_fork, WHOLE_ONLY | LIBC_ONLY | FORKS},
    {"harmless: mprotect to what it was", 0, 0, NULL, NULL, plan_protect_same, TAKES_NOTHING},
    {"harmless: mprotect that adds rights", 0, 0, suits_writable, prepare_read_only, plan_protect_same, TAKES_NOTHING},
    {"harmless: NUMA hint", 0, 0, NULL, NULL, plan_numa_hint, WHOLE_ONLY | LIBC_ONLY | TAKES_NOTHING},
    {"harmless: MADV_WILLNEED", 0, 0, NULL, NULL, plan_WILLNEED, 0},
    {"harmless: MADV_COLD", 0, 0, NULL, NULL, plan_COLD, 0},
    {"harmless: MADV_NORMAL", 0, 0, NULL, NULL, plan_NORMAL, 0},
    {"harmless: MADV_SEQUENTIAL", 0, 0, NULL, NULL, plan_SEQUENTIAL, 0},
    {"harmless: MADV_RANDOM", 0, 0, NULL, NULL, plan_RANDOM, 0},
    {"harmless: MADV_DONTFORK", 0, 0, NULL, NULL, plan_DONTFORK, 0},
    {"harmless: MADV_DONTDUMP", 0, 0, NULL, NULL, plan_DONTDUMP, 0},
    {"harmless: MADV_NOHUGEPAGE", 0, 0, NULL, NULL, plan_NOHUGEPAGE, 0},
    {"harmless: MADV_POPULATE_READ", 0, 0, NULL, NULL, plan_POPULATE_READ, 0},
    {"harmless: MADV_POPULATE_WRITE", 0, 0, suits_writable, NULL, plan_POPULATE_WRITE, 0},
    {"harmless: mlock", 0, 0, NULL, NULL, plan_lock, 0},
    {"harmless: munlock", 0, 0, NULL, prepare_locked, plan_unlock, 0},
    {"harmless: msync(MS_INVALIDATE)", 0, 0, suits_shared, NULL, plan_sync, 0},
    {"harmless: file grows", 0, 0, suits_descriptor, NULL, plan_extend, WHOLE_ONLY},
    {"harmless: mremap grows in place", 0, 0, NULL, NULL, plan_grow_in_place, WHOLE_ONLY},
};
const int change_count = (int)(sizeof changes / sizeof *changes);
_Static_assert(sizeof changes / sizeof *changes <= MAX_CHANGES, "MAX_CHANGES is too small");
