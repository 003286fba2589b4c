/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A cache keyed by address, as programs have them that cannot see into the
 * allocator: a registration that covers the address is taken to be good. It
 * is a fair specimen otherwise: it finds interior addresses, counts references,
 * evicts the least recently used when it is full and when the device is.
 * Nothing tells it that memory was unmapped, and an address that has been
 * handed out again looks the same as before.
 */
#include "strategy.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRIES (DEVICE_SLOTS / 2)

struct entry {
    uintptr_t base, end;
    void *handle;
    unsigned references;
    uint64_t used; /* when, in lookups */
};

struct naive {
    struct device *device;
    size_t page, bytes, bytes_most;
    struct strategy_stats stats;
    size_t count;
    struct entry *order[ENTRIES]; /* live ones first */
    struct entry entries[ENTRIES];
};

static int naive_open(struct device *device, const struct plan *plan, kdreg_t *monitor, void **state)
{
    struct naive *naive = calloc(1, sizeof(*naive));

    (void)monitor;
    if (!naive)
        return -ENOMEM;
    naive->device = device;
    naive->page = plan->page;
    naive->bytes_most = plan->cache_bytes;
    for (size_t i = 0; i < ENTRIES; i++)
        naive->order[i] = &naive->entries[i];
    *state = naive;
    return 0;
}

static int drop(struct naive *naive, size_t at)
{
    struct entry *entry = naive->order[at];

    naive->order[at] = naive->order[--naive->count];
    naive->order[naive->count] = entry;
    naive->bytes -= entry->end - entry->base;
    return naive->device->ops->dereg(naive->device, entry->handle);
}

/* The least recently used entry that nobody holds: 0, -ENOENT when there is none, or an error. */
static int evict(struct naive *naive)
{
    size_t oldest = naive->count;

    for (size_t i = 0; i < naive->count; i++)
        if (!naive->order[i]->references &&
            (oldest == naive->count || naive->order[i]->used < naive->order[oldest]->used))
            oldest = i;
    if (oldest == naive->count)
        return -ENOENT;
    naive->stats.evictions++;
    return drop(naive, oldest);
}

static int naive_acquire(void *state, char *addr, size_t length, struct hold *hold)
{
    struct naive *naive = state;
    uintptr_t start = (uintptr_t)addr, base = start & ~(naive->page - 1);
    uintptr_t end = (start + length + naive->page - 1) & ~(naive->page - 1);
    struct entry *entry = NULL;
    int ret;

    naive->stats.lookups++;
    for (size_t i = 0; i < naive->count && !entry; i++)
        if (naive->order[i]->base <= base && naive->order[i]->end >= end)
            entry = naive->order[i];
    if (entry) {
        naive->stats.hits++;
    } else {
        while (naive->count == ENTRIES || (naive->count && naive->bytes + (end - base) > naive->bytes_most)) {
            ret = evict(naive);
            if (ret < 0)
                return ret == -ENOENT ? -ENOMEM : ret;
        }
        void *handle;
        while ((ret = naive->device->ops->reg(naive->device, (void *)base, end - base, &handle)) == -ENOMEM) {
            ret = evict(naive);
            if (ret < 0)
                return ret == -ENOENT ? -ENOMEM : ret;
        }
        if (ret < 0)
            return ret;
        entry = naive->order[naive->count++];
        *entry = (struct entry){ .base = base, .end = end, .handle = handle };
        naive->bytes += end - base;
    }
    entry->references++;
    entry->used = naive->stats.lookups;
    hold->handle = entry->handle;
    hold->reference = entry;
    return 0;
}

static int naive_release(void *state, struct hold *hold)
{
    struct entry *entry = hold->reference;

    (void)state;
    entry->references--;
    return 0;
}

static int naive_close(void *state, struct strategy_stats *stats)
{
    struct naive *naive = state;
    int ret = 0;

    while (naive->count && !ret)
        ret = drop(naive, naive->count - 1);
    *stats = naive->stats;
    free(naive);
    return ret;
}

const struct strategy strategy_naive = { "naive cache", naive_open, naive_acquire, naive_release, naive_close };
