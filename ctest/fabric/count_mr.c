/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Counts the memory registrations that a process really makes, whatever caches there are above: by LD_PRELOAD, in
 * front of libibverbs. Adds a line, their number, to the file that COUNT_MR names when the process ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long registrations;
/* libibverbs calls one of these from the other: that is one registration. */
static _Thread_local int depth;

static void *real(const char *name, const char *version)
{
    void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *function = library ? dlvsym(library, name, version) : NULL;
    if (!function) {
        fprintf(stderr, "count_mr: libibverbs has no %s@%s\n", name, version);
        abort();
    }
    return function;
}

void *ibv_reg_mr(void *pd, void *addr, size_t length, int access)
{
    void *(*function)(void *, void *, size_t, int) = real("ibv_reg_mr", "IBVERBS_1.1");
    atomic_fetch_add(&registrations, !depth++);
    void *mr = function(pd, addr, length, access);
    depth--;
    return mr;
}

void *ibv_reg_mr_iova2(void *pd, void *addr, size_t length, uint64_t iova, unsigned access)
{
    void *(*function)(void *, void *, size_t, uint64_t, unsigned) = real("ibv_reg_mr_iova2", "IBVERBS_1.8");
    atomic_fetch_add(&registrations, !depth++);
    void *mr = function(pd, addr, length, iova, access);
    depth--;
    return mr;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("COUNT_MR");
    long count = atomic_load(&registrations);
    if (!path || !count)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || dprintf(fd, "%ld\n", count) < 0)
        perror(path);
}
