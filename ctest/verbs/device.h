/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The first RDMA device, opened, with a protection domain. */
#ifndef DEVICE_H
#define DEVICE_H

#include "../check.h"

#include <infiniband/verbs.h>
#include <sys/mman.h>

__attribute__((unused)) static struct ibv_context *open_device(void)
{
    int count = 0;
    struct ibv_device **list = ibv_get_device_list(&count);
    if (!list || count < 1) {
        printf("skipped: there is no RDMA device here\n");
        exit(CHECK_SKIPPED);
    }
    struct ibv_context *context = ibv_open_device(list[0]);
    REQUIRE(context, "ibv_open_device(%s): %s", ibv_get_device_name(list[0]), strerror(errno));
    ibv_free_device_list(list);
    return context;
}

__attribute__((unused)) static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
    struct ibv_pd *pd = ibv_alloc_pd(context);
    REQUIRE(pd, "ibv_alloc_pd: %s", strerror(errno));
    return pd;
}

/* Fresh memory, at an address of choice (replacing what is there) or any. */
__attribute__((unused)) static void *fresh(void *at, size_t length)
{
    int fixed = at ? MAP_FIXED : 0;
    void *memory = mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    return memory;
}

#endif
