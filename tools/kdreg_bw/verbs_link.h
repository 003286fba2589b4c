/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One end of a reliable connection between two processes. */
#ifndef KDREG_BW_VERBS_LINK_H
#define KDREG_BW_VERBS_LINK_H

#include "options.h"
#include "transport.h"
#include "verbs_library.h"
#include "verbs_peer.h"

struct verbs_link {
    struct verbs_library library;
    struct peer peer;
    struct ibv_context *context;
    struct ibv_port_attr port_attr;
    uint8_t port;
    int gid_index;
    union ibv_gid gid;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    char device[64];
};

/* The memory that is written to. */
struct verbs_target {
    uint64_t addr, length;
    uint32_t key;
};

/* Opens the library, the device and a queue pair that is not connected yet. */
int verbs_link_open(struct verbs_link *link, const struct options *options);
/*
 * Tells the other end about this one and its memory (addr 0: none), learns
 * about the other, connects the queue pairs, and waits until both have.
 */
int verbs_link_connect(struct verbs_link *link, const struct verbs_target *ours, struct verbs_target *theirs);
void verbs_link_close(struct verbs_link *link);

#endif
