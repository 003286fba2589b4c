/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every kind of memory that a program may hand to a network card. */
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>
#ifndef MATRIX_STATIC
#include <dlfcn.h>
#endif

#include "../../tools/hugepages/pool.h"
#include "../../tools/newer/newer.h"
#include "matrix.h"

enum { HUGE_UNIT = 2 << 20, HUGE_SPARE = 8 };

static int taken(struct memory *memory, void *base)
{
    if (base == MAP_FAILED)
        return -errno;
    memory->base = base;
    return 0;
}

static int map_anonymous(struct memory *memory)
{
    return taken(memory, mmap(NULL, UNITS * memory->unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static int map_shared_anonymous(struct memory *memory)
{
    return taken(memory, mmap(NULL, UNITS * memory->unit, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

static int map_descriptor(struct memory *memory, int fd, int protection, int flags)
{
    if (fd < 0)
        return -errno;
    memory->fd = fd;
    if (ftruncate(fd, (off_t)(UNITS * memory->unit)))
        return -errno;
    return taken(memory, mmap(NULL, UNITS * memory->unit, protection, flags, fd, 0));
}

static int map_memfd(struct memory *memory)
{
    return map_descriptor(memory, memfd_create("kdreg-matrix", MFD_CLOEXEC), PROT_READ | PROT_WRITE, MAP_SHARED);
}

static int map_memfd_private(struct memory *memory)
{
    return map_descriptor(memory, memfd_create("kdreg-matrix", MFD_CLOEXEC), PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

/* A file on a disk file system where there is one: /tmp is often in memory. */
static int open_file(void)
{
    static const char *const directories[] = {"/var/tmp", "/tmp", "."};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/kdreg-matrix-XXXXXX", directories[i]);
        int fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
            return fd;
        }
    }
    return -1;
}

static int map_file(struct memory *memory)
{
    return map_descriptor(memory, open_file(), PROT_READ | PROT_WRITE, MAP_SHARED);
}

static int map_file_private(struct memory *memory)
{
    return map_descriptor(memory, open_file(), PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

static int map_file_read_only(struct memory *memory)
{
    memory->writable = false;
    return map_descriptor(memory, open_file(), PROT_READ, MAP_SHARED);
}

static int map_hugetlb(struct memory *memory)
{
    memory->unit = HUGE_UNIT;
    return taken(memory, mmap(NULL, UNITS * memory->unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0));
}

static int map_hugetlb_memfd(struct memory *memory)
{
    memory->unit = HUGE_UNIT;
    return map_descriptor(memory, memfd_create("kdreg-matrix", MFD_CLOEXEC | MFD_HUGETLB | (21u << MAP_HUGE_SHIFT)), PROT_READ | PROT_WRITE, MAP_SHARED);
}

static int map_transparent_huge(struct memory *memory)
{
    memory->unit = HUGE_UNIT;
    char *base = mmap(NULL, (UNITS + 1) * memory->unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    memory->base = (char *)(((uintptr_t)base + memory->unit - 1) & ~(memory->unit - 1));
    return madvise(memory->base, UNITS * memory->unit, MADV_HUGEPAGE) ? -errno : 0;
}

/* Stack that a deep call left behind: part of the stack's mapping, and nothing lives there any more. */
static __attribute__((noinline)) int map_stack(struct memory *memory)
{
    enum { BELOW = 1 << 20, CLEAR = 512 << 10 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < 4 * (rlim_t)BELOW)
        return -ENOMEM;
    volatile char *deep = alloca(BELOW);
    for (size_t i = BELOW; i > 0; i -= memory->page)
        deep[i - 1] = 1;
    uintptr_t top = ((uintptr_t)deep + BELOW - CLEAR) & ~(memory->page - 1);
    memory->base = (char *)(top - UNITS * memory->unit);
    return 0;
}

static _Alignas(65536) char zeroed[2 * UNITS * 65536];

static int map_bss(struct memory *memory)
{
    memory->base = zeroed + 65536;
    return 0;
}

static int map_heap(struct memory *memory)
{
    /* Room below for the libraries' own small allocations: they must not land above the part that brk gives back. */
    mallopt(M_TOP_PAD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    free(malloc(64 << 10));
    char *end = sbrk(0);
    size_t pad = (memory->page - ((uintptr_t)end & (memory->page - 1))) & (memory->page - 1);
    if (sbrk((intptr_t)(pad + UNITS * memory->unit)) == (void *)-1)
        return -errno;
    memory->base = end + pad;
    return 0;
}

static int map_malloc(struct memory *memory)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);   /* a block of its own, given back by free() */
    memory->block = malloc((4 << 20) + UNITS * memory->unit);
    if (!memory->block)
        return -ENOMEM;
    memory->base = (char *)(((uintptr_t)memory->block + (1 << 20)) & ~(memory->page - 1));
    return 0;
}

static int map_sysv(struct memory *memory)
{
    memory->shmid = shmget(IPC_PRIVATE, UNITS * memory->unit, IPC_CREAT | 0600);
    if (memory->shmid < 0)
        return -errno;
    void *base = shmat(memory->shmid, NULL, 0);
    int error = base == (void *)-1 ? -errno : 0;
    shmctl(memory->shmid, IPC_RMID, NULL);   /* goes when the last process lets go of it */
    memory->base = base;
    return error;
}

#ifndef MATRIX_STATIC
static int map_object(struct memory *memory)
{
    memory->object = dlopen(MATRIX_OBJECT, RTLD_NOW | RTLD_LOCAL);
    if (!memory->object)
        return -ENOENT;
    char *pages = dlsym(memory->object, "matrix_object_pages");
    if (!pages)
        return -ENOENT;
    memory->base = pages;
    return 0;
}
#endif

const struct kind kinds[] = {
    {"anonymous", map_anonymous, false},
    {"anonymous shared", map_shared_anonymous, true},
    {"THP", map_transparent_huge, false},
    {"memfd", map_memfd, true},
    {"memfd private", map_memfd_private, false},
    {"file shared", map_file, true},
    {"file private", map_file_private, false},
    {"file read-only", map_file_read_only, true},
    {"hugetlb", map_hugetlb, false},
    {"hugetlb memfd", map_hugetlb_memfd, true},
    {"stack", map_stack, false},
    {"bss", map_bss, false},
    {"brk heap", map_heap, false},
    {"malloc", map_malloc, false},
    {"SysV shm", map_sysv, true},
#ifndef MATRIX_STATIC
    {"dlopen'ed object", map_object, false},
#endif
};
const int kind_count = (int)(sizeof kinds / sizeof *kinds);
_Static_assert(sizeof kinds / sizeof *kinds <= MAX_KINDS, "MAX_KINDS is too small");

void kinds_prepare(void)
{
    huge_pool_borrow(2 * UNITS + HUGE_SPARE);
}

void kinds_release(void)
{
    huge_pool_return();
}
