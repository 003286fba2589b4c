/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * UCX's registration cache by its installed headers: ucs_rcache, which its
 * transports use, with callbacks that do nothing. "LRU" has a limit on regions;
 * the other has none.
 */
#include "plugin.h"

#include <stdatomic.h>
#include <ucm/api/ucm.h>
#include <ucp/api/ucp_version.h>
#include <ucs/memory/rcache.h>
#include <ucs/type/status.h>

/* From 1.16 on each call says its alignment; before, the cache did. */
#define ALIGNS_EACH (UCP_API_VERSION >= UCP_VERSION(1, 16))

static const char *const variants[] = {"ucs_rcache", "ucs_rcache, LRU", NULL};

struct cache {
    ucs_rcache_t *rcache;
    /* Relaxed throughout: a setting and a count, they order nothing. */
    _Atomic uint64_t delay_ns;
    _Atomic uint64_t registrations;
};

static ucs_status_t reg(void *context, ucs_rcache_t *rcache, void *arg, ucs_rcache_region_t *region,
                        uint16_t flags)
{
    struct cache *c = context;
    uint64_t ns = atomic_load_explicit(&c->delay_ns, memory_order_relaxed);

    (void)rcache, (void)arg, (void)region, (void)flags;
    atomic_fetch_add_explicit(&c->registrations, 1, memory_order_relaxed);
    if (ns)
        bench_sleep(ns);
    return UCS_OK;
}

static void dereg(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region)
{
    (void)context, (void)rcache, (void)region;
}

static void dump(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region, char *buf, size_t max)
{
    (void)context, (void)rcache, (void)region;
    if (max)
        *buf = '\0';
}

static const ucs_rcache_ops_t ops = {.mem_reg = reg, .mem_dereg = dereg, .dump_region = dump};

static void *start(const char *variant, const struct bench_setup *setup, char *why, size_t room)
{
    int lru = !strcmp(variant, "ucs_rcache, LRU");
    struct cache *c = calloc(1, sizeof *c);
    ucs_rcache_params_t params = {
        .region_struct_size = sizeof(ucs_rcache_region_t),
#if !ALIGNS_EACH
        .alignment = UCS_RCACHE_MIN_ALIGNMENT,
        .max_alignment = 4096,
#endif
        .ucm_events = UCM_EVENT_VM_UNMAPPED,
        .ucm_event_priority = 1000,
        .ops = &ops,
        .context = c,
        .flags = UCS_RCACHE_FLAG_NO_PFN_CHECK,
        .max_regions = lru ? setup->max_entries : (unsigned long)-1,
        .max_size = (size_t)-1,
        .max_unreleased = (size_t)-1,
    };
    ucs_status_t status;

    if (!c)
        return bench_refuse(why, room, "out of memory");
    status = ucs_rcache_create(&params, "bench", NULL, &c->rcache);
    if (status != UCS_OK) {
        free(c);
        return bench_refuse(why, room, "ucs_rcache_create: %s", ucs_status_string(status));
    }
    return c;
}

static void end(void *cache)
{
    struct cache *c = cache;

    ucs_rcache_destroy(c->rcache);
    free(c);
}

static inline int use_one(void *cache, const struct bench_key *key)
{
    struct cache *c = cache;
    ucs_rcache_region_t *region;
#if ALIGNS_EACH
    ucs_status_t status = ucs_rcache_get(c->rcache, key->addr, key->length, UCS_RCACHE_MIN_ALIGNMENT, PROT_READ,
                                         NULL, &region);
#else
    ucs_status_t status = ucs_rcache_get(c->rcache, key->addr, key->length, PROT_READ, NULL, &region);
#endif

    if (status != UCS_OK)
        return -EIO;
    ucs_rcache_region_put(c->rcache, region);
    return 0;
}

BENCH_LOOP(use_one)

/* What UCX's own hook of munmap tells its caches. */
static int invalidate(void *cache, void *addr, size_t length)
{
    (void)cache;
    ucm_vm_munmap(addr, length);
    return 0;
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
    .invalidate = invalidate,
    .delay = delay,
    .registrations = registrations,
};
