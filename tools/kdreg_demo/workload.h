/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Allocate, transfer, free: one scene of a message-passing or storage program.
 * Where buffers come and go, their addresses come back for the next. What
 * happens follows from the seed alone, never from an
 * address or a clock, so that every strategy is given the same work.
 */
#ifndef DEMO_WORKLOAD_H
#define DEMO_WORKLOAD_H

#include "plan.h"
#include "scene.h"
#include "strategy.h"

struct tally {
    uint64_t transfers, bytes;
    uint64_t registrations;
    struct strategy_stats cache;
    uint64_t corrupted_writes, corrupted_reads; /* of the file, of the buffer */
    uint64_t reused;                            /* transfers at addresses used, freed, and given out again */
    uint64_t frames_compared, frames_wrong;     /* transfers, where frames can be seen */
    double registering; /* seconds of it that getting and giving back registrations took */
    double seconds;   /* allocate, register, transfer, release, free; not filling and checking */
    double processor; /* the same in processor time of all threads, the kernel's for io_uring included */
    char example[256]; /* one corrupted transfer, in words */
    bool telling;      /* the example names the transfer whose data it was */
};

struct work {
    const struct plan *plan;
    const struct scene *scene;
    const struct strategy *strategy;
    struct memory *memory;
    struct device *device;
    kdreg_t *monitor;
    int file;
    uint64_t seed;
    uint64_t transfers;
    uint64_t *next_transfer; /* numbers transfers over all runs: stamps never repeat */
};

/* Adds to the tally. On failure `why` says what to do about it. */
int workload_run(const struct work *work, struct tally *tally, char *why, size_t why_size);

#endif
