/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where libkdreg-verbs.so looks for things (preload/verbs/src/abi.rs), by the header at hand. It is compiled; there is nothing to run. */
#include <infiniband/verbs.h>
#include <stddef.h>

#define AT(type, member, offset) _Static_assert(offsetof(struct type, member) == (offset), #type "." #member)

enum { POINTER = sizeof(void *), OPS = offsetof(struct ibv_context, ops), MUTEX = sizeof(pthread_mutex_t) };

AT(ibv_context, device, 0);
AT(ibv_context, ops, POINTER);
AT(ibv_context_ops, poll_cq, 11 * POINTER);
AT(ibv_context_ops, post_srq_recv, 20 * POINTER);
AT(ibv_context_ops, post_send, 25 * POINTER);
AT(ibv_context_ops, post_recv, 26 * POINTER);
_Static_assert(sizeof(struct ibv_context_ops) == 32 * POINTER, "ibv_context_ops");
AT(ibv_context, cmd_fd, 33 * POINTER);
AT(ibv_context, abi_compat, 33 * POINTER + 16 + MUTEX);

/* From the end of struct verbs_context. */
#define BEFORE(member, pointers)                                                                                          \
    _Static_assert(offsetof(struct verbs_context, context) - offsetof(struct verbs_context, member) == (pointers) * POINTER, \
                   "verbs_context." #member)
BEFORE(sz, 1);
BEFORE(query_device_ex, 13);
BEFORE(create_wq, 17);
BEFORE(post_srq_ops, 22);
BEFORE(advise_mr, 39);

/* libkdreg/src/adaptors/verbs/odp/device.rs */
AT(ibv_device_attr_ex, odp_caps, 240);
AT(ibv_device_attr_ex, completion_timestamp_mask, 264);
_Static_assert(sizeof(struct ibv_context) == 33 * POINTER + 16 + MUTEX + POINTER, "ibv_context");
_Static_assert(IBV_ODP_SUPPORT == 1 && IBV_ODP_SUPPORT_IMPLICIT == 2 && IBV_ODP_SUPPORT_SEND == 1 && IBV_ODP_SUPPORT_RECV == 2 &&
                   IBV_ODP_SUPPORT_WRITE == 4 && IBV_ODP_SUPPORT_READ == 8 && IBV_ODP_SUPPORT_ATOMIC == 16 && IBV_ODP_SUPPORT_SRQ_RECV == 32,
               "what a device can do on demand");
_Static_assert(IBV_ADVISE_MR_ADVICE_PREFETCH == 0 && IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE == 1 && IBV_ADVISE_MR_FLAG_FLUSH == 1, "advice");
_Static_assert(IBV_ACCESS_ON_DEMAND == 64, "on demand");

AT(ibv_pd, context, 0);
AT(ibv_cq, context, 0);
AT(ibv_srq, handle, 3 * POINTER);
AT(ibv_qp, srq, 5 * POINTER);
AT(ibv_qp, qp_num, 6 * POINTER + 4);
AT(ibv_qp, qp_type, 6 * POINTER + 12);
AT(ibv_mr, lkey, 4 * POINTER + 4);
AT(ibv_mr, rkey, 4 * POINTER + 8);
enum { EX = offsetof(struct ibv_qp_ex, wr_flags) + 8 };
_Static_assert(sizeof(struct ibv_qp) == 6 * POINTER + 16 + MUTEX + sizeof(pthread_cond_t) + 8, "ibv_qp");
AT(ibv_qp_ex, wr_flags, sizeof(struct ibv_qp) + 16);
AT(ibv_qp_ex, wr_atomic_cmp_swp, EX);
AT(ibv_qp_ex, wr_atomic_fetch_add, EX + POINTER);
AT(ibv_qp_ex, wr_rdma_read, EX + 4 * POINTER);
AT(ibv_qp_ex, wr_set_sge, EX + 15 * POINTER);
AT(ibv_qp_ex, wr_set_sge_list, EX + 16 * POINTER);
AT(ibv_qp_ex, wr_start, EX + 17 * POINTER);
AT(ibv_qp_ex, wr_complete, EX + 18 * POINTER);
AT(ibv_qp_ex, wr_abort, EX + 19 * POINTER);

AT(ibv_sge, lkey, 12);
AT(ibv_recv_wr, next, 8);
AT(ibv_recv_wr, sg_list, 16);
AT(ibv_recv_wr, num_sge, 24);
AT(ibv_send_wr, next, 8);
AT(ibv_send_wr, sg_list, 16);
AT(ibv_send_wr, num_sge, 24);
AT(ibv_send_wr, opcode, 28);
AT(ibv_wc, status, 8);
AT(ibv_wc, opcode, 12);
AT(ibv_wc, qp_num, 28);
_Static_assert(sizeof(struct ibv_wc) == 48, "ibv_wc");

_Static_assert(IBV_WR_RDMA_READ == 4 && IBV_WR_ATOMIC_CMP_AND_SWP == 5 && IBV_WR_ATOMIC_FETCH_AND_ADD == 6, "opcodes");
_Static_assert(IBV_WC_RDMA_READ == 2 && IBV_WC_COMP_SWAP == 3 && IBV_WC_FETCH_ADD == 4 && IBV_WC_RECV_RDMA_WITH_IMM == 129, "completions");
_Static_assert(IBV_QPT_RC == 2 && IBV_QPT_UC == 3 && IBV_QPT_UD == 4, "types");
