/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One connected pair of libfabric message endpoints: the verbs provider, nothing but public calls. */
#ifndef KDREG_TEST_ENDPOINT_H
#define KDREG_TEST_ENDPOINT_H

#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdatomic.h>
#include <stdint.h>

struct endpoint {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_eq *eq;
    struct fid_pep *pep; /* the listening side only */
    struct fid_domain *domain;
    struct fid_cq *cq;
    struct fid_ep *ep;
    pthread_mutex_t completing; /* protects reading the completion queue */
};

/* Where a transfer's end is noted: 0 under way, 1 done, negative: the error. */
struct transfer {
    struct fi_context2 context; /* first: libfabric hands its address back */
    atomic_int state;
};

/* fi_getinfo for `service` at `address`; the listening side asks for its own. Exits with 77 when there is no verbs device. */
void endpoint_find(struct endpoint *it, const char *address, const char *service, int listening);
/* Opens fabric and event queue; the connecting side also its domain, so that its cache exists. */
void endpoint_open(struct endpoint *it);
void endpoint_listen(struct endpoint *it);
void endpoint_accept(struct endpoint *it);
void endpoint_connect(struct endpoint *it);
/* Writes `length` bytes to the peer's `remote`, and waits until they are there. */
void endpoint_write(struct endpoint *it, const void *from, size_t length, struct fid_mr *mr, uint64_t remote, uint64_t key);
/* A registration through libfabric's cache. */
struct fid_mr *endpoint_register(struct endpoint *it, void *memory, size_t length, uint64_t access);
void endpoint_close(struct endpoint *it);

/* Ends the program, saying which call failed, when `result` is an error of libfabric's. */
void must(const char *call, long result);

#endif
