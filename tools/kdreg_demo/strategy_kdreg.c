/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libkdreg: for io_uring its adaptor, which hands out buffer indices and knows
 * how to register; for the other devices its cache, with callbacks.
 */
#include "slots.h"
#include "strategy.h"

#include <errno.h>
#include <kdreg/uring.h>
#include <stdlib.h>

struct cached {
    struct device *device;
    kdreg_uring_t *buffers; /* one of these two */
    kdreg_cache_t *cache;
    uint64_t before; /* the device's registrations */
};

/* Called by kdreg_cache_get, so on the transferring thread. */
static int reg(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;

    (void)access; /* this device's registrations serve both directions */
    return device->ops->reg(device, addr, length, handle);
}

/* Called on whichever thread releases: often the library's own. */
static int dereg(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;

    (void)addr;
    (void)length;
    return device->ops->dereg(device, handle);
}

static int buffers_of_ring(struct cached *cached, const struct plan *plan, kdreg_t *monitor)
{
    struct ring_window window;

    cached->device->ops->window(cached->device, &window);
    struct kdreg_uring_attr attr = {
        .size = sizeof(attr),
        .slots = window.count,
        .first = window.first,
        .max_bytes = plan->cache_bytes,
        .max_unreleased = plan->room / 8,
        .max_merge = plan->merge_bytes,
        .tag = window.tag,
        .flags = KDREG_URING_WINDOW,
    };
    return kdreg_uring_create(monitor, window.ring_fd, &attr, &cached->buffers);
}

static int cached_stats(struct cached *cached, struct kdreg_cache_stats *stats)
{
    *stats = (struct kdreg_cache_stats){ .size = sizeof(*stats) };
    if (!cached->buffers)
        return kdreg_cache_stats(cached->cache, stats);
    int ret = kdreg_uring_stats(cached->buffers, stats);
    cached->device->registrations = cached->before + stats->registrations;
    return ret;
}

/* The index for a range; when too much is pinned, once more after what is on its way out has gone. */
static int index_of(struct cached *cached, char *addr, size_t length)
{
    struct kdreg_cache_stats stats;
    int index = kdreg_uring_get(cached->buffers, addr, length);

    if (index == -ENOMEM && !cached_stats(cached, &stats) &&
        cached->device->ops->await_unpinning(cached->device, stats.registrations - stats.deregistrations))
        index = kdreg_uring_get(cached->buffers, addr, length);
    return index;
}

static int cached_open(struct device *device, const struct plan *plan, kdreg_t *monitor, void **state)
{
    struct cached *cached = calloc(1, sizeof(*cached));
    struct kdreg_cache_attr attr = {
        .size = sizeof(attr),
        .reg = reg,
        .dereg = dereg,
        .ctx = device,
        .max_entries = DEVICE_SLOTS / 2,
        .max_bytes = plan->cache_bytes,
        .max_unreleased = plan->room / 8,
        .max_merge = plan->merge_bytes,
    };
    int ret;

    if (!cached)
        return -ENOMEM;
    cached->device = device;
    cached->before = device->registrations;
    ret = device->ops->window ? buffers_of_ring(cached, plan, monitor)
                              : kdreg_cache_create(monitor, &attr, &cached->cache);
    if (ret < 0) {
        free(cached);
        return ret;
    }
    *state = cached;
    return 0;
}

static int cached_acquire(void *state, char *addr, size_t length, struct hold *hold)
{
    struct cached *cached = state;
    kdreg_entry_t *entry;

    if (cached->buffers) {
        int index = index_of(cached, addr, length);
        if (index < 0)
            return index;
        hold->handle = slot_handle((unsigned)index);
        return 0;
    }
    /* Both directions: asking for less would register again when the other is wanted. */
    int ret = kdreg_cache_get(cached->cache, addr, length, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry);

    if (ret < 0)
        return ret;
    hold->handle = kdreg_entry_handle(entry);
    hold->reference = entry;
    return 0;
}

static int cached_release(void *state, struct hold *hold)
{
    struct cached *cached = state;

    if (cached->buffers)
        return kdreg_uring_put(cached->buffers, (int)handle_slot(hold->handle));
    return kdreg_cache_put(cached->cache, hold->reference);
}

static int cached_close(void *state, struct strategy_stats *stats)
{
    struct cached *cached = state;
    struct kdreg_cache_stats counted;
    int ret = cached_stats(cached, &counted);

    if (!ret)
        ret = cached->buffers ? kdreg_uring_destroy(cached->buffers) : kdreg_cache_destroy(cached->cache);
    *stats = (struct strategy_stats){
        .lookups = counted.hits + counted.misses,
        .hits = counted.hits,
        .invalidations = counted.invalidations,
        .evictions = counted.evictions,
    };
    free(cached);
    return ret;
}

const struct strategy strategy_kdreg = { "libkdreg", cached_open, cached_acquire, cached_release, cached_close };
