/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program that is not linked with libibverbs, but opens it and fetches its functions, as some communication libraries do. Under the
 * preload it gets libibverbs's own structures, for it gives them back to libibverbs's own functions. */
#include "../check.h"

#include <dlfcn.h>
#include <infiniband/verbs.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

static void *handle;

static void *function(const char *name, const char *version)
{
    void *found = dlvsym(handle, name, version);
    REQUIRE(found, "%s@%s: %s", name, version, dlerror());
    return found;
}

int main(void)
{
    check_watchdog(240);
    handle = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
    REQUIRE(handle, "dlopen: %s", dlerror());
    struct ibv_device **(*get_device_list)(int *) = function("ibv_get_device_list", "IBVERBS_1.1");
    struct ibv_context *(*open_device)(struct ibv_device *) = function("ibv_open_device", "IBVERBS_1.1");
    struct ibv_pd *(*alloc_pd)(struct ibv_context *) = function("ibv_alloc_pd", "IBVERBS_1.1");
    struct ibv_mr *(*reg_mr)(struct ibv_pd *, void *, size_t, int) = function("ibv_reg_mr", "IBVERBS_1.1");
    struct ibv_mr *(*reg_mr_iova2)(struct ibv_pd *, void *, size_t, uint64_t, unsigned) = function("ibv_reg_mr_iova2", "IBVERBS_1.8");
    int (*dereg_mr)(struct ibv_mr *) = function("ibv_dereg_mr", "IBVERBS_1.1");
    struct ibv_device **list = get_device_list(NULL);
    if (!list || !list[0]) {
        printf("skipped: there is no RDMA device here\n");
        return CHECK_SKIPPED;
    }
    struct ibv_context *context = open_device(list[0]);
    REQUIRE(context, "ibv_open_device: %s", strerror(errno));
    struct ibv_pd *pd = alloc_pd(context);
    REQUIRE(pd, "ibv_alloc_pd: %s", strerror(errno));
    static char buffer[65536];
    for (int i = 0; i < 10; i++) {
        struct ibv_mr *mr = reg_mr(pd, buffer, sizeof buffer, IBV_ACCESS_LOCAL_WRITE);
        REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
        CHECK_IS(dereg_mr(mr), 0);
        mr = reg_mr_iova2(pd, buffer, sizeof buffer, (uintptr_t)buffer, IBV_ACCESS_LOCAL_WRITE);
        REQUIRE(mr, "ibv_reg_mr_iova2: %s", strerror(errno));
        CHECK_IS(dereg_mr(mr), 0);
    }
    /* The stand-in's counts, fetched likewise. */
    unsigned (*live)(void) = dlsym(handle, "fake_live");
    if (live)
        CHECK_IS(live(), 0);
    return check_result("fetched");
}
