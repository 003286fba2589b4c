/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* No cache: register before each transfer, deregister after it. Always right, never cheap. */
#include "strategy.h"

#include <errno.h>
#include <stdlib.h>

struct uncached {
    struct device *device;
    size_t page;
    uint64_t lookups;
};

static int uncached_open(struct device *device, const struct plan *plan, kdreg_t *monitor, void **state)
{
    struct uncached *uncached = calloc(1, sizeof(*uncached));

    (void)monitor;
    if (!uncached)
        return -ENOMEM;
    uncached->device = device;
    uncached->page = plan->page;
    *state = uncached;
    return 0;
}

static int uncached_acquire(void *state, char *addr, size_t length, struct hold *hold)
{
    struct uncached *uncached = state;
    uintptr_t base = (uintptr_t)addr & ~(uncached->page - 1);
    uintptr_t end = ((uintptr_t)addr + length + uncached->page - 1) & ~(uncached->page - 1);

    uncached->lookups++;
    hold->reference = NULL;
    return uncached->device->ops->reg(uncached->device, (void *)base, end - base, &hold->handle);
}

static int uncached_release(void *state, struct hold *hold)
{
    struct uncached *uncached = state;
    return uncached->device->ops->dereg(uncached->device, hold->handle);
}

static int uncached_close(void *state, struct strategy_stats *stats)
{
    struct uncached *uncached = state;

    *stats = (struct strategy_stats){ .lookups = uncached->lookups };
    free(uncached);
    return 0;
}

const struct strategy strategy_uncached = {
    "no cache", uncached_open, uncached_acquire, uncached_release, uncached_close,
};

const struct strategy *const strategies[STRATEGIES] = { &strategy_uncached, &strategy_naive, &strategy_kdreg };
