/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Queues of the stand-in, and work that is posted there for one buffer, of which the test is the card. */
#ifndef POSTING_H
#define POSTING_H

#include "device.h"
#include "fake.h"

#define SIZE ((size_t)16 * 1024)
enum { LOCAL = IBV_ACCESS_LOCAL_WRITE, REMOTE = LOCAL | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ };

static struct ibv_context *context;
static struct ibv_pd *pd;
static struct ibv_cq *cq;
static struct ibv_srq *srq;
static char *buffer;

static struct ibv_mr *reg(int access)
{
    struct ibv_mr *mr = ibv_reg_mr(pd, buffer, SIZE, access);
    REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
    return mr;
}

static struct ibv_qp *make_qp(bool with_srq, bool all)
{
    struct ibv_qp_init_attr attr = {
        .send_cq = cq, .recv_cq = cq, .srq = with_srq ? srq : NULL, .qp_type = IBV_QPT_RC, .sq_sig_all = all,
        .cap = {.max_send_wr = 16, .max_recv_wr = 16, .max_send_sge = 1, .max_recv_sge = 1},
    };
    struct ibv_qp *qp = ibv_create_qp(pd, &attr);
    REQUIRE(qp, "ibv_create_qp: %s", strerror(errno));
    return qp;
}

static int post_receive(struct ibv_qp *qp, struct ibv_mr *mr)
{
    struct ibv_sge sge = {.addr = (uintptr_t)buffer, .length = SIZE, .lkey = mr->lkey};
    struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;
    return qp->srq ? ibv_post_srq_recv(qp->srq, &wr, &bad) : ibv_post_recv(qp, &wr, &bad);
}

static void post_read(struct ibv_qp *qp, struct ibv_mr *mr, bool signaled)
{
    struct ibv_sge sge = {.addr = (uintptr_t)buffer, .length = SIZE, .lkey = mr->lkey};
    struct ibv_send_wr wr = {
        .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = signaled ? IBV_SEND_SIGNALED : 0,
    };
    struct ibv_send_wr *bad;
    CHECK_IS(ibv_post_send(qp, &wr, &bad), 0);
}

static void post_read_in_pieces(struct ibv_qp *qp, struct ibv_mr *mr, bool signaled)
{
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp);
    ibv_wr_start(ex);
    ex->wr_flags = signaled ? IBV_SEND_SIGNALED : 0;
    ibv_wr_rdma_read(ex, 0, 0);
    ibv_wr_set_sge(ex, mr->lkey, (uintptr_t)buffer, SIZE);
    CHECK_IS(ibv_wr_complete(ex), 0);
}

static int polled(void)
{
    struct ibv_wc wc;
    int number = ibv_poll_cq(cq, 1, &wc);
    return number == 1 ? (int)wc.status : -1;
}

static int arrive(struct ibv_qp *qp)
{
    return fake_arrive(qp, 'x');
}

static int answer(struct ibv_qp *qp)
{
    return fake_answer(qp, 'x');
}

static void receive(struct ibv_qp *qp, struct ibv_mr *mr, bool unused)
{
    (void)unused;
    CHECK_IS(post_receive(qp, mr), 0);
}

/* The ways to post what the card writes by, and to have it done. */
__attribute__((unused)) static const struct {
    void (*post)(struct ibv_qp *, struct ibv_mr *, bool signaled);
    int (*done)(struct ibv_qp *);
    const char *name;
} ways[] = {{receive, arrive, "a receive"}, {post_read, answer, "a read"}, {post_read_in_pieces, answer, "a read in pieces"}};
enum { WAYS = sizeof ways / sizeof *ways };

/* What was posted is done now, when the memory is its next owner's: the card stops it. */
static void comes_nowhere(struct ibv_qp *qp, int (*done)(struct ibv_qp *))
{
    memset(buffer, '.', SIZE);
    CHECK_IS(done(qp), IBV_WC_LOC_PROT_ERR);
    CHECK(buffer[0] == '.' && buffer[SIZE - 1] == '.', "the next owner's memory is as it was");
    CHECK_IS(polled(), IBV_WC_LOC_PROT_ERR);
}

/* What the card would write by this key comes nowhere. */
static bool is_gone(uint32_t key)
{
    return !fake_reach(key, buffer, SIZE, IBV_ACCESS_LOCAL_WRITE);
}

/* The device, and what is above. */
static void open_queues(void)
{
    REQUIRE(fake_reach, "this is for the stand-in");
    context = open_device();
    pd = alloc_pd(context);
    cq = ibv_create_cq(context, 64, NULL, NULL, 0);
    struct ibv_srq_init_attr attr = {.attr = {.max_wr = 16, .max_sge = 1}};
    srq = ibv_create_srq(pd, &attr);
    REQUIRE(cq && srq, "queues: %s", strerror(errno));
    buffer = fresh(NULL, SIZE);
}

static void close_queues(void)
{
    CHECK_IS(ibv_destroy_srq(srq), 0);
    CHECK_IS(ibv_destroy_cq(cq), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    CHECK_IS(fake_live(), 0);
    munmap(buffer, SIZE);
}

#endif
