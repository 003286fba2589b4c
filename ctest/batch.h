/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A device for lists of ranges: it counts, refuses, loses memory or its thread, when asked to. */
#ifndef BATCH_H
#define BATCH_H

#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"

static size_t page;

struct device {
    int calls, live, fail_at, error;
    size_t unmap_at;
    char *victim;
    bool end_thread;
};

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)access;
    int call = __atomic_add_fetch(&device->calls, 1, __ATOMIC_RELAXED);
    if (call == device->fail_at) {
        if (device->end_thread)
            pthread_exit(device);
        if (device->victim)
            REQUIRE(mmap(device->victim, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == device->victim, "mmap");
        if (device->error)
            return device->error;
    }
    __atomic_add_fetch(&device->live, 1, __ATOMIC_RELAXED);
    *handle = (char *)addr + length;
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    CHECK(handle == (char *)addr + length, "not what was registered");
    __atomic_sub_fetch(&device->live, 1, __ATOMIC_RELAXED);
    return 0;
}

static kdreg_cache_t *create(struct device *device, struct kdreg_cache_attr attr)
{
    attr.size = sizeof attr;
    attr.reg = device_register;
    attr.dereg = device_deregister;
    attr.ctx = device;
    return new_cache(NULL, &attr);
}

#endif
