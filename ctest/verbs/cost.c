/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Posts, lets it happen and polls, over the stand-in, for cost.sh to count:
 *
 *   cost send|receive|read|poll NUMBER */
#include "device.h"
#include "fake.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
    REQUIRE(argc == 3, "cost send|receive|read|poll NUMBER");
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    struct ibv_cq *cq = ibv_create_cq(context, 16, NULL, NULL, 0);
    struct ibv_qp_init_attr attr = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .sq_sig_all = 1};
    struct ibv_qp *qp = ibv_create_qp(pd, &attr);
    char *memory = check_space(4096);
    struct ibv_mr *mr = ibv_reg_mr(pd, memory, 4096, IBV_ACCESS_LOCAL_WRITE);
    REQUIRE(cq && qp && mr, "what is needed to post");
    struct ibv_sge sge = {.addr = (uintptr_t)memory, .length = 64, .lkey = mr->lkey};
    struct ibv_recv_wr receive = {.sg_list = &sge, .num_sge = 1}, *bad_receive;
    struct ibv_send_wr send = {.sg_list = &sge, .num_sge = 1, .opcode = *argv[1] == 's' ? IBV_WR_SEND : IBV_WR_RDMA_READ}, *bad;
    struct ibv_wc wc;
    for (long left = strtol(argv[2], NULL, 10); left > 0; left--) {
        bool is_receive = strcmp(argv[1], "receive") == 0, is_none = strcmp(argv[1], "poll") == 0;
        if (is_receive)
            REQUIRE(ibv_post_recv(qp, &receive, &bad_receive) == 0 && fake_arrive(qp, 1) == 0, "a receive");
        else if (!is_none)
            REQUIRE(ibv_post_send(qp, &send, &bad) == 0 && fake_answer(qp, 1) == 0, "a request");
        REQUIRE(ibv_poll_cq(cq, 1, &wc) == !is_none, "a completion");
    }
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(ibv_destroy_qp(qp), 0);
    CHECK_IS(ibv_destroy_cq(cq), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    return check_result("verbs_cost");
}
