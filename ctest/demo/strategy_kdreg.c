/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libkdreg's cache: the device supplies how to register and deregister, the library does the rest. */
#include "strategy.h"

#include <errno.h>
#include <stdlib.h>

struct cached {
    struct device *device;
    kdreg_cache_t *cache;
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
    ret = kdreg_cache_create(monitor, &attr, &cached->cache);
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
    return kdreg_cache_put(cached->cache, hold->reference);
}

static int cached_close(void *state, struct strategy_stats *stats)
{
    struct cached *cached = state;
    struct kdreg_cache_stats counted = { .size = sizeof(counted) };
    int ret = kdreg_cache_stats(cached->cache, &counted);

    if (!ret)
        ret = kdreg_cache_destroy(cached->cache);
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
