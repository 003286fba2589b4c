/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads of a program under the preload that are cancelled where they post and poll: none ends the process. What must not be left half done is
 * left first; elsewhere a thread ends in the driver, as without. In either case others can post afterwards. */
#include "device.h"
#include "fake.h"

#include <pthread.h>
#include <stdlib.h>

static struct ibv_pd *pd;
static struct ibv_cq *cq;
static struct ibv_srq *srq;
static struct ibv_qp *qp, *other;
static struct ibv_mr *mr;
static char *memory;

static struct ibv_qp *create(void)
{
    struct ibv_qp_init_attr attr = {
        .send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .sq_sig_all = 1,
        .cap = {.max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 1, .max_recv_sge = 1},
    };
    struct ibv_qp *made = ibv_create_qp(pd, &attr);
    REQUIRE(made, "ibv_create_qp");
    return made;
}

static struct ibv_sge buffer(void)
{
    return (struct ibv_sge){.addr = (uintptr_t)memory, .length = 4096, .lkey = mr->lkey};
}

static void receives(void)
{
    struct ibv_sge sge = buffer();
    struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;
    CHECK_IS(ibv_post_recv(qp, &wr, &bad), 0);
}

static void receives_shared(void)
{
    struct ibv_sge sge = buffer();
    struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;
    CHECK_IS(ibv_post_srq_recv(srq, &wr, &bad), 0);
}

static void posts(enum ibv_wr_opcode opcode)
{
    struct ibv_sge sge = buffer();
    struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = opcode}, *bad;
    CHECK_IS(ibv_post_send(qp, &wr, &bad), 0);
}

static void reads(void) { posts(IBV_WR_RDMA_READ); }
static void sends(void) { posts(IBV_WR_SEND); }

static void polls(void)
{
    struct ibv_wc wc;
    CHECK(ibv_poll_cq(cq, 1, &wc) >= 0, "ibv_poll_cq");
}

static void gives_up(void)
{
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp);
    ibv_wr_start(ex);
    ibv_wr_abort(ex);
}

static void completes(void)
{
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp);
    ibv_wr_start(ex);
    CHECK_IS(ibv_wr_complete(ex), 0);
}

/* The driver's lock is held by the thread that ends, if it has one: nobody else posts there. */
static void reads_in_pieces(void)
{
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(other);
    ibv_wr_start(ex);
    ibv_wr_rdma_read(ex, mr->rkey, (uintptr_t)memory);
    ibv_wr_set_sge(ex, mr->lkey, (uintptr_t)memory, 4096);
    CHECK_IS(ibv_wr_complete(ex), 0);
}

static const struct call {
    const char *name;
    void (*call)(void);
    int is_left_first, is_once;
} calls[] = {
    {"ibv_post_recv", receives, 1, 0},
    {"ibv_post_srq_recv", receives_shared, 1, 0},
    {"ibv_post_send, a read", reads, 1, 0},
    {"ibv_post_send, a message", sends, 0, 0},
    {"ibv_poll_cq", polls, 0, 0},
    {"ibv_wr_start, ibv_wr_abort", gives_up, 1, 0},
    {"ibv_wr_start, ibv_wr_complete", completes, 1, 0},
    {"ibv_wr_rdma_read", reads_in_pieces, 0, 1},
};

static atomic_int reached;

static void *cancel_first(void *call)
{
    pthread_cancel(pthread_self());
    ((const struct call *)call)->call();
    atomic_fetch_add(&reached, 1);
    pthread_testcancel();
    return NULL;
}

int main(void)
{
    check_watchdog(250);
    /* Without the preload's functions each ends in the driver. */
    int is_plain = getenv("KDREG_VERBS_DISABLE") != NULL;
    struct ibv_context *context = open_device();
    pd = alloc_pd(context);
    cq = ibv_create_cq(context, 16, NULL, NULL, 0);
    struct ibv_srq_init_attr attr = {.attr = {.max_wr = 8, .max_sge = 1}};
    srq = ibv_create_srq(pd, &attr);
    REQUIRE(cq && srq, "queues");
    qp = create();
    other = create();
    memory = check_space(4096);
    mr = ibv_reg_mr(pd, memory, 4096, IBV_ACCESS_LOCAL_WRITE);
    REQUIRE(mr, "ibv_reg_mr");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        pthread_t thread;
        void *ended;
        check_says("%s", calls[i].name);
        atomic_store(&reached, 0);
        REQUIRE(pthread_create(&thread, NULL, cancel_first, (void *)&calls[i]) == 0, "pthread_create");
        pthread_join(thread, &ended);
        CHECK(ended == PTHREAD_CANCELED, "%s: the thread was not cancelled", calls[i].name);
        CHECK(reached == (calls[i].is_left_first && !is_plain), "%s: %s", calls[i].name,
              reached ? "the thread did not end in the driver" : "a cancellation point");
        if (!calls[i].is_once)
            calls[i].call();
    }
    CHECK_IS(ibv_destroy_qp(qp), 0);
    CHECK_IS(ibv_destroy_qp(other), 0);
    CHECK_IS(ibv_destroy_srq(srq), 0);
    CHECK_IS(ibv_destroy_cq(cq), 0);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    CHECK_IS(fake_live(), 0);
    return check_result("verbs_cancelled");
}
