/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libfabric by its public interface: fi_mr_reg and fi_close of a buffer, on the
 * verbs provider, the one that always has its registration cache on.
 */
#include "plugin.h"

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>
#include <unistd.h>

static const char *const variants[] = {"fi_mr_reg, verbs", NULL};

struct cache {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
};

static void end(void *cache)
{
    struct cache *c = cache;

    if (c->domain)
        fi_close(&c->domain->fid);
    if (c->fabric)
        fi_close(&c->fabric->fid);
    if (c->info)
        fi_freeinfo(c->info);
    free(c);
}

static const char *library(void)
{
    static char text[64];
    uint32_t version = fi_version();

    snprintf(text, sizeof text, "libfabric %u.%u", FI_MAJOR(version), FI_MINOR(version));
    return text;
}

static void *start(const char *variant, const struct bench_setup *setup, char *why, size_t room)
{
    struct fi_info *hints = fi_allocinfo();
    struct cache *c = calloc(1, sizeof *c);
    char host[256] = "";
    int err;

    (void)variant, (void)setup;
    if (!hints || !c)
        return bench_refuse(why, room, "out of memory");
    /* Read by libfabric once in a process: room for the largest set, so that
     * what is measured are hits. */
    setenv("FI_MR_CACHE_MAX_COUNT", "4000000", 0);
    setenv("FI_MR_CACHE_MAX_SIZE", "-1", 0);
    hints->fabric_attr->prov_name = strdup("verbs");
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->ep_attr->type = FI_EP_MSG;
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->domain_attr->threading = FI_THREAD_SAFE;
    err = fi_getinfo(FI_VERSION(1, 13), NULL, NULL, 0, hints, &c->info);
    if (err == -FI_ENODATA && gethostname(host, sizeof host - 1) == 0)
        err = fi_getinfo(FI_VERSION(1, 13), host, "0", FI_SOURCE, hints, &c->info);
    fi_freeinfo(hints);
    if (!err)
        err = fi_fabric(c->info->fabric_attr, &c->fabric, NULL);
    if (!err)
        err = fi_domain(c->fabric, c->info, &c->domain, NULL);
    if (err) {
        bench_refuse(why, room, "no verbs domain (a device is needed; see make bench-vm): %s", fi_strerror(-err));
        end(c);
        return NULL;
    }
    return c;
}

static inline int use_one(void *cache, const struct bench_key *key)
{
    struct cache *c = cache;
    struct fid_mr *mr;
    int err = fi_mr_reg(c->domain, key->addr, key->length, FI_SEND, 0, 0, 0, &mr, NULL);

    return err ? err : fi_close(&mr->fid);
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
