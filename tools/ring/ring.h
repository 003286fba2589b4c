/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A minimal io_uring, by raw system calls: one submission queue, one
 * completion queue, one table of registered buffers. Needs Linux 5.13.
 *
 * Threads: one thread at a time may submit and take completions, and that
 * thread owns the queues. ring_buffer_set() touches neither queue and may be
 * called from any thread at any time: the kernel serialises registration
 * itself (the ring is not set up with IORING_SETUP_SINGLE_ISSUER).
 *
 * Functions return 0 (or a count) or a negative errno.
 */
#ifndef DEMO_RING_H
#define DEMO_RING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
    int fd;
    unsigned *sq_head, *sq_tail, *sq_flags, *sq_array;
    unsigned sq_mask, sq_entries, sq_unsubmitted;
    unsigned *cq_head, *cq_tail;
    unsigned cq_mask;
    struct io_uring_cqe *cqes;
    struct io_uring_sqe *sqes;
    void *sq_map, *cq_map;
    size_t sq_map_length, cq_map_length, sqes_length;
};

int ring_open(struct ring *ring, unsigned sq_entries, unsigned cq_entries);
void ring_close(struct ring *ring);

/* A cleared entry to fill in; NULL when the queue is full. */
struct io_uring_sqe *ring_next_sqe(struct ring *ring);
/* Hands over everything filled in so far and waits for `wait` completions. */
int ring_submit(struct ring *ring, unsigned wait);
/* Takes one completion; false when there is none. */
bool ring_completion(struct ring *ring, uint64_t *user_data, int *result);
/* Sleeps until a completion is there: 1, or 0 after timeout_ms. */
int ring_wait(struct ring *ring, int timeout_ms);

/* Sets up a table of `slots` empty buffer slots. */
int ring_buffer_table(struct ring *ring, unsigned slots);
/*
 * Pins [addr, addr+length) in a slot, or empties it (addr NULL, length 0).
 * What was in the slot stays pinned until the last request using it is done.
 * With a tag, a completion whose user_data is that tag then tells that this
 * buffer has been unpinned.
 */
int ring_buffer_set(struct ring *ring, unsigned slot, void *addr, size_t length, uint64_t tag);

#endif
