/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What was measured, and its three forms: table, CSV, plot. */
#ifndef KDREG_BW_RESULTS_H
#define KDREG_BW_RESULTS_H

#include "options.h"

#include <stdio.h>

struct result {
    bool present;
    size_t size;
    unsigned reuse; /* per cent; of ONCE always 100 */
    enum strategy strategy;
    unsigned depth;
    /* Medians over the rounds: nanoseconds per transfer. */
    double stream, single, half, high;
    double registrations, hits; /* per transfer, at full depth */
};

struct results {
    const struct options *options;
    const char *transport, *target, *backend;
    bool demand; /* there are results of that strategy */
    /* By size, then reuse, then strategy. */
    struct result *all;
};

static inline struct result *results_at(const struct results *results, unsigned size, unsigned reuse,
                                        enum strategy strategy)
{
    return &results->all[(size * results->options->reuse_count + reuse) * STRATEGIES + strategy];
}

/* MiB per second. */
static inline double bandwidth(const struct result *result)
{
    return (double)result->size / 1048576.0 / (result->stream / 1e9);
}

void results_table(const struct results *results, FILE *file);
void results_csv(const struct results *results, FILE *file);
void results_svg(const struct results *results, FILE *file);

#endif
