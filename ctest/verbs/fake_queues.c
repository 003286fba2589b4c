/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The stand-in's queues: what is posted waits until the test lets it happen, and goes by the keys that are registered then, as on a
 * card. */
#include "fake_queues.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 16 };

struct request {
    uint64_t id;
    struct ibv_sge sge;
    enum ibv_wr_opcode opcode;
    bool signaled;
};

struct queue {
    struct request requests[DEPTH];
    unsigned first, number;
};

struct queue_pair {
    struct ibv_qp_ex ex;
    struct queue receive, send, pieces;
    bool all;
};

struct shared {
    struct ibv_srq srq;
    struct queue receive;
};

struct completions {
    struct ibv_cq cq;
    struct ibv_wc wc[4 * DEPTH];
    unsigned first, number;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool mute;
/* 0: the one after the last. */
static unsigned next_number;

void fake_mute(int set)
{
    mute = set;
}

void fake_next_number(unsigned number)
{
    next_number = number;
}

/* A driver may say something, or wait: each of its functions can be a cancellation point. */
static void say_something(void)
{
    pthread_testcancel();
}

static bool put(struct queue *queue, const struct request *request)
{
    if (queue->number == DEPTH)
        return false;
    queue->requests[(queue->first + queue->number++) % DEPTH] = *request;
    return true;
}

static bool get(struct queue *queue, struct request *request)
{
    if (!queue->number)
        return false;
    *request = queue->requests[queue->first++ % DEPTH];
    queue->number--;
    return true;
}

static void complete(struct ibv_cq *cq, struct ibv_qp *qp, const struct request *request, int status, int opcode)
{
    struct completions *to = (struct completions *)cq;
    if (to->number < 4 * DEPTH)
        to->wc[(to->first + to->number++) % (4 * DEPTH)] = (struct ibv_wc){
            /* The kind of a failed one is not said. */
            .wr_id = request->id, .status = status, .opcode = status ? 0 : opcode, .qp_num = qp->qp_num,
        };
}

/* Writes to a request's buffer, if its key allows that now. */
static int write_by(const struct request *request, int byte)
{
    void *to = (void *)(uintptr_t)request->sge.addr;
    if (!fake_reach(request->sge.lkey, to, request->sge.length, IBV_ACCESS_LOCAL_WRITE))
        return IBV_WC_LOC_PROT_ERR;
    memset(to, byte, request->sge.length);
    return IBV_WC_SUCCESS;
}

int fake_arrive(struct ibv_qp *qp, int byte)
{
    struct request request;
    int status = -1;
    pthread_mutex_lock(&lock);
    struct queue *from = qp->srq ? &((struct shared *)qp->srq)->receive : &((struct queue_pair *)qp)->receive;
    if (get(from, &request)) {
        status = write_by(&request, byte);
        complete(qp->recv_cq, qp, &request, status, IBV_WC_RECV);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

int fake_answer(struct ibv_qp *qp, int byte)
{
    struct queue_pair *of = (struct queue_pair *)qp;
    struct request request;
    int status = -1;
    pthread_mutex_lock(&lock);
    if (get(&of->send, &request)) {
        bool read = request.opcode == IBV_WR_RDMA_READ;
        status = read ? write_by(&request, byte) : IBV_WC_SUCCESS;
        if (status || request.signaled || of->all)
            complete(qp->send_cq, qp, &request, status, read ? IBV_WC_RDMA_READ : IBV_WC_SEND);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static int poll_cq(struct ibv_cq *cq, int most, struct ibv_wc *wc)
{
    say_something();
    struct completions *from = (struct completions *)cq;
    int number = 0;
    pthread_mutex_lock(&lock);
    for (; number < most && from->number; number++, from->number--)
        wc[number] = from->wc[from->first++ % (4 * DEPTH)];
    pthread_mutex_unlock(&lock);
    return number;
}

static int receive(struct queue *queue, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    say_something();
    int error = 0;
    pthread_mutex_lock(&lock);
    for (; wr && !error; wr = wr->next) {
        struct request request = {.id = wr->wr_id};
        if (wr->num_sge)
            request.sge = wr->sg_list[0];
        if (!put(queue, &request)) {
            if (!mute)
                *bad = wr;
            error = ENOMEM;
        }
    }
    pthread_mutex_unlock(&lock);
    return error;
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    return receive(&((struct queue_pair *)qp)->receive, wr, bad);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    return receive(&((struct shared *)srq)->receive, wr, bad);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    say_something();
    int error = 0;
    pthread_mutex_lock(&lock);
    for (; wr && !error; wr = wr->next) {
        struct request request = {
            .id = wr->wr_id, .opcode = wr->opcode, .signaled = wr->send_flags & IBV_SEND_SIGNALED,
        };
        if (wr->num_sge)
            request.sge = wr->sg_list[0];
        if (!put(&((struct queue_pair *)qp)->send, &request)) {
            if (!mute)
                *bad = wr;
            error = ENOMEM;
        }
    }
    pthread_mutex_unlock(&lock);
    return error;
}

void fake_queue_ops(struct ibv_context_ops *ops)
{
    ops->poll_cq = poll_cq;
    ops->post_send = post_send;
    ops->post_recv = post_recv;
    ops->post_srq_recv = post_srq_recv;
}

/* Work in pieces: gathered in a queue of its own until it is complete. */

static void wr_start(struct ibv_qp_ex *qp)
{
    say_something();
    ((struct queue_pair *)qp)->pieces.number = 0;
}

static void begin(struct ibv_qp_ex *qp, enum ibv_wr_opcode opcode)
{
    say_something();
    struct request request = {.id = qp->wr_id, .opcode = opcode, .signaled = qp->wr_flags & IBV_SEND_SIGNALED};
    put(&((struct queue_pair *)qp)->pieces, &request);
}

static void wr_send(struct ibv_qp_ex *qp)
{
    begin(qp, IBV_WR_SEND);
}

static void wr_rdma_read(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t addr)
{
    (void)rkey;
    (void)addr;
    begin(qp, IBV_WR_RDMA_READ);
}

static void wr_set_sge(struct ibv_qp_ex *qp, uint32_t lkey, uint64_t addr, uint32_t length)
{
    say_something();
    struct queue *pieces = &((struct queue_pair *)qp)->pieces;
    pieces->requests[(pieces->first + pieces->number - 1) % DEPTH].sge =
        (struct ibv_sge){.addr = addr, .length = length, .lkey = lkey};
}

static int wr_complete(struct ibv_qp_ex *qp)
{
    say_something();
    struct queue_pair *of = (struct queue_pair *)qp;
    struct request request;
    int error = 0;
    pthread_mutex_lock(&lock);
    if (of->send.number + of->pieces.number > DEPTH)
        error = ENOMEM;
    while (!error && get(&of->pieces, &request))
        put(&of->send, &request);
    pthread_mutex_unlock(&lock);
    return error;
}

static void wr_abort(struct ibv_qp_ex *qp)
{
    say_something();
    ((struct queue_pair *)qp)->pieces.number = 0;
}

struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *qp)
{
    return (struct ibv_qp_ex *)qp;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context, struct ibv_comp_channel *channel, int vector)
{
    (void)vector;
    struct completions *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->cq.context = context;
    made->cq.cqe = cqe;
    made->cq.cq_context = cq_context;
    made->cq.channel = channel;
    return &made->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
    free(cq);
    return 0;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    static unsigned next = 1;
    struct queue_pair *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    pthread_mutex_lock(&lock);
    made->ex.qp_base = (struct ibv_qp){
        .context = pd->context, .pd = pd, .send_cq = attr->send_cq, .recv_cq = attr->recv_cq, .srq = attr->srq, .qp_num = next_number ? next_number : next++,
        .qp_type = attr->qp_type,
    };
    next_number = 0;
    pthread_mutex_unlock(&lock);
    made->all = attr->sq_sig_all;
    made->ex.wr_start = wr_start;
    made->ex.wr_send = wr_send;
    made->ex.wr_rdma_read = wr_rdma_read;
    made->ex.wr_set_sge = wr_set_sge;
    made->ex.wr_complete = wr_complete;
    made->ex.wr_abort = wr_abort;
    return &made->ex.qp_base;
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
    free(qp);
    return 0;
}

struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
    static unsigned next = 1;
    (void)attr;
    struct shared *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->srq.context = pd->context;
    made->srq.pd = pd;
    made->srq.handle = next++;
    return &made->srq;
}

int ibv_destroy_srq(struct ibv_srq *srq)
{
    free(srq);
    return 0;
}
