/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libkdreg through its C ABI, on each backend. */
#include "plugin.h"

#include <kdreg.h>
#include <stdatomic.h>

static const char *const variants[] = {"kernel", "userfaultfd relaxed", "userfaultfd strict", "none", NULL};

struct cache {
    kdreg_t *monitor;
    kdreg_cache_t *cache;
    struct kdreg_region *regions;
    size_t watched;
    /* Relaxed throughout: a setting and a count, they order nothing. */
    _Atomic uint64_t delay_ns;
    _Atomic uint64_t registrations;
};

static int reg(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct cache *c = context;
    uint64_t ns = atomic_load_explicit(&c->delay_ns, memory_order_relaxed);

    (void)length, (void)access;
    *handle = addr;
    atomic_fetch_add_explicit(&c->registrations, 1, memory_order_relaxed);
    if (ns)
        bench_sleep(ns);
    return 0;
}

static int dereg(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    return 0;
}

static void end(void *cache)
{
    struct cache *c = cache;

    if (c->cache)
        kdreg_cache_destroy(c->cache);
    if (c->monitor)
        kdreg_close(c->monitor);
    free(c->regions);
    free(c);
}

static void *start(const char *variant, const struct bench_setup *setup, char *why, size_t room)
{
    struct kdreg_backend_info info = {.size = sizeof info};
    struct kdreg_attr attr = {.size = sizeof attr};
    struct cache *c = calloc(1, sizeof *c);
    int err;

    if (!c)
        return bench_refuse(why, room, "out of memory");
    if (!strcmp(variant, "kernel"))
        attr.backend = KDREG_BACKEND_KERNEL;
    else if (!strcmp(variant, "none"))
        attr.backend = KDREG_BACKEND_NONE;
    else
        attr.backend = KDREG_BACKEND_USERFAULTFD;
    if (!strcmp(variant, "userfaultfd relaxed"))
        attr.flags |= KDREG_OPEN_RELAXED;
    /* Subjects measured beside each other share no table. */
    attr.flags |= KDREG_OPEN_PRIVATE;
    /* Asked first, since kdreg_open() would log what it cannot open. */
    if (kdreg_probe(attr.backend, &info) == 0 && info.error) {
        bench_refuse(why, room, "%s", info.reason);
        end(c);
        return NULL;
    }
    err = kdreg_open(&attr, &c->monitor);
    if (err) {
        bench_refuse(why, room, "kdreg_open: %s", kdreg_strerror(err));
        end(c);
        return NULL;
    }
    struct kdreg_cache_attr cache = {
        .size = sizeof cache,
        .reg = reg,
        .dereg = dereg,
        .ctx = c,
        .max_entries = setup->max_entries,
        /* Packed regions would all become one. */
        .flags = KDREG_CACHE_NO_MERGE | (setup->no_reaper ? KDREG_CACHE_NO_REAPER : 0),
    };
    err = kdreg_cache_create(c->monitor, &cache, &c->cache);
    if (err) {
        bench_refuse(why, room, "kdreg_cache_create: %s", kdreg_strerror(err));
        end(c);
        return NULL;
    }
    return c;
}

static inline int use_one(void *cache, const struct bench_key *key)
{
    struct cache *c = cache;
    kdreg_entry_t *entry;
    int err = kdreg_cache_get(c->cache, key->addr, key->length, KDREG_ACCESS_READ, &entry);

    return err ? err : kdreg_cache_put(c->cache, entry);
}

BENCH_LOOP(use_one)

static int find(void *cache, const struct bench_key *keys, size_t count)
{
    struct cache *c = cache;

    for (size_t i = 0; i < count; i++) {
        kdreg_entry_t *entry;
        int err = kdreg_cache_find(c->cache, keys[i].addr, keys[i].length, KDREG_ACCESS_READ, &entry);

        if (!err)
            err = kdreg_cache_put(c->cache, entry);
        if (err)
            return err;
    }
    return 0;
}

static int invalidate(void *cache, void *addr, size_t length)
{
    struct cache *c = cache;

    return kdreg_cache_invalidate(c->cache, addr, length);
}

static int watch(void *cache, const struct bench_key *keys, size_t count)
{
    struct cache *c = cache;

    for (size_t i = 0; i < c->watched; i++)
        kdreg_unmonitor(c->monitor, &c->regions[i]);
    free(c->regions);
    c->watched = 0;
    c->regions = calloc(count, sizeof *c->regions);
    if (!c->regions)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int err = kdreg_monitor(c->monitor, keys[i].addr, keys[i].length, i, &c->regions[i]);

        if (err)
            return err;
        c->watched++;
    }
    return 0;
}

static size_t valid(void *cache, size_t count, size_t times)
{
    struct cache *c = cache;
    size_t yes = 0;

    while (times) {
        size_t now = times < count ? times : count;

        for (size_t i = 0; i < now; i++)
            yes += kdreg_valid(&c->regions[i]);
        times -= now;
    }
    return yes;
}

static void delay(void *cache, uint64_t ns)
{
    struct cache *c = cache;

    atomic_store_explicit(&c->delay_ns, ns, memory_order_relaxed);
}

static uint64_t registrations(void *cache)
{
    struct cache *c = cache;

    return atomic_load_explicit(&c->registrations, memory_order_relaxed);
}

const struct bench_plugin bench_plugin = {
    .version = BENCH_PLUGIN_VERSION,
    .variants = variants,
    .open = start,
    .close = end,
    .hit = hit,
    .find = find,
    .invalidate = invalidate,
    .watch = watch,
    .valid = valid,
    .delay = delay,
    .registrations = registrations,
};
