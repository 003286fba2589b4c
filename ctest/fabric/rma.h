/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef KDREG_TEST_RMA_H
#define KDREG_TEST_RMA_H

#include "endpoint.h"
#include <stdbool.h>
#include <stddef.h>

#define MAX_THREADS 16

struct options {
    const char *address;
    int threads, rounds;
    size_t length;
    bool libc_only; /* changes through libc's functions alone, which interception sees too */
    bool uncached;  /* nothing is expected to hit */
    bool compare;   /* tell what happened, and pass: for monitors that are not ours */
};

/* The target's to the initiator: where to write next, and how the last transfer came out. */
struct report {
    uint64_t address, key, wrong;
    bool stale; /* the target's own registration was: same key for other memory */
};

/* The initiator's to the target: what was written. */
struct order {
    uint64_t seed;
    bool remap; /* replace the memory before the next one */
};

struct counts {
    unsigned long transfers, registrations, hits, stale, corrupted;
};

/* The process that is written to; `sockets` has one per thread of the initiator. */
int target_run(const struct options *options, const int *sockets);
int initiator_run(const struct options *options, const int *sockets);

/* messages.c */
void send_all(int socket, const void *message, size_t length);
/* false: the other side is gone */
bool receive_all(int socket, void *message, size_t length);

#endif
