/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A device whose driver programs can post by without being seen (fake_direct.c), under libkdreg-verbs.so: what the device may write stays
 * only when work was seen that named it, and, with -DLINKED, when nothing was linked with the driver. */
#include "device.h"
#include "fake.h"

#include <dlfcn.h>

#define SIZE ((size_t)16 * 1024)

int direct_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);

static struct ibv_pd *pd;
static struct ibv_cq *cq;
static struct ibv_qp *qp;
static char *buffer;

static struct ibv_mr *reg(int access)
{
    struct ibv_mr *mr = ibv_reg_mr(pd, buffer, SIZE, access);
    REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
    return mr;
}

typedef int (*post_recv)(struct ibv_qp *, struct ibv_recv_wr *, struct ibv_recv_wr **);

static post_recv unseen(void)
{
#ifdef LINKED
    return direct_post_recv;
#else
    void *driver = dlopen("libfakedirect.so.1", RTLD_NOW | RTLD_NOLOAD);
    REQUIRE(driver, "dlopen: %s", dlerror());
    return (post_recv)dlsym(driver, "direct_post_recv");
#endif
}

static void receive(struct ibv_mr *mr, post_recv how, bool wait)
{
    struct ibv_sge sge = {.addr = (uintptr_t)buffer, .length = SIZE, .lkey = mr->lkey};
    struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;
    CHECK_IS(how(qp, &wr, &bad), 0);
    struct ibv_wc wc;
    if (wait) {
        CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_SUCCESS);
        CHECK_IS(ibv_poll_cq(cq, 1, &wc), 1);
    }
}

static int seen(struct ibv_qp *to, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    return ibv_post_recv(to, wr, bad);
}

int main(void)
{
    check_watchdog(60);
#ifdef LINKED
    bool stays = false;
#else
    bool stays = true;
#endif
    struct ibv_context *context = open_device();
    pd = alloc_pd(context);
    cq = ibv_create_cq(context, 64, NULL, NULL, 0);
    struct ibv_qp_init_attr attr = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC};
    qp = ibv_create_qp(pd, &attr);
    buffer = fresh(NULL, SIZE);
    check_says("what is named by work that is seen");
    struct ibv_mr *mr = reg(IBV_ACCESS_LOCAL_WRITE);
    uint32_t key = mr->lkey;
    receive(mr, seen, true);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(fake_reach(key, buffer, SIZE, IBV_ACCESS_LOCAL_WRITE), stays);
    check_says("what is not named: where it was posted nobody knows");
    mr = reg(IBV_ACCESS_LOCAL_WRITE);
    key = mr->lkey;
    receive(mr, unseen(), false);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(!fake_reach(key, buffer, SIZE, IBV_ACCESS_LOCAL_WRITE), "it does not stay");
    CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_LOC_PROT_ERR);
    check_says("what the device only reads");
    mr = reg(0);
    key = mr->lkey;
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(fake_reach(key, buffer, SIZE, 0), 1);
    CHECK_IS(ibv_destroy_qp(qp), 0);
    CHECK_IS(ibv_destroy_cq(cq), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    CHECK_IS(fake_live(), 0);
    return check_result("direct");
}
