/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A communication library in miniature: it is loaded at run time, and keeps a cache of its own on the monitor that all share.
 * Built twice, under two names. */
#include "tenant.h"

static kdreg_t *monitor;
static kdreg_cache_t *cache;
static int registered, released;

static int tenant_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)length;
    (void)access;
    registered++;
    *handle = addr;
    return 0;
}

static int tenant_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)length;
    released++;
    return handle == addr ? 0 : -1;
}

static int tenant_start(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = tenant_register, .dereg = tenant_deregister, .flags = KDREG_CACHE_NO_REAPER};
    int error = kdreg_open(NULL, &monitor);
    return error ? error : kdreg_cache_create(monitor, &attr, &cache);
}

static int tenant_use(void *addr, size_t length)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

static int tenant_knows(void *addr, size_t length)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_find(cache, addr, length, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

static int tenant_stop(void)
{
    int error = kdreg_cache_destroy(cache);
    return error ? error : kdreg_close(monitor);
}

static int tenant_balance(void)
{
    return registered - released;
}

__attribute__((visibility("default"))) const struct tenant tenant_interface = {tenant_start, tenant_use, tenant_knows, tenant_stop, tenant_balance};
