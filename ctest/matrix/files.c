/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What happens to the file or the segment that is mapped. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plans.h"

bool suits_descriptor(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->fd >= 0;
}

bool suits_shared(const struct kind *kind, const struct memory *memory)
{
    (void)memory;
    return kind->shared;
}

int prepare_clean(struct memory *memory)
{
    if (memory->fd >= 0 && fsync(memory->fd))
        return -errno;
    return 0;
}

int plan_truncate(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 5;
    *count = UNITS - 5;
    call_set(call, SYS_ftruncate, memory->fd, (long)(5 * memory->unit), 0, 0, 0, 0);
    return 0;
}

int plan_extend(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)first;
    (void)count;
    call_set(call, SYS_ftruncate, memory->fd, (long)(20 * memory->unit), 0, 0, 0, 0);
    return 0;
}

int plan_hole(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_fallocate, memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (long)((size_t)*first * memory->unit), (long)((size_t)*count * memory->unit), 0, 0);
    return 0;
}

int plan_zero_range(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_fallocate, memory->fd, FALLOC_FL_ZERO_RANGE, (long)((size_t)*first * memory->unit), (long)((size_t)*count * memory->unit), 0, 0);
    return 0;
}

int plan_collapse_range(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_fallocate, memory->fd, FALLOC_FL_COLLAPSE_RANGE, (long)(5 * memory->unit), (long)memory->unit, 0, 0);
    *first = 5;
    *count = UNITS - 5;
    return 0;
}

bool suits_sysv(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->shmid >= 0;
}

int plan_shmdt(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 0;
    *count = UNITS;
    call_set(call, SYS_shmdt, (long)memory->base, 0, 0, 0, 0, 0);
    return 0;
}

int plan_attach_over(struct memory *memory, int *first, int *count, struct call *call)
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

int plan_remap_file_pages(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_remap_file_pages, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

int plan_sync(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_msync, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), MS_SYNC | MS_INVALIDATE, 0, 0, 0);
    return 0;
}
