/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "fake_there.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

const char *fake_odp_kind(void)
{
    const char *kind = getenv("FAKE_ODP");
    return kind && *kind ? kind : NULL;
}

bool fake_may_pin(void)
{
    struct rlimit pinned;
    return getrlimit(RLIMIT_MEMLOCK, &pinned) || pinned.rlim_cur > 0;
}

size_t fake_pinned(size_t length, unsigned access)
{
    return access & IBV_ACCESS_ON_DEMAND ? 0 : length;
}

bool fake_is_there(const void *addr, size_t length, unsigned access)
{
    if (!fake_odp_kind() || access & IBV_ACCESS_ON_DEMAND)
        return true;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)addr + length;
    for (uintptr_t at = (uintptr_t)addr & ~(page - 1); at < end; at += page) {
        unsigned char there;
        if (mincore((void *)at, page, &there) && errno == ENOMEM)
            return false;
    }
    return true;
}
