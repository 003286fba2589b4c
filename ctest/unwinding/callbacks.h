/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A device that counts what is pinned, and callbacks that leave in every way there is. */
#ifndef KDREG_UNWINDING_CALLBACKS_H
#define KDREG_UNWINDING_CALLBACKS_H

#include <pthread.h>

#include "../caches.h"
#include "thrown.h"

enum way { BY_THROWING, BY_EXIT, BY_CANCELLING, BY_BEING_CANCELLED, WAYS };
enum callback { NEITHER, REGISTER, DEREGISTER, EVENT, DUMP };

struct device {
    atomic_int pinned, calls;
    int capacity;              /* then -ENOMEM; 0: any number */
    _Atomic(enum callback) armed;   /* the next call of this one leaves, and is the last that does */
    _Atomic(enum callback) always;  /* every call of this one leaves */
    enum way way;
    kdreg_cache_t *other;      /* register asks this cache first */
};

static const char *const ways[WAYS] = {"throws", "ends its thread", "cancels its thread", "is cancelled"};

static atomic_bool waiting; /* BY_BEING_CANCELLED: somebody else is to cancel the thread now */
static size_t page;

/* Leaves. */
__attribute__((noreturn)) static void leave(enum way way)
{
    switch (way) {
    case BY_THROWING:
        throw_it();
    case BY_EXIT:
        pthread_exit((void *)7);
    case BY_CANCELLING:
        pthread_cancel(pthread_self());
        pthread_testcancel();
        break;
    default:
        atomic_store(&waiting, true);
        for (;;)
            check_sleep_ms(1);
    }
    abort();
}

/* What pthread_join() says of a thread that left like that. */
__attribute__((unused)) static void *left_with(enum way way)
{
    return way == BY_EXIT ? (void *)7 : way == BY_THROWING ? NULL : PTHREAD_CANCELED;
}

static void leave_perhaps(struct device *device, enum callback callback)
{
    enum callback armed = callback;
    if (atomic_load(&device->always) == callback || atomic_compare_exchange_strong(&device->armed, &armed, NEITHER))
        leave(device->way);
}

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)access;
    atomic_fetch_add(&device->calls, 1);
    if (device->other)
        get_put(device->other, addr, length);
    leave_perhaps(device, REGISTER);
    if (device->capacity && atomic_load(&device->pinned) >= device->capacity)
        return -ENOMEM;
    atomic_fetch_add(&device->pinned, 1);
    *handle = addr;
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    (void)length;
    CHECK(handle == addr, "another registration's handle");
    atomic_fetch_add(&device->calls, 1);
    atomic_fetch_sub(&device->pinned, 1);
    leave_perhaps(device, DEREGISTER);
    return 0;
}

__attribute__((unused)) static kdreg_cache_t *device_cache(kdreg_t *monitor, struct device *device, uint32_t flags, size_t max_entries, size_t max_bytes)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister, .ctx = device,
                                    .flags = flags, .max_entries = max_entries, .max_bytes = max_bytes};
    return new_cache(monitor, &attr);
}

/* The cache does all that a cache does, and what is counted agrees with what is pinned. Leaves it empty. */
__attribute__((unused)) static void device_check(kdreg_cache_t *cache, struct device *device, const char *what)
{
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.in_use == 0, "%s: %llu entries are in use", what, (unsigned long long)stats.in_use);
    CHECK(kdreg_cache_reap(cache) >= 0, "%s: reap fails", what);
    stats = stats_of(cache);
    CHECK(stats.unreleased_bytes == 0, "%s: %llu bytes are not released", what, (unsigned long long)stats.unreleased_bytes);
    CHECK(stats.registrations - stats.deregistrations == stats.entries, "%s: %llu registered, %llu deregistered, %llu cached", what,
          (unsigned long long)stats.registrations, (unsigned long long)stats.deregistrations, (unsigned long long)stats.entries);
    CHECK(device->pinned == (int)stats.entries, "%s: %d pinned, %llu cached", what, device->pinned, (unsigned long long)stats.entries);
    char *memory = check_space(page);
    for (int i = 0; i < 3; i++)
        CHECK(get_put(cache, memory, page) == 0, "%s: the cache does not go on", what);
    kdreg_entry_t *entry;
    CHECK(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0, "%s: nothing is found", what);
    CHECK(kdreg_cache_flush(cache) >= 1, "%s: flush fails", what);
    CHECK(device->pinned == 0, "%s: %d are still pinned", what, device->pinned);
    munmap(memory, page);
}

#endif
