/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * UCX by its public interface: ucp_mem_map and ucp_mem_unmap of a buffer. Where
 * no device needs registrations, UCX has nothing to cache: the registration
 * cache is then looked at and missed, and a handle is allocated each time.
 */
#include "plugin.h"

#include <ucp/api/ucp.h>

static const char *const variants[] = {"ucp_mem_map", "ucp_mem_map, no cache", NULL};

static const char *library(void)
{
    static char text[64];

    snprintf(text, sizeof text, "UCX %s", ucp_get_version_string());
    return text;
}

static void *start(const char *variant, const struct bench_setup *setup, char *why, size_t room)
{
    ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED,
        .features = UCP_FEATURE_RMA,
        .mt_workers_shared = 1,
    };
    ucp_context_h context;
    ucp_config_t *config;
    ucs_status_t status = ucp_config_read(NULL, NULL, &config);

    (void)setup;
    if (status == UCS_OK) {
        if (!strcmp(variant, "ucp_mem_map, no cache"))
            status = ucp_config_modify(config, "RCACHE_ENABLE", "n");
        if (status == UCS_OK)
            status = ucp_init(&params, config, &context);
        ucp_config_release(config);
    }
    if (status != UCS_OK)
        return bench_refuse(why, room, "ucp_init: %s", ucs_status_string(status));
    return context;
}

static void end(void *cache)
{
    ucp_cleanup(cache);
}

static inline int use_one(void *cache, const struct bench_key *key)
{
    ucp_mem_map_params_t params = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
        .address = key->addr,
        .length = key->length,
    };
    ucp_mem_h memory;

    if (ucp_mem_map(cache, &params, &memory) != UCS_OK || ucp_mem_unmap(cache, memory) != UCS_OK)
        return -EIO;
    return 0;
}

BENCH_LOOP(use_one)

const struct bench_plugin bench_plugin = {
    .version = BENCH_PLUGIN_VERSION,
    .variants = variants,
    .open = start,
    .close = end,
    .hit = hit,
    .library = library,
};
