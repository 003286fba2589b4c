/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A stand-in for libibverbs.so.1 with one device, whose RDMA writes are copies
 * into the memory of another process of this machine: so that the two ends of
 * kdreg_bw can be tested where there is no device. A remote key is the number
 * of the process; a registration is checked to cover what is sent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#undef ibv_query_port
#undef ibv_reg_mr

#define REGISTRATIONS 256
#define COMPLETIONS 256

static struct ibv_device device = { .name = "standin0" };
static struct ibv_context context = { .device = &device };
static struct ibv_pd domain = { .context = &context };
static struct ibv_cq queue = { .context = &context };
static struct ibv_qp pair = { .context = &context, .qp_num = 7 };
static struct ibv_mr registrations[REGISTRATIONS];
static struct ibv_wc completions[COMPLETIONS];
static unsigned first, last; /* of the completions */
static int connected;

static enum ibv_wc_status copy(const struct ibv_send_wr *request)
{
    const struct ibv_sge *piece = request->sg_list;
    const struct ibv_mr *mr = &registrations[piece->lkey % REGISTRATIONS];
    struct iovec from = { (void *)(uintptr_t)piece->addr, piece->length };
    struct iovec to = { (void *)(uintptr_t)request->wr.rdma.remote_addr, piece->length };

    if (!mr->addr || mr->lkey != piece->lkey || piece->addr < (uintptr_t)mr->addr ||
        piece->addr + piece->length > (uintptr_t)mr->addr + mr->length)
        return IBV_WC_LOC_PROT_ERR;
    if (process_vm_writev((pid_t)request->wr.rdma.rkey, &from, 1, &to, 1, 0) != (ssize_t)piece->length)
        return IBV_WC_REM_ACCESS_ERR;
    return IBV_WC_SUCCESS;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *request, struct ibv_send_wr **bad)
{
    (void)qp;
    if (connected != 2 || last - first == COMPLETIONS) {
        *bad = request;
        return ENOMEM;
    }
    completions[last++ % COMPLETIONS] = (struct ibv_wc){ .wr_id = request->wr_id, .status = copy(request) };
    return 0;
}

static int poll_cq(struct ibv_cq *cq, int count, struct ibv_wc *completion)
{
    (void)cq;
    if (first == last || count < 1)
        return 0;
    *completion = completions[first++ % COMPLETIONS];
    return 1;
}

struct ibv_device **ibv_get_device_list(int *count)
{
    struct ibv_device **list = calloc(2, sizeof(*list));

    if (list)
        list[0] = &device;
    if (count)
        *count = list ? 1 : 0;
    return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
    free(list);
}

const char *ibv_get_device_name(struct ibv_device *which)
{
    return which->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *which)
{
    (void)which;
    context.ops.post_send = post_send;
    context.ops.poll_cq = poll_cq;
    return &context;
}

int ibv_close_device(struct ibv_context *which)
{
    (void)which;
    return 0;
}

int ibv_query_port(struct ibv_context *which, uint8_t port, struct _compat_ibv_port_attr *compatible)
{
    struct ibv_port_attr *attr = (struct ibv_port_attr *)compatible;

    (void)which;
    if (port != 1)
        return EINVAL;
    attr->state = IBV_PORT_ACTIVE;
    attr->active_mtu = IBV_MTU_4096;
    attr->gid_tbl_len = 2;
    return 0;
}

int ibv_query_gid(struct ibv_context *which, uint8_t port, int index, union ibv_gid *gid)
{
    static const uint8_t bytes[16] = { [10] = 0xff, 0xff, 127, 0, 0, 1 };

    (void)which;
    (void)port;
    memset(gid, 0, sizeof(*gid));
    if (index == 1)
        memcpy(gid->raw, bytes, sizeof(bytes));
    return 0;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *which)
{
    (void)which;
    return &domain;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
    (void)pd;
    for (unsigned i = 0; i < REGISTRATIONS; i++)
        if (registrations[i].addr)
            abort(); /* the real one says EBUSY, and nobody looks */
    return 0;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
    static uint32_t next;

    (void)access;
    for (unsigned tries = 0; tries < REGISTRATIONS; tries++) {
        struct ibv_mr *mr = &registrations[++next % REGISTRATIONS];
        if (mr->addr)
            continue;
        *mr = (struct ibv_mr){ .context = &context, .pd = pd, .addr = addr, .length = length,
                               .lkey = next, .rkey = (uint32_t)getpid() };
        return mr;
    }
    errno = ENOMEM;
    return NULL;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
    mr->addr = NULL;
    return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *which, int entries, void *user, struct ibv_comp_channel *channel,
                             int vector)
{
    (void)which, (void)entries, (void)user, (void)channel, (void)vector;
    return &queue;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
    (void)cq;
    return 0;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    (void)pd, (void)attr;
    return &pair;
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    static const uint8_t peer[2] = { 0xff, 0xff };

    (void)qp, (void)mask;
    if (attr->qp_state == IBV_QPS_RTR && (attr->dest_qp_num != 7 || memcmp(attr->ah_attr.grh.dgid.raw + 10, peer, 2) ||
                                          attr->ah_attr.grh.sgid_index != 1))
        return EINVAL;
    connected += attr->qp_state == IBV_QPS_RTR || attr->qp_state == IBV_QPS_RTS;
    return 0;
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
    (void)qp;
    return 0;
}

const char *ibv_wc_status_str(enum ibv_wc_status status)
{
    return status == IBV_WC_LOC_PROT_ERR ? "local protection error" : "remote access error";
}
