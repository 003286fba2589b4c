/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A userfaultfd of the application's own, in each of its modes, on the memory and beside it. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "calls.h"
#include "../newer/newer.h"

static int own_userfaultfd(uint64_t features)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | NEWER_UFFD_USER_MODE_ONLY);
    if (fd < 0)
        return -errno;
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    if (ioctl(fd, UFFDIO_API, &api)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static long watch_range(int fd, char *start, size_t length, int mode)
{
    struct uffdio_register area = {.range = {(uintptr_t)start, length}, .mode = (uint64_t)mode};
    return failed_or(ioctl(fd, UFFDIO_REGISTER, &area));
}

static uint64_t features_for(int mode)
{
    return mode == UFFDIO_REGISTER_MODE_MINOR ? UFFD_FEATURE_MINOR_SHMEM
           : mode == UFFDIO_REGISTER_MODE_WP  ? UFFD_FEATURE_PAGEFAULT_FLAG_WP | NEWER_UFFD_FEATURE_WP_UNPOPULATED | NEWER_UFFD_FEATURE_WP_ASYNC
                                              : 0;
}

/* value: the mode. */
static long watch(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    int fd = own_userfaultfd(features_for(call->value));
    if (fd < 0)
        return fd;
    long result = watch_range(fd, start, length, call->value);
    close(fd);
    return result;
}

/* Another mapping, with addresses of nobody's between. */
static int map_apart(struct memory *memory, const struct call *call)
{
    (void)call;
    memory->extra = memory->base + size_of(memory) + memory->unit;
    return mmap(memory->extra, size_of(memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -errno : 0;
}

/* Mapped by a call of its own, right beside: the kernel makes one mapping of both where both are anonymous. */
static int map_beside(struct memory *memory, const struct call *call)
{
    (void)call;
    memory->extra = memory->base + size_of(memory);
    return mmap(memory->extra, size_of(memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -errno : 0;
}

static long watch_extra(struct memory *memory, const struct call *call)
{
    int fd = own_userfaultfd(features_for(call->value));
    if (fd < 0)
        return fd;
    long result = watch_range(fd, memory->extra, size_of(memory), call->value);
    close(fd);
    return result;
}

static long protect_written(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    int fd = own_userfaultfd(features_for(UFFDIO_REGISTER_MODE_WP));
    if (fd < 0)
        return fd;
    long result = watch_range(fd, start, length, UFFDIO_REGISTER_MODE_WP);
    struct uffdio_writeprotect protect = {.range = {(uintptr_t)start, length}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    if (!result)
        result = failed_or(ioctl(fd, UFFDIO_WRITEPROTECT, &protect));
    if (!result)
        *(volatile char *)start = 0x2a;   /* the kernel takes the protection off */
    close(fd);
    return result;
}

/* Discards a part and fills it through the descriptor, as a pager does. */
static long fill(struct memory *memory, const struct call *call)
{
    static char page[HUGE];
    char *start;
    size_t length, unit = memory->kind == HUGETLB ? HUGE : memory->page;
    part_of(memory, call->part, &start, &length);
    int fd = own_userfaultfd(0);
    if (fd < 0)
        return fd;
    long result = watch_range(fd, start, length, UFFDIO_REGISTER_MODE_MISSING);
    if (!result && madvise(start, length, memory->kind == MEMFD ? MADV_REMOVE : MADV_DONTNEED))
        result = -errno;
    memset(page, 0x3c, sizeof page);
    struct uffdio_copy copy = {.dst = (uintptr_t)start, .src = (uintptr_t)page, .len = unit};
    if (!result)
        result = failed_or(ioctl(fd, UFFDIO_COPY, &copy));
    close(fd);
    return result;
}

/* Takes pages out of a part, into memory of its own. */
static long take_pages(struct memory *memory, const struct call *call)
{
    char *start, *target = memory->area + TARGET_AT;
    size_t length;
    part_of(memory, call->part, &start, &length);
    if (mmap(target, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != target)
        return -errno;
    int fd = own_userfaultfd(0);
    if (fd < 0)
        return fd;
    long result = watch_range(fd, target, length, UFFDIO_REGISTER_MODE_MISSING);
    struct newer_uffdio_move move = {.dst = (uintptr_t)target, .src = (uintptr_t)start, .len = length};
    if (!result)
        result = failed_or(ioctl(fd, NEWER_UFFDIO_MOVE, &move));
    close(fd);
    return result;
}

const struct call calls_watch[] = {
    {"own userfaultfd: missing pages", ANY, 0, UFFDIO_REGISTER_MODE_MISSING, ACROSS, watch, NULL, NULL},
    {"own userfaultfd: missing pages, inside", ANY, 0, UFFDIO_REGISTER_MODE_MISSING, INSIDE, watch, NULL, NULL},
    {"own userfaultfd: missing pages, beside", ANY, 0, UFFDIO_REGISTER_MODE_MISSING, BESIDE, watch, NULL, NULL},
    {"own userfaultfd: write-protection", ANY, 0, UFFDIO_REGISTER_MODE_WP, ACROSS, watch, NULL, NULL},
    {"own userfaultfd: write-protection, beside", ANY, 0, UFFDIO_REGISTER_MODE_WP, BESIDE, watch, NULL, NULL},
    {"own userfaultfd: minor faults", ANY, 0, UFFDIO_REGISTER_MODE_MINOR, ACROSS, watch, NULL, NULL},
    {"own userfaultfd: another mapping", ANY & IN_AREA, 0, UFFDIO_REGISTER_MODE_WP, WHOLE_OF_IT, watch_extra, map_apart, NULL},
    {"own userfaultfd: a mapping made beside it", IN_AREA, 0, UFFDIO_REGISTER_MODE_WP, WHOLE_OF_IT, watch_extra, map_beside, NULL},
    {"own userfaultfd: UFFDIO_WRITEPROTECT", ANY, 0, 0, INSIDE, protect_written, NULL, NULL},
    {"own userfaultfd: UFFDIO_COPY", ANY, 0, 0, INSIDE, fill, NULL, NULL},
    {"own userfaultfd: UFFDIO_MOVE out of it", ANY, 0, 0, BESIDE, take_pages, NULL, NULL},
    {0},
};
