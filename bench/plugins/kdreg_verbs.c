/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libkdreg's cache of verbs memory regions, on the first device there is. */
#include "plugin.h"

#include <infiniband/verbs.h>
#include <kdreg/verbs.h>

static const char *const variants[] = {"verbs, kernel", "verbs, userfaultfd relaxed", "verbs, userfaultfd strict", NULL};

struct cache {
    struct ibv_context *device;
    struct ibv_pd *domain;
    kdreg_t *monitor;
    kdreg_cache_t *cache;
};

static void end(void *cache)
{
    struct cache *c = cache;

    if (c->cache)
        kdreg_cache_destroy(c->cache);
    if (c->monitor)
        kdreg_close(c->monitor);
    if (c->domain)
        ibv_dealloc_pd(c->domain);
    if (c->device)
        ibv_close_device(c->device);
    free(c);
}

static void *start(const char *variant, const struct bench_setup *setup, char *why, size_t room)
{
    struct kdreg_attr attr = {.size = sizeof attr, .flags = KDREG_OPEN_PRIVATE};
    struct kdreg_backend_info info = {.size = sizeof info};
    struct ibv_device **devices = ibv_get_device_list(NULL);
    struct cache *c = calloc(1, sizeof *c);
    int err = 0;

    if (!c)
        return bench_refuse(why, room, "out of memory");
    if (devices && devices[0])
        c->device = ibv_open_device(devices[0]);
    if (devices)
        ibv_free_device_list(devices);
    if (c->device)
        c->domain = ibv_alloc_pd(c->device);
    if (!c->domain) {
        end(c);
        return bench_refuse(why, room, "no verbs device (see make bench-vm)");
    }
    attr.backend = strstr(variant, "kernel") ? KDREG_BACKEND_KERNEL : KDREG_BACKEND_USERFAULTFD;
    if (strstr(variant, "relaxed"))
        attr.flags |= KDREG_OPEN_RELAXED;
    if (kdreg_probe(attr.backend, &info) == 0 && info.error) {
        end(c);
        return bench_refuse(why, room, "%s", info.reason);
    }
    err = kdreg_open(&attr, &c->monitor);
    if (!err) {
        struct kdreg_verbs_attr cache = {
            .size = sizeof cache,
            .monitor = c->monitor,
            .max_entries = setup->max_entries,
            /* Packed regions would all become one. */
            .flags = KDREG_CACHE_NO_MERGE | (setup->no_reaper ? KDREG_CACHE_NO_REAPER : 0),
        };
        err = kdreg_verbs_cache_create(c->domain, &cache, &c->cache);
    }
    if (err) {
        bench_refuse(why, room, "%s", kdreg_strerror(err));
        end(c);
        return NULL;
    }
    return c;
}

static inline int use_one(void *cache, const struct bench_key *key)
{
    struct cache *c = cache;
    struct ibv_mr *region;
    kdreg_entry_t *entry;
    int err = kdreg_verbs_cache_get(c->cache, key->addr, key->length, IBV_ACCESS_LOCAL_WRITE, &region, &entry);

    return err ? err : kdreg_cache_put(c->cache, entry);
}

BENCH_LOOP(use_one)

static int find(void *cache, const struct bench_key *keys, size_t count)
{
    struct cache *c = cache;

    for (size_t i = 0; i < count; i++) {
        struct ibv_mr *region;
        kdreg_entry_t *entry;
        int err = kdreg_verbs_cache_find(c->cache, keys[i].addr, keys[i].length, IBV_ACCESS_LOCAL_WRITE,
                                         &region, &entry);

        if (!err)
            err = kdreg_cache_put(c->cache, entry);
        if (err)
            return err;
    }
    return 0;
}

static uint64_t registrations(void *cache)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    struct cache *c = cache;

    return kdreg_cache_stats(c->cache, &stats) ? UINT64_MAX : stats.registrations;
}

const struct bench_plugin bench_plugin = {
    .version = BENCH_PLUGIN_VERSION,
    .variants = variants,
    .open = start,
    .close = end,
    .hit = hit,
    .find = find,
    .registrations = registrations,
};
