/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every kind of memory that a program may hand to a network card, mapped where a cell looks. */
#include <alloca.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>

#include "harmless.h"
#include "../hugepages/pool.h"
#include "../newer/newer.h"

enum { SMALL_UNITS = 32, SMALL_UNIT = 64 << 10, HUGE_UNITS = 8, HUGE_SPARE = 8 };
enum { RW = PROT_READ | PROT_WRITE };

/* Small pages in units of sixteen: as many as a fault on a file brings in at once, and too few for a huge page. */
static void small(struct memory *memory)
{
    memory->units = SMALL_UNITS;
    memory->unit = SMALL_UNIT;
}

static int place(struct memory *memory, int flags, int fd)
{
    memory->base = memory->area + MEMORY_AT;
    void *mapped = mmap(memory->base, size_of(memory), RW, MAP_FIXED | flags, fd, 0);
    return mapped == MAP_FAILED ? -errno : 0;
}

static int map_anonymous(struct memory *memory)
{
    small(memory);
    return place(memory, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int map_thp(struct memory *memory)
{
    memory->units = HUGE_UNITS;
    memory->unit = HUGE;
    int error = place(memory, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!error && madvise(memory->base, size_of(memory), MADV_HUGEPAGE))
        error = -errno;
    return error;
}

/* A page of its own for each unit, so that contents can be told apart before the memory is touched. */
static int fill_file(struct memory *memory)
{
    if (memory->fd < 0 || ftruncate(memory->fd, (off_t)size_of(memory)))
        return -errno;
    char *content = calloc(1, memory->unit);
    if (!content)
        return -ENOMEM;
    int error = 0;
    for (int i = 0; i < memory->units && !error; i++) {
        memset(content, 0x40 + i, 64);
        if (pwrite(memory->fd, content, memory->unit, (off_t)((size_t)i * memory->unit)) != (ssize_t)memory->unit)
            error = -EIO;
    }
    free(content);
    return error;
}

static int map_memfd(struct memory *memory)
{
    small(memory);
    memory->fd = memfd_create("kdreg-harmless", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int error = fill_file(memory);
    return error ? error : place(memory, MAP_SHARED, memory->fd);
}

int open_file(int flags)
{
    static const char *const directories[] = {"/var/tmp", "/tmp", "."};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/kdreg-harmless-XXXXXX", directories[i]);
        int fd = mkostemp(path, O_CLOEXEC | flags);
        if (fd >= 0) {
            unlink(path);
            return fd;
        }
    }
    return -1;
}

static int map_file(struct memory *memory)
{
    small(memory);
    memory->fd = open_file(0);
    int error = fill_file(memory);
    return error ? error : place(memory, memory->kind == FILE_SHARED ? MAP_SHARED : MAP_PRIVATE, memory->fd);
}

static int map_hugetlb(struct memory *memory)
{
    memory->units = HUGE_UNITS;
    memory->unit = HUGE;
    return place(memory, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1);
}

static int map_heap(struct memory *memory)
{
    small(memory);
    /* Room below for the libraries' own small allocations: they must not come to lie above. */
    mallopt(M_TOP_PAD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    free(malloc(64 << 10));
    uintptr_t end = (uintptr_t)sbrk(0), pad = (memory->unit - end % memory->unit) % memory->unit;
    if (sbrk((intptr_t)(pad + size_of(memory))) == (void *)-1)
        return -errno;
    memory->base = (char *)(end + pad);
    return 0;
}

static int map_malloc(struct memory *memory)
{
    small(memory);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);   /* a mapping of its own */
    memory->block = malloc(size_of(memory) + memory->unit);
    if (!memory->block)
        return -ENOMEM;
    memory->base = (char *)(((uintptr_t)memory->block + memory->page) & ~(memory->page - 1));
    return 0;
}

/* Stack that a deep call left behind: part of the stack's mapping, and nothing lives there any more. */
static __attribute__((noinline)) int map_stack(struct memory *memory)
{
    enum { BELOW = 1 << 20, CLEAR = 256 << 10 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < 4 * (rlim_t)BELOW)
        return -ENOMEM;
    memory->units = SMALL_UNITS;
    memory->unit = memory->page;
    volatile char *deep = alloca(BELOW);
    for (size_t i = BELOW; i > 0; i -= memory->page)
        deep[i - 1] = 1;
    memory->base = (char *)((((uintptr_t)deep + BELOW - CLEAR) & ~(memory->page - 1)) - size_of(memory));
    return 0;
}

static int map_sysv(struct memory *memory)
{
    small(memory);
    memory->shmid = shmget(IPC_PRIVATE, size_of(memory), IPC_CREAT | 0600);
    if (memory->shmid < 0)
        return -errno;
    memory->base = memory->area + MEMORY_AT;
    int error = shmat(memory->shmid, memory->base, SHM_REMAP) == (void *)-1 ? -errno : 0;
    shmctl(memory->shmid, IPC_RMID, NULL);   /* goes when the last process lets go of it */
    return error;
}

const struct kind kinds[] = {
    {"anonymous", ANONYMOUS, map_anonymous},      {"THP", THP, map_thp},
    {"memfd", MEMFD, map_memfd},                  {"file shared", FILE_SHARED, map_file},
    {"file private", FILE_PRIVATE, map_file},     {"hugetlb", HUGETLB, map_hugetlb},
    {"brk heap", HEAP, map_heap},                 {"malloc", MALLOC, map_malloc},
    {"stack", STACK, map_stack},                  {"SysV shm", SYSV, map_sysv},
};
const int kind_count = (int)(sizeof kinds / sizeof *kinds);

void memory_touch(const struct memory *memory)
{
    if (memory->unit < HUGE)
        for (char *page = memory->base; page < memory->base + size_of(memory); page += memory->page)
            *(volatile char *)page = 1;
    for (int i = 0; i < memory->units; i++)
        memset(at(memory, i), 0x10 + i, 64);
}

void kinds_prepare(void)
{
    huge_pool_borrow(3 * HUGE_UNITS + HUGE_SPARE);
}

void kinds_release(void)
{
    huge_pool_return();
}
