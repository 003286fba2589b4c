/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Three ways to have a buffer registered when a transfer needs it. */
#ifndef DEMO_STRATEGY_H
#define DEMO_STRATEGY_H

#include "device.h"
#include "plan.h"

#include <kdreg.h>

enum { STRATEGY_UNCACHED, STRATEGY_NAIVE, STRATEGY_KDREG, STRATEGIES };

/* A registration in use. */
struct hold {
    void *handle;    /* the device's */
    void *reference; /* the strategy's own */
};

struct strategy_stats {
    uint64_t lookups, hits;
    uint64_t invalidations; /* registrations dropped because the memory changed */
    uint64_t evictions;     /* ... to make room */
};

struct strategy {
    const char *name;
    int (*open)(struct device *device, const struct plan *plan, kdreg_t *monitor, void **state);
    /* A registration over [addr, addr+length). -ENOMEM: release something first. */
    int (*acquire)(void *state, char *addr, size_t length, struct hold *hold);
    int (*release)(void *state, struct hold *hold);
    /* Deregisters everything. Nothing is held by then. */
    int (*close)(void *state, struct strategy_stats *stats);
};

extern const struct strategy strategy_uncached, strategy_naive, strategy_kdreg;
extern const struct strategy *const strategies[STRATEGIES];

#endif
