/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Mappings that go, move, or give way to others. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../tools/newer/newer.h"
#include "plans.h"

/* Addresses nobody uses, aligned for huge pages. */
static char *reserve(const struct memory *memory, size_t length)
{
    char *space = mmap(NULL, length + memory->unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return NULL;
    return (char *)(((uintptr_t)space + memory->unit - 1) & ~(memory->unit - 1));
}

int plan_munmap(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_munmap, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

int plan_map_over(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_mmap, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return 0;
}

int plan_map_file_over(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    int fd = memfd_create("kdreg-matrix-over", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)length))
        return -errno;
    call_set(call, SYS_mmap, (long)at(memory, *first), (long)length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    return 0;
}

int plan_move(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    char *target = reserve(memory, length);
    if (!target)
        return -ENOMEM;
    call_set(call, SYS_mremap, (long)at(memory, *first), (long)length, (long)length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)target, 0);
    return 0;
}

int plan_move_keeping(struct memory *memory, int *first, int *count, struct call *call)
{
    int error = plan_move(memory, first, count, call);
    call->args[3] |= MREMAP_DONTUNMAP;
    return error;
}

int plan_grow_moving(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    call_set(call, SYS_mremap, (long)at(memory, *first), (long)length, (long)(length + 4 * memory->unit), MREMAP_MAYMOVE, 0, 0);
    return 0;
}

int plan_shrink(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 5;
    *count = 3;
    call_set(call, SYS_mremap, (long)at(memory, 4), (long)(4 * memory->unit), (long)memory->unit, 0, 0, 0);
    return 0;
}

int plan_move_onto(struct memory *memory, int *first, int *count, struct call *call)
{
    size_t length = memory->unit * (size_t)*count;
    char *source = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (source == MAP_FAILED)
        return -errno;
    memset(source, 1, length);
    call_set(call, SYS_mremap, (long)source, (long)length, (long)length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)at(memory, *first), 0);
    return 0;
}

int plan_grow_in_place(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)first;
    (void)count;
    call_set(call, SYS_mremap, (long)at(memory, 10), (long)(2 * memory->unit), (long)(3 * memory->unit), 0, 0, 0);
    return 0;
}

bool suits_brk(const struct kind *kind, const struct memory *memory)
{
    return strcmp(kind->name, "brk heap") == 0 && memory->base + UNITS * memory->unit == (char *)sbrk(0);
}

int plan_brk(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 5;
    *count = UNITS - 5;
    call_set(call, SYS_brk, (long)at(memory, 5), 0, 0, 0, 0, 0);
    return 0;
}

int plan_move_pages(struct memory *memory, int *first, int *count, struct call *call)
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
