/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* RDMA writes from one process to the memory of another. */
#define _GNU_SOURCE
#include "options.h"
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<infiniband/verbs.h>)
#include "verbs_link.h"

#include <kdreg/verbs.h>
#include <sched.h>
#include <sys/mman.h>

#define ACCESS IBV_ACCESS_LOCAL_WRITE
#define PATIENCE 64 /* empty looks at the completion queue before the processor is given up */

struct verbs {
    struct transport transport;
    struct verbs_link link;
    struct verbs_target target;
    kdreg_cache_t *cache;     /* one of these: */
    kdreg_cache_t *caches[2]; /* pinned, on demand */
};

static struct verbs *from(struct transport *transport)
{
    return (struct verbs *)transport;
}

static int verbs_reg(struct transport *transport, void *addr, size_t length, struct hold *hold)
{
    struct verbs *verbs = from(transport);
    struct ibv_mr *mr = verbs->link.library.reg_mr(verbs->link.pd, addr, length, ACCESS);

    if (!mr)
        return -errno;
    hold->key = mr->lkey;
    hold->reference = mr;
    return 0;
}

static int verbs_dereg(struct transport *transport, struct hold *hold)
{
    return -from(transport)->link.library.dereg_mr(hold->reference);
}

static int verbs_get(struct transport *transport, void *addr, size_t length, struct hold *hold)
{
    struct ibv_mr *mr;
    kdreg_entry_t *entry;
    int ret = kdreg_verbs_cache_get(from(transport)->cache, addr, length, ACCESS, &mr, &entry);

    if (ret < 0)
        return ret;
    hold->key = mr->lkey;
    hold->reference = entry;
    return 0;
}

static int verbs_put(struct transport *transport, struct hold *hold)
{
    return kdreg_cache_put(from(transport)->cache, hold->reference);
}

static void verbs_use(struct transport *transport, bool demand)
{
    from(transport)->cache = from(transport)->caches[demand];
}

static int verbs_stats(struct transport *transport, struct kdreg_cache_stats *stats)
{
    return kdreg_cache_stats(from(transport)->cache, stats);
}

static int verbs_flush(struct transport *transport)
{
    int ret = kdreg_cache_flush(from(transport)->cache);
    return ret < 0 ? ret : 0;
}

static int verbs_post(struct transport *transport, unsigned number, const struct hold *hold, void *addr,
                      size_t length)
{
    struct verbs *verbs = from(transport);
    struct ibv_sge piece = { .addr = (uintptr_t)addr, .length = (uint32_t)length, .lkey = hold->key };
    struct ibv_send_wr request, *bad;

    memset(&request, 0, sizeof(request));
    request.wr_id = number;
    request.sg_list = &piece;
    request.num_sge = 1;
    request.opcode = IBV_WR_RDMA_WRITE;
    request.send_flags = IBV_SEND_SIGNALED;
    request.wr.rdma.remote_addr = verbs->target.addr;
    request.wr.rdma.rkey = verbs->target.key;
    return -ibv_post_send(verbs->link.qp, &request, &bad);
}

static int verbs_wait(struct transport *transport, unsigned *number)
{
    struct verbs *verbs = from(transport);
    struct ibv_wc completion;
    int count;

    for (unsigned looks = 1; (count = ibv_poll_cq(verbs->link.cq, 1, &completion)) == 0; looks++)
        if (looks % PATIENCE == 0)
            sched_yield(); /* soft-RoCE does its work on our processors */
    if (count < 0)
        return -EIO;
    *number = (unsigned)completion.wr_id;
    if (completion.status == IBV_WC_SUCCESS)
        return 0;
    fprintf(stderr, "kdreg_bw: a write to %s: %s\n", transport->target,
            verbs->link.library.wc_status_str(completion.status));
    return -EIO;
}

static int verbs_arrived(struct transport *transport, size_t length, unsigned char byte)
{
    struct verbs *verbs = from(transport);
    char line[64];
    unsigned first, last;
    int ret = peer_write(&verbs->link.peer, "bytes 0 %zu\n", length - 1);

    if (!ret)
        ret = peer_read(&verbs->link.peer, line, sizeof(line));
    if (ret || sscanf(line, "are %u %u", &first, &last) != 2) {
        fprintf(stderr, "kdreg_bw: the other end is gone\n");
        return ret ? ret : -EPROTO;
    }
    return first == byte && last == byte ? 0 : -EILSEQ;
}

static void verbs_close(struct transport *transport)
{
    struct verbs *verbs = from(transport);

    for (unsigned i = 0; i < 2; i++)
        if (verbs->caches[i])
            kdreg_cache_destroy(verbs->caches[i]);
    verbs_link_close(&verbs->link);
    free(verbs);
}

static const struct transport_ops ops = {
    .reg = verbs_reg, .dereg = verbs_dereg, .get = verbs_get, .put = verbs_put, .use = verbs_use,
    .stats = verbs_stats, .flush = verbs_flush, .post = verbs_post, .wait = verbs_wait, .arrived = verbs_arrived, .close = verbs_close,
};

/* Whether the device has all on demand that a registration with these rights may be used for over this connection. */
static bool on_demand(struct ibv_context *context)
{
    const uint32_t all = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ |
                         IBV_ODP_SUPPORT_ATOMIC | IBV_ODP_SUPPORT_SRQ_RECV;
    struct verbs_context *extended = verbs_get_ctx_op(context, query_device_ex);
    struct ibv_device_attr_ex attr;

    const uint32_t soft_roce = 0xffffff; /* which copies whole pages alone right: the library refuses it, too */
    const char *pages = getenv("KDREG_VERBS_ODP_PAGES");

    memset(&attr, 0, sizeof(attr));
    return extended && !extended->query_device_ex(context, NULL, &attr, sizeof(attr)) &&
           (attr.odp_caps.general_caps & IBV_ODP_SUPPORT) && (attr.odp_caps.per_transport_caps.rc_odp_caps & all) == all &&
           (attr.orig_attr.vendor_id != soft_roce || (pages && !strcmp(pages, "1")));
}

/* One cache pins, whatever the environment says, and the other does not. */
static int make_cache(struct verbs *verbs, const struct kdreg_verbs_attr *attr, bool demand)
{
    int ret;

    setenv("KDREG_VERBS_ODP", demand ? "on" : "off", 1);
    setenv("KDREG_VERBS_ODP_TRANSPORTS", "rc", 1);
    ret = kdreg_verbs_cache_create(verbs->link.pd, attr, &verbs->caches[demand]);
    if (ret)
        fprintf(stderr, "kdreg_bw: kdreg_verbs_cache_create: %s\n", kdreg_strerror(ret));
    return ret;
}

static int open_client(struct verbs *verbs, const struct options *options, kdreg_t *monitor)
{
    struct kdreg_verbs_attr attr = { .size = sizeof(attr), .monitor = monitor, .flags = KDREG_CACHE_NO_MERGE | KDREG_CACHE_BYPASS };
    struct verbs_target none = { 0 };
    int ret = verbs_link_open(&verbs->link, options);

    if (!ret)
        ret = peer_connect(&verbs->link.peer, options->connect, options->port);
    if (!ret)
        ret = verbs_link_connect(&verbs->link, &none, &verbs->target);
    for (unsigned i = 0; i < options->size_count && !ret; i++)
        if (options->sizes[i] > verbs->target.length) {
            fprintf(stderr, "kdreg_bw: the other end takes at most %llu bytes at a time: use smaller --sizes, or "
                            "larger ones there\n",
                    (unsigned long long)verbs->target.length);
            ret = -EMSGSIZE;
        }
    if (ret)
        return ret;
    verbs->transport.demand = on_demand(verbs->link.context);
    ret = make_cache(verbs, &attr, false);
    if (!ret && verbs->transport.demand)
        ret = make_cache(verbs, &attr, true);
    snprintf(verbs->transport.target, sizeof(verbs->transport.target), "%s by %s", options->connect,
             verbs->link.device);
    return ret;
}

int transport_verbs_open(const struct options *options, kdreg_t *monitor, struct transport **transport)
{
    struct verbs *verbs = calloc(1, sizeof(*verbs));
    int ret;

    if (!verbs)
        return -ENOMEM;
    verbs->transport.ops = &ops;
    verbs->transport.name = "verbs";
    ret = open_client(verbs, options, monitor);
    if (ret) {
        verbs_close(&verbs->transport);
        return ret;
    }
    *transport = &verbs->transport;
    return 0;
}

/* Answers the client's questions about the memory until it hangs up. */
static int answer(struct verbs_link *link, const volatile unsigned char *memory, size_t length)
{
    char line[64];
    size_t first, last;

    while (!peer_read(&link->peer, line, sizeof(line))) {
        if (sscanf(line, "bytes %zu %zu", &first, &last) != 2 || first >= length || last >= length) {
            fprintf(stderr, "kdreg_bw: the other end asks '%.60s', which makes no sense\n", line);
            return -EPROTO;
        }
        if (peer_write(&link->peer, "are %u %u\n", memory[first], memory[last]))
            return -EPIPE;
    }
    return 0;
}

int verbs_serve(const struct options *options)
{
    struct verbs_link link = { .gid_index = -1 };
    struct verbs_target ours = { 0 }, theirs;
    struct ibv_mr *mr = NULL;
    void *memory = MAP_FAILED;
    int ret = verbs_link_open(&link, options);

    for (unsigned i = 0; i < options->size_count; i++)
        if (options->sizes[i] > ours.length)
            ours.length = options->sizes[i];
    if (!ret) {
        memory = mmap(NULL, ours.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED)
            mr = link.library.reg_mr(link.pd, memory, ours.length, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
        if (!mr) {
            fprintf(stderr, "kdreg_bw: registering %llu bytes to be written to: %s; raise RLIMIT_MEMLOCK (ulimit "
                            "-l), or use smaller --sizes\n",
                    (unsigned long long)ours.length, strerror(errno));
            ret = -ENOMEM;
        }
    }
    if (!ret)
        ret = peer_listen(&link.peer, options->port);
    if (!ret) {
        ours.addr = (uintptr_t)memory;
        ours.key = mr->rkey;
        ret = verbs_link_connect(&link, &ours, &theirs);
    }
    if (!ret)
        ret = answer(&link, memory, ours.length);
    if (mr)
        link.library.dereg_mr(mr);
    if (memory != MAP_FAILED)
        munmap(memory, ours.length);
    verbs_link_close(&link);
    return ret;
}

#else /* built without libibverbs's headers */

static int without(void)
{
    fprintf(stderr, "kdreg_bw: built without verbs: install the headers (Debian: libibverbs-dev) and build libkdreg "
                    "again, or measure io_uring, without --listen and --connect\n");
    return -EOPNOTSUPP;
}

int transport_verbs_open(const struct options *options, kdreg_t *monitor, struct transport **transport)
{
    (void)options;
    (void)monitor;
    (void)transport;
    return without();
}

int verbs_serve(const struct options *options)
{
    (void)options;
    return without();
}
#endif
