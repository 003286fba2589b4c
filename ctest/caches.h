/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tests do with a cache again and again. */
#ifndef CACHES_H
#define CACHES_H

#include "check.h"

static inline kdreg_cache_t *new_cache(kdreg_t *monitor, const struct kdreg_cache_attr *attr)
{
    kdreg_cache_t *cache = NULL;
    int error = kdreg_cache_create(monitor, attr, &cache);
    REQUIRE(error == 0, "kdreg_cache_create: %s", kdreg_strerror(error));
    return cache;
}

static inline struct kdreg_cache_stats stats_of(kdreg_cache_t *cache)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
    return stats;
}

/* Registers, or finds, and gives back at once: what kdreg_cache_get says. */
static inline int get_put(kdreg_cache_t *cache, char *addr, size_t length)
{
    kdreg_entry_t *entry = NULL;
    int error = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

#endif
