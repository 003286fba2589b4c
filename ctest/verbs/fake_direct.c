/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A driver of the stand-in's that is a library of its own: libibverbs posts through it, and programs can post by its own function, which
 * nobody else sees. */
#include <infiniband/verbs.h>

int direct_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
void direct_ops(struct ibv_context_ops *ops);

static struct ibv_context_ops real;

static int poll_cq(struct ibv_cq *cq, int most, struct ibv_wc *wc)
{
    return real.poll_cq(cq, most, wc);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    return real.post_send(qp, wr, bad);
}

int direct_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    return real.post_recv(qp, wr, bad);
}

void direct_ops(struct ibv_context_ops *ops)
{
    real = *ops;
    ops->poll_cq = poll_cq;
    ops->post_send = post_send;
    ops->post_recv = direct_post_recv;
}
