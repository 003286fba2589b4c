/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What carries the transfers. Functions return 0 or a negative errno, and say
 * on standard error what failed and what to do. One thread uses a transport.
 */
#ifndef KDREG_BW_TRANSPORT_H
#define KDREG_BW_TRANSPORT_H

#include <kdreg.h>
#include <stdbool.h>

#define MOST_DEPTH 64 /* transfers under way at once */

/* A registration in use. */
struct hold {
    uint32_t key;    /* what a transfer names it by: buffer index, lkey */
    void *reference; /* the transport's own */
};

struct transport;

struct transport_ops {
    /* By hand, as an application does without a cache. */
    int (*reg)(struct transport *transport, void *addr, size_t length, struct hold *hold);
    int (*dereg)(struct transport *transport, struct hold *hold);
    /* By libkdreg's cache. */
    int (*get)(struct transport *transport, void *addr, size_t length, struct hold *hold);
    int (*put)(struct transport *transport, struct hold *hold);
    /* Which cache that is, from now on: the one whose registrations are on demand, or the other. Nothing is in use. */
    void (*use)(struct transport *transport, bool demand);
    int (*stats)(struct transport *transport, struct kdreg_cache_stats *stats);
    int (*flush)(struct transport *transport);
    /* Starts a transfer; its number comes back from wait(). */
    int (*post)(struct transport *transport, unsigned number, const struct hold *hold, void *addr, size_t length);
    /* Waits for one transfer to complete. */
    int (*wait)(struct transport *transport, unsigned *number);
    /* Whether the first and the last byte that arrived in the last transfer are this one. */
    int (*arrived)(struct transport *transport, size_t length, unsigned char byte);
    void (*close)(struct transport *transport);
};

struct transport {
    const struct transport_ops *ops;
    const char *name;
    bool demand; /* it has registrations on demand */
    char target[256]; /* where the data goes, for people */
};

struct options;

int transport_uring_open(const struct options *options, kdreg_t *monitor, struct transport **transport);
int transport_verbs_open(const struct options *options, kdreg_t *monitor, struct transport **transport);
/* The other end of verbs transfers: serves one client. */
int verbs_serve(const struct options *options);

#endif
