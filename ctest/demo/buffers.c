/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "buffers.h"

#include <errno.h>
#include <string.h>

/* Out of a hundred. */
#define SHARE_POOL 45
#define SHARE_LARGE 35 /* the rest is small */
#define SHARE_WRITES 65
#define SHARE_PARTS 20    /* transfers of a part of a buffer */
#define SHARE_DOUBLED 10  /* what becomes of a used-up large buffer: mremap, */
#define SHARE_EMPTIED 10  /* MADV_DONTNEED; else it is unmapped */

#define USES_LARGE 40 /* transfers in the life of a buffer, at most */
#define USES_SMALL 12

static bool chance(struct buffers *buffers, unsigned percent)
{
    return random_below(&buffers->random, 100) < percent;
}

static int allocate(struct buffers *buffers, struct buffer *buffer)
{
    const struct plan *plan = buffers->plan;
    size_t length;

    if (buffer->kind == BUFFER_SMALL) {
        length = 64 + random_below(&buffers->random, plan->small_most - 63);
        buffer->uses_left = 1 + (unsigned)random_below(&buffers->random, USES_SMALL);
        buffer->addr = memory_small(buffers->memory, length);
    } else if (buffer->kind == BUFFER_POOL) {
        length = plan->pool_size;
        buffer->addr = memory_map(buffers->memory, length);
    } else {
        length = plan->largest >> random_below(&buffers->random, 4);
        if (length < plan->page)
            length = plan->page;
        buffer->uses_left = 1 + (unsigned)random_below(&buffers->random, USES_LARGE);
        buffer->addr = memory_map(buffers->memory, length);
    }
    if (!buffer->addr)
        return -ENOMEM;
    buffer->length = length;
    buffer->doubled = false;
    buffer->transferred = false;
    buffer->second_life = false;
    for (size_t i = 0; i < GRAVES && buffer->kind == BUFFER_LARGE; i++)
        if (buffer->addr >= buffers->graves[i].addr &&
            buffer->addr + length <= buffers->graves[i].addr + buffers->graves[i].length)
            buffer->second_life = true;
    return 0;
}

static void release(struct buffers *buffers, struct buffer *buffer)
{
    if (buffer->kind == BUFFER_SMALL) {
        memory_small_free(buffers->memory, buffer->addr, buffer->length);
    } else {
        memory_unmap(buffers->memory, buffer->addr, buffer->length);
        if (buffer->transferred) {
            buffers->graves[buffers->buried % GRAVES].addr = buffer->addr;
            buffers->graves[buffers->buried++ % GRAVES].length = buffer->length;
        }
    }
    buffer->addr = NULL;
}

int buffers_open(struct buffers *buffers, struct memory *memory, const struct plan *plan, uint64_t seed)
{
    size_t counts[] = { plan->pool_count, plan->large_count, plan->small_count };

    memset(buffers, 0, sizeof(*buffers));
    buffers->memory = memory;
    buffers->plan = plan;
    buffers->random.state = seed;
    for (int kind = BUFFER_POOL; kind <= BUFFER_SMALL; kind++) {
        for (size_t i = 0; i < counts[kind]; i++) {
            struct buffer *buffer = &buffers->buffers[buffers->count];
            buffer->kind = (enum buffer_kind)kind;
            int ret = allocate(buffers, buffer);
            if (ret < 0)
                return ret;
            buffers->count++;
        }
    }
    return 0;
}

static int turn_over_large(struct buffers *buffers, struct buffer *buffer)
{
    unsigned fate = (unsigned)random_below(&buffers->random, 100);

    if (fate < SHARE_DOUBLED && !buffer->doubled) {
        char *moved = memory_double(buffers->memory, buffer->addr, buffer->length);
        if (!moved)
            return -errno;
        buffer->addr = moved;
        buffer->length *= 2;
        buffer->doubled = true;
        buffer->transferred = false;
        buffer->second_life = false;
    } else if (fate >= SHARE_DOUBLED && fate < SHARE_DOUBLED + SHARE_EMPTIED) {
        int ret = memory_discard(buffer->addr, buffer->length);
        if (ret < 0)
            return ret;
    } else {
        release(buffers, buffer);
        return allocate(buffers, buffer);
    }
    buffer->uses_left = 1 + (unsigned)random_below(&buffers->random, USES_LARGE);
    return 0;
}

int buffers_turn_over(struct buffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++) {
        struct buffer *buffer = &buffers->buffers[i];
        int ret = 0;

        if (buffer->kind == BUFFER_POOL || buffer->uses_left)
            continue;
        if (buffer->kind == BUFFER_LARGE) {
            ret = turn_over_large(buffers, buffer);
        } else {
            release(buffers, buffer);
            ret = allocate(buffers, buffer);
        }
        if (ret < 0)
            return ret;
    }
    return 0;
}

void buffers_new_batch(struct buffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++)
        buffers->buffers[i].picked = false;
}

/* A free buffer of this kind, from a random place on; NULL when all are taken. */
static struct buffer *pick_kind(struct buffers *buffers, enum buffer_kind kind, bool any)
{
    size_t start = random_below(&buffers->random, buffers->count);

    for (size_t i = 0; i < buffers->count; i++) {
        struct buffer *buffer = &buffers->buffers[(start + i) % buffers->count];
        if (!buffer->picked && (any || buffer->kind == kind))
            return buffer;
    }
    return NULL;
}

char *buffers_pick(struct buffers *buffers, size_t *length, bool *to_file)
{
    unsigned share = (unsigned)random_below(&buffers->random, 100);
    enum buffer_kind kind = share < SHARE_POOL                 ? BUFFER_POOL
                            : share < SHARE_POOL + SHARE_LARGE ? BUFFER_LARGE
                                                               : BUFFER_SMALL;
    struct buffer *buffer = pick_kind(buffers, kind, false);
    size_t skip = 0;

    /* There are always more buffers than transfers in a batch. */
    if (!buffer)
        buffer = pick_kind(buffers, kind, true);
    buffer->picked = true;
    if (buffer->uses_left)
        buffer->uses_left--;
    *length = buffer->length;
    if (chance(buffers, SHARE_PARTS)) {
        skip = random_below(&buffers->random, buffer->length / 2);
        *length = 1 + random_below(&buffers->random, buffer->length - skip);
    }
    if (*length == buffer->length)
        buffer->transferred = true;
    buffers->reused += buffer->second_life;
    *to_file = chance(buffers, SHARE_WRITES);
    return buffer->addr + skip;
}

void buffers_close(struct buffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++)
        release(buffers, &buffers->buffers[i]);
    buffers->count = 0;
}
