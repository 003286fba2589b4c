/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A reliable connection of the first device with itself: RDMA writes whose data can be checked at both ends. */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include "device.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

/* What is to be sent: another for each seed. */
__attribute__((unused)) static void fill(unsigned char *memory, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        memory[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
}

/* How many pages of so many bytes are on a swap disk. */
__attribute__((unused)) static unsigned pages_swapped(const unsigned char *memory, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned count = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    for (size_t at = 0; at < size; at += page) {
        uint64_t entry;
        REQUIRE(fd >= 0 && pread(fd, &entry, sizeof entry, (off_t)(((uintptr_t)memory + at) / page * 8)) == sizeof entry, "pagemap: %s",
                strerror(errno));
        count += (entry >> 62) & 1;
    }
    close(fd);
    return count;
}

struct loopback {
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
};

/* The first address of the port that is set: on Ethernet, the one that its interface's IP address gives comes late. */
__attribute__((unused)) static int gid_index(struct ibv_context *context, union ibv_gid *gid)
{
    static const union ibv_gid none;
    int found = -1;
    for (int i = 0; i < 8; i++) {
        union ibv_gid one;
        if (ibv_query_gid(context, 1, i, &one) == 0 && memcmp(&one, &none, sizeof one)) {
            *gid = one;
            found = i;
        }
    }
    return found;
}

__attribute__((unused)) static void connect_to_itself(struct loopback *to)
{
    union ibv_gid gid;
    int index = gid_index(to->context, &gid);
    struct ibv_port_attr port;
    REQUIRE(index >= 0 && ibv_query_port(to->context, 1, &port) == 0, "the port has no address (GID)");
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    REQUIRE(ibv_modify_qp(to->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0, "INIT: %s",
            strerror(errno));
    attr = (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTR, .path_mtu = port.active_mtu, .dest_qp_num = to->qp->qp_num, .max_dest_rd_atomic = 1, .min_rnr_timer = 12,
        .ah_attr = {.is_global = 1, .port_num = 1, .grh = {.dgid = gid, .sgid_index = (uint8_t)index, .hop_limit = 1}},
    };
    REQUIRE(ibv_modify_qp(to->qp, &attr,
                          IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                              IBV_QP_MIN_RNR_TIMER) == 0,
            "RTR: %s", strerror(errno));
    /* 4 seconds for an acknowledgement, 7 times: a kernel thread sends it, which may have to wait for a processor. */
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .timeout = 20, .retry_cnt = 7, .rnr_retry = 7, .max_rd_atomic = 1};
    REQUIRE(ibv_modify_qp(to->qp, &attr,
                          IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC) == 0,
            "RTS: %s", strerror(errno));
}

__attribute__((unused)) static struct loopback open_loopback(void)
{
    struct loopback it = {.context = open_device()};
    it.pd = alloc_pd(it.context);
    it.cq = ibv_create_cq(it.context, 4, NULL, NULL, 0);
    REQUIRE(it.cq, "ibv_create_cq: %s", strerror(errno));
    struct ibv_qp_init_attr attr = {
        .send_cq = it.cq, .recv_cq = it.cq, .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 4, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
    };
    it.qp = ibv_create_qp(it.pd, &attr);
    REQUIRE(it.qp, "ibv_create_qp: %s", strerror(errno));
    connect_to_itself(&it);
    return it;
}

__attribute__((unused)) static void close_loopback(struct loopback *it)
{
    CHECK_IS(ibv_destroy_qp(it->qp), 0);
    CHECK_IS(ibv_destroy_cq(it->cq), 0);
    CHECK_IS(ibv_dealloc_pd(it->pd), 0);
    CHECK_IS(ibv_close_device(it->context), 0);
}

/* Writes from one buffer into another and waits until it is there. */
__attribute__((unused)) static void rdma_write(struct loopback *over, void *from, uint32_t lkey, void *to, uint32_t rkey, size_t length)
{
    struct ibv_sge sge = {.addr = (uintptr_t)from, .length = (uint32_t)length, .lkey = lkey};
    struct ibv_send_wr wr = {
        .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED,
        .wr.rdma = {.remote_addr = (uintptr_t)to, .rkey = rkey},
    };
    struct ibv_send_wr *bad;
    REQUIRE(ibv_post_send(over->qp, &wr, &bad) == 0, "ibv_post_send: %s", strerror(errno));
    struct ibv_wc wc;
    int done;
    while ((done = ibv_poll_cq(over->cq, 1, &wc)) == 0)
        ;
    REQUIRE(done == 1 && wc.status == IBV_WC_SUCCESS, "the transfer ended with: %s", ibv_wc_status_str(wc.status));
}

#endif
