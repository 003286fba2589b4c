/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The pool is a number that everybody sets: who adds reads it first, with a lock on its file for all who do as this one does. */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static long borrowed;

static long size(int pool)
{
    char text[32];
    ssize_t length = pread(pool, text, sizeof text - 1, 0);
    if (length <= 0)
        return -1;
    text[length] = 0;
    return strtol(text, NULL, 10);
}

/* By how many pages the pool has grown. */
static long resize(long by)
{
    int pool = open("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", O_RDWR | O_CLOEXEC);
    if (pool < 0)
        return 0;
    long grown = 0;
    if (!flock(pool, LOCK_EX)) {
        char text[32];
        long before = size(pool), length = snprintf(text, sizeof text, "%ld", before + by > 0 ? before + by : 0);
        if (before >= 0 && pwrite(pool, text, (size_t)length, 0) == length)
            grown = size(pool) - before;
    }
    close(pool);
    return grown;
}

void huge_pool_borrow(long pages)
{
    borrowed += resize(pages);
}

void huge_pool_return(void)
{
    if (borrowed > 0)
        resize(-borrowed);
    borrowed = 0;
}
