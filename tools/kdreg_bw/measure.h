/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One measurement: transfers of one size, with one share of reused buffers, registered one way. */
#ifndef KDREG_BW_MEASURE_H
#define KDREG_BW_MEASURE_H

#include "options.h"
#include "transport.h"

struct work {
    struct transport *transport;
    enum strategy strategy;
    size_t size;
    unsigned reuse; /* per cent */
    unsigned depth;
    unsigned milliseconds;
    unsigned transfers; /* instead, if not 0 */
};

struct outcome {
    double nanoseconds; /* per transfer, all included */
    double median, high; /* nanoseconds; of single transfers, depth 1 only: half, and 99 of 100, took no longer */
    uint64_t transfers, registrations, hits;
};

/* 0, or a negative errno; what failed was said. */
int measure(const struct work *work, struct outcome *outcome);

#endif
