/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The buffers a program of this kind has at any moment, and how they come and go. */
#ifndef DEMO_BUFFERS_H
#define DEMO_BUFFERS_H

#include "memory.h"
#include "plan.h"
#include "random.h"
#include "scene.h"

struct buffer {
    enum buffer_kind kind;
    char *addr;
    size_t length;
    unsigned uses_left; /* transfers until it is used up */
    bool doubled;       /* once only: what is set aside for it is used up */
    bool transferred;   /* as a whole, since it was allocated */
    bool second_life;   /* inside what was unmapped after such a transfer: a cache may remember it */
    bool picked;        /* in the batch being put together: no buffer is in two transfers at once */
};

#define BUFFERS_MOST 64
#define GRAVES 64

struct buffers {
    struct memory *memory;
    const struct plan *plan;
    const struct scene *scene;
    struct random random;
    size_t count;
    struct buffer buffers[BUFFERS_MOST];
    /* The last large ranges that were transferred, then unmapped, to see their addresses come back. */
    struct {
        char *addr;
        size_t length;
    } graves[GRAVES];
    size_t buried;
    uint64_t reused; /* transfers of a buffer in its second life */
};

int buffers_open(struct buffers *buffers, struct memory *memory, const struct plan *plan, const struct scene *scene,
                 uint64_t seed);
/* Frees, moves or empties what has been used up, and allocates what takes its place. */
int buffers_turn_over(struct buffers *buffers);
void buffers_new_batch(struct buffers *buffers);
/* The next range to transfer, and which way; as often in a batch as there are buffers. */
char *buffers_pick(struct buffers *buffers, size_t *length, bool *to_file);
void buffers_close(struct buffers *buffers);

#endif
