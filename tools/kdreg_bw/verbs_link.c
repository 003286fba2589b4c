/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#if __has_include(<infiniband/verbs.h>)
#define _GNU_SOURCE
#include "verbs_link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What one end says of itself; the version comes first. */
#define HELLO "kdreg_bw 1 qp %" PRIu32 " lid %" PRIu32 " mtu %" PRIu32 " gid %016" PRIx64 "%016" PRIx64 \
              " addr %" PRIu64 " length %" PRIu64 " key %" PRIu32
#define HEARD "kdreg_bw 1 qp %" SCNu32 " lid %" SCNu32 " mtu %" SCNu32 " gid %16" SCNx64 "%16" SCNx64 \
              " addr %" SCNu64 " length %" SCNu64 " key %" SCNu32

static int failed(const char *what)
{
    int error = errno ? errno : EIO;

    fprintf(stderr, "kdreg_bw: %s: %s%s\n", what, strerror(error),
            error == ENOMEM ? "; RLIMIT_MEMLOCK may be too small: raise it (ulimit -l)" : "");
    return -error;
}

/* The first port that is up. */
static bool active_port(struct verbs_link *link)
{
    for (uint8_t port = 1; port <= 2; port++) {
        memset(&link->port_attr, 0, sizeof(link->port_attr));
        if (!link->library.query_port(link->context, port, &link->port_attr) &&
            link->port_attr.state == IBV_PORT_ACTIVE) {
            link->port = port;
            return true;
        }
    }
    return false;
}

static int open_device(struct verbs_link *link, const char *name)
{
    int count = 0;
    struct ibv_device **list = link->library.get_device_list(&count);

    for (int i = 0; list && i < count && !link->context; i++) {
        const char *found = link->library.get_device_name(list[i]);
        if (name && strcmp(name, found))
            continue;
        link->context = link->library.open_device(list[i]);
        if (link->context && !active_port(link)) {
            link->library.close_device(link->context);
            link->context = NULL;
        }
        snprintf(link->device, sizeof(link->device), "%s", found);
    }
    if (list)
        link->library.free_device_list(list);
    if (link->context)
        return 0;
    if (!count)
        fprintf(stderr, "kdreg_bw: no verbs device; soft-RoCE makes one of any network interface: modprobe rdma_rxe; "
                        "rdma link add rxe0 type rxe netdev eth0\n");
    else if (name)
        fprintf(stderr, "kdreg_bw: no device %s with an active port; rdma link shows what there is\n", name);
    else
        fprintf(stderr, "kdreg_bw: none of the %d verbs devices has an active port: bring its interface up\n", count);
    return -ENODEV;
}

/* Whether a GID is RoCE v2's: 1 or 0, as sysfs says, or -1 when it does not (InfiniBand; a container without it). */
static int is_roce_v2(const struct verbs_link *link, int index)
{
    char path[192], type[16] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%u/gid_attrs/types/%d", link->device, link->port,
             index);
    file = fopen(path, "re");
    if (!file)
        return -1;
    if (!fgets(type, sizeof(type), file))
        type[0] = 0; /* EINVAL for an index that is not in use */
    fclose(file);
    return !type[0] ? -1 : !strncmp(type, "RoCE v2", 7);
}

/*
 * An address of the port. An IPv4 address has two GIDs on devices that speak
 * both versions of RoCE, and version 1 does not leave the subnet: so IPv4 in
 * version 2 first, then IPv4, then whatever there is.
 */
static int choose_gid(struct verbs_link *link, int wanted)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    int best = -1;

    link->gid_index = -1;
    for (int i = 0; i < link->port_attr.gid_tbl_len && best < 3; i++) {
        union ibv_gid gid;
        if ((wanted >= 0 && i != wanted) || link->library.query_gid(link->context, link->port, i, &gid))
            continue;
        if (!gid.global.interface_id)
            continue;
        int merit = 0;
        if (!memcmp(gid.raw, mapped, sizeof(mapped)))
            merit = (const int[]){ 2, 1, 3 }[is_roce_v2(link, i) + 1];
        if (merit > best) {
            best = merit;
            link->gid_index = i;
            link->gid = gid;
        }
    }
    if (best < 0) {
        fprintf(stderr, "kdreg_bw: %s has no GID%s: give its interface an address, or choose one with --gid\n",
                link->device, wanted >= 0 ? " with this index" : "");
        return -EADDRNOTAVAIL;
    }
    return 0;
}

static int make_queues(struct verbs_link *link)
{
    struct ibv_qp_init_attr attr;
    struct ibv_qp_attr init;

    errno = 0;
    link->pd = link->library.alloc_pd(link->context);
    if (!link->pd)
        return failed("ibv_alloc_pd");
    link->cq = link->library.create_cq(link->context, 2 * MOST_DEPTH, NULL, NULL, 0);
    if (!link->cq)
        return failed("ibv_create_cq");
    memset(&attr, 0, sizeof(attr));
    attr.send_cq = attr.recv_cq = link->cq;
    attr.qp_type = IBV_QPT_RC;
    attr.cap.max_send_wr = MOST_DEPTH;
    attr.cap.max_recv_wr = 1;
    attr.cap.max_send_sge = attr.cap.max_recv_sge = 1;
    link->qp = link->library.create_qp(link->pd, &attr);
    if (!link->qp)
        return failed("ibv_create_qp");
    memset(&init, 0, sizeof(init));
    init.qp_state = IBV_QPS_INIT;
    init.port_num = link->port;
    init.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
    errno = link->library.modify_qp(link->qp, &init,
                                    IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    return errno ? failed("ibv_modify_qp to INIT") : 0;
}

int verbs_link_open(struct verbs_link *link, const struct options *options)
{
    int ret = verbs_library_open(&link->library);

    if (!ret)
        ret = open_device(link, options->device);
    if (!ret)
        ret = choose_gid(link, options->gid);
    if (!ret)
        ret = make_queues(link);
    return ret;
}

static int to_ready(struct verbs_link *link, uint32_t qp, uint32_t lid, uint32_t mtu, const union ibv_gid *gid)
{
    struct ibv_qp_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.qp_state = IBV_QPS_RTR;
    attr.path_mtu = mtu < (uint32_t)link->port_attr.active_mtu ? (enum ibv_mtu)mtu : link->port_attr.active_mtu;
    attr.dest_qp_num = qp;
    attr.rq_psn = attr.sq_psn = 0;
    attr.max_dest_rd_atomic = attr.max_rd_atomic = 1;
    attr.min_rnr_timer = 12;
    attr.ah_attr.dlid = (uint16_t)lid;
    attr.ah_attr.port_num = link->port;
    attr.ah_attr.is_global = 1;
    attr.ah_attr.grh.dgid = *gid;
    attr.ah_attr.grh.sgid_index = (uint8_t)link->gid_index;
    attr.ah_attr.grh.hop_limit = 64;
    errno = link->library.modify_qp(link->qp, &attr,
                                    IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                        IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    if (errno)
        return failed("connecting the queue pairs (ibv_modify_qp to RTR; is this the right --gid?)");
    attr.qp_state = IBV_QPS_RTS;
    /*
     * As for a slow network: over soft-RoCE the other end answers when its
     * processor gets to it, which on a starved machine takes seconds. Asked
     * for again after 4.3 s (4.096 us * 2^20), given up after half a minute.
     */
    attr.timeout = 20;
    attr.retry_cnt = attr.rnr_retry = 7;
    errno = link->library.modify_qp(link->qp, &attr,
                                    IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                                        IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
    return errno ? failed("ibv_modify_qp to RTS") : 0;
}

/* A GID as two numbers whose hexadecimal digits are its bytes in order. */
static uint64_t half_of(const union ibv_gid *gid, unsigned half)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value = value << 8 | gid->raw[8 * half + i];
    return value;
}

int verbs_link_connect(struct verbs_link *link, const struct verbs_target *ours, struct verbs_target *theirs)
{
    uint32_t qp, lid, mtu;
    uint64_t halves[2];
    union ibv_gid gid;
    char line[256];
    int ret = peer_write(&link->peer, HELLO "\n", link->qp->qp_num, (uint32_t)link->port_attr.lid,
                         (uint32_t)link->port_attr.active_mtu, half_of(&link->gid, 0), half_of(&link->gid, 1),
                         ours->addr, ours->length, ours->key);

    if (!ret)
        ret = peer_read(&link->peer, line, sizeof(line));
    if (ret) {
        fprintf(stderr, "kdreg_bw: the other end is gone: see what it said\n");
        return ret;
    }
    if (sscanf(line, HEARD, &qp, &lid, &mtu, &halves[0], &halves[1], &theirs->addr, &theirs->length,
               &theirs->key) != 8) {
        fprintf(stderr, "kdreg_bw: the other end is not a kdreg_bw of this version: it says '%.60s'\n", line);
        return -EPROTO;
    }
    for (unsigned i = 0; i < 16; i++)
        gid.raw[i] = (uint8_t)(halves[i / 8] >> (56 - 8 * (i % 8)));
    ret = to_ready(link, qp, lid, mtu, &gid);
    if (!ret)
        ret = peer_write(&link->peer, "ready\n");
    if (!ret)
        ret = peer_read(&link->peer, line, sizeof(line));
    if (!ret && strcmp(line, "ready"))
        ret = -EPROTO;
    if (ret)
        fprintf(stderr, "kdreg_bw: the two ends did not connect\n");
    return ret;
}

void verbs_link_close(struct verbs_link *link)
{
    if (link->qp)
        link->library.destroy_qp(link->qp);
    if (link->cq)
        link->library.destroy_cq(link->cq);
    if (link->pd)
        link->library.dealloc_pd(link->pd);
    if (link->context)
        link->library.close_device(link->context);
    peer_close(&link->peer);
}
#else
typedef int no_verbs_headers;
#endif
