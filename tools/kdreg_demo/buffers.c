/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "buffers.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static bool chance(struct buffers *buffers, unsigned percent)
{
    return random_below(&buffers->random, 100) < percent;
}

/* How often a buffer will be used. */
static unsigned uses(struct buffers *buffers)
{
    return buffers->scene->uses ? 1 + (unsigned)random_below(&buffers->random, buffers->scene->uses) : UINT_MAX;
}

static int allocate(struct buffers *buffers, struct buffer *buffer)
{
    const struct plan *plan = buffers->plan;
    size_t length;

    if (buffer->kind == BUFFER_SMALL) {
        length = 64 + random_below(&buffers->random, plan->small_most - 63);
        buffer->addr = memory_small(buffers->memory, length);
    } else if (buffer->kind == BUFFER_POOL) {
        length = plan->pool_size;
        buffer->addr = memory_map(buffers->memory, length);
    } else {
        length = plan->largest >> random_below(&buffers->random, 4);
        if (length < plan->page)
            length = plan->page;
        buffer->addr = memory_map(buffers->memory, length);
    }
    if (!buffer->addr)
        return -ENOMEM;
    buffer->length = length;
    buffer->uses_left = uses(buffers);
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

int buffers_open(struct buffers *buffers, struct memory *memory, const struct plan *plan, const struct scene *scene,
                 uint64_t seed)
{
    const size_t counts[BUFFER_KINDS] = { plan->pool_count, plan->large_count, plan->small_count };

    memset(buffers, 0, sizeof(*buffers));
    buffers->memory = memory;
    buffers->plan = plan;
    buffers->scene = scene;
    buffers->random.state = seed;
    while (buffers->count < counts[scene->kind]) {
        struct buffer *buffer = &buffers->buffers[buffers->count];
        buffer->kind = scene->kind;
        int ret = allocate(buffers, buffer);
        if (ret < 0)
            return ret;
        buffers->count++;
    }
    return 0;
}

static int turn_over(struct buffers *buffers, struct buffer *buffer)
{
    const struct scene *scene = buffers->scene;
    unsigned fate = (unsigned)random_below(&buffers->random, 100);

    if (fate < scene->grown && !buffer->doubled) {
        char *moved = memory_double(buffers->memory, buffer->addr, buffer->length);
        if (!moved)
            return -errno;
        buffer->addr = moved;
        buffer->length *= 2;
        buffer->doubled = true;
        buffer->transferred = false;
        buffer->second_life = false;
    } else if (fate >= scene->grown && fate < scene->grown + scene->emptied) {
        int ret = memory_discard(buffer->addr, buffer->length);
        if (ret < 0)
            return ret;
    } else {
        release(buffers, buffer);
        return allocate(buffers, buffer);
    }
    buffer->uses_left = uses(buffers);
    return 0;
}

int buffers_turn_over(struct buffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++) {
        int ret = buffers->buffers[i].uses_left ? 0 : turn_over(buffers, &buffers->buffers[i]);
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

/* One that is not in this batch, from a random place on. */
static struct buffer *pick(struct buffers *buffers)
{
    size_t at = random_below(&buffers->random, buffers->count);

    while (buffers->buffers[at].picked)
        at = (at + 1) % buffers->count;
    return &buffers->buffers[at];
}

char *buffers_pick(struct buffers *buffers, size_t *length, bool *to_file)
{
    struct buffer *buffer = pick(buffers);
    size_t skip = 0;

    buffer->picked = true;
    if (buffer->uses_left && buffers->scene->uses)
        buffer->uses_left--;
    *length = buffer->length;
    if (chance(buffers, buffers->scene->parts)) {
        skip = random_below(&buffers->random, buffer->length / 2);
        *length = 1 + random_below(&buffers->random, buffer->length - skip);
    }
    if (*length == buffer->length)
        buffer->transferred = true;
    buffers->reused += buffer->second_life;
    *to_file = chance(buffers, buffers->scene->writes);
    return buffer->addr + skip;
}

void buffers_close(struct buffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++)
        release(buffers, &buffers->buffers[i]);
    buffers->count = 0;
}
