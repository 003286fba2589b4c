/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096
#define SAMPLES 16384
#define WARM_UP 160 /* transfers, when they are counted */

struct buffer {
    char *addr;
    struct hold hold;
};

struct run {
    const struct work *work;
    const struct transport_ops *ops;
    size_t length; /* of a buffer: the size in whole pages */
    unsigned owed; /* hundredths of a fresh buffer */
    unsigned char byte; /* in the first and last place of the latest transfer */
    uint64_t started, registrations;
    struct buffer buffers[MOST_DEPTH];
};

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int failed(const char *what, int error)
{
    fprintf(stderr, "kdreg_bw: %s: %s%s\n", what, kdreg_strerror(error),
            error == -ENOMEM ? "; RLIMIT_MEMLOCK may be too small: raise it (ulimit -l), or use smaller --sizes or "
                               "--depth"
                             : "");
    return error;
}

/* A buffer as an application has it after malloc() and writing to it. */
static int buffer_map(struct run *run, struct buffer *buffer)
{
    void *addr = mmap(NULL, run->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (addr == MAP_FAILED)
        return failed("mapping a buffer", -errno);
    buffer->addr = addr;
    for (size_t offset = 0; offset < run->length; offset += PAGE)
        buffer->addr[offset] = 1;
    return 0;
}

static bool cached(enum strategy strategy)
{
    return strategy == CACHED || strategy == DEMAND;
}

/* Starts a transfer from buffer `number`. */
static int begin(struct run *run, unsigned number)
{
    const struct work *work = run->work;
    struct buffer *buffer = &run->buffers[number];
    int ret = 0;

    run->owed += 100 - work->reuse;
    if (run->owed >= 100) {
        run->owed -= 100;
        munmap(buffer->addr, run->length);
        ret = buffer_map(run, buffer);
        if (ret < 0)
            return ret;
    }
    run->byte++;
    buffer->addr[0] = buffer->addr[work->size - 1] = (char)run->byte;
    if (work->strategy == EACH) {
        ret = run->ops->reg(work->transport, buffer->addr, run->length, &buffer->hold);
        run->registrations++;
    } else if (cached(work->strategy)) {
        ret = run->ops->get(work->transport, buffer->addr, work->size, &buffer->hold);
    }
    if (ret < 0)
        return failed("registering a buffer", ret);
    run->started++;
    ret = run->ops->post(work->transport, number, &buffer->hold, buffer->addr, work->size);
    return ret < 0 ? failed("starting a transfer", ret) : 0;
}

/* Waits for a transfer to end and does what is due then. */
static int finish(struct run *run, unsigned *number)
{
    const struct work *work = run->work;
    int ret = run->ops->wait(work->transport, number);

    if (ret < 0)
        return failed("a transfer", ret);
    if (work->strategy == EACH)
        ret = run->ops->dereg(work->transport, &run->buffers[*number].hold);
    else if (cached(work->strategy))
        ret = run->ops->put(work->transport, &run->buffers[*number].hold);
    return ret < 0 ? failed("releasing a buffer", ret) : 0;
}

static bool enough(const struct run *run, uint64_t since)
{
    if (run->work->transfers)
        return run->started >= run->work->transfers;
    return now() - since >= (uint64_t)run->work->milliseconds * 1000000u;
}

/* Keeps `depth` transfers under way. */
static int stream(struct run *run, uint64_t since)
{
    unsigned under_way = 0, number;
    int ret = 0;

    while (!ret && under_way < run->work->depth && !(under_way && enough(run, since)))
        ret = begin(run, under_way++);
    while (!ret && under_way) {
        ret = finish(run, &number);
        if (!ret && !enough(run, since))
            ret = begin(run, number);
        else
            under_way--;
    }
    return ret;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* One transfer after the other, each timed. */
static int ping(struct run *run, uint64_t since, struct outcome *outcome)
{
    static uint32_t samples[SAMPLES];
    size_t count = 0;
    uint64_t before = since;
    unsigned number;
    int ret = 0;

    do {
        ret = begin(run, 0);
        if (!ret)
            ret = finish(run, &number);
        uint64_t after = now();
        samples[count++ % SAMPLES] = after - before > UINT32_MAX ? UINT32_MAX : (uint32_t)(after - before);
        before = after;
    } while (!ret && !enough(run, since));
    if (count > SAMPLES)
        count = SAMPLES; /* the latest */
    qsort(samples, count, sizeof(samples[0]), compare);
    outcome->median = samples[count / 2];
    outcome->high = samples[count - 1 - count / 100];
    return ret;
}

static int open_buffers(struct run *run)
{
    const struct work *work = run->work;
    int ret = 0;

    for (unsigned i = 0; i < work->depth && !ret; i++) {
        ret = buffer_map(run, &run->buffers[i]);
        if (!ret && work->strategy == ONCE) {
            ret = run->ops->reg(work->transport, run->buffers[i].addr, run->length, &run->buffers[i].hold);
            if (ret < 0)
                ret = failed("registering a buffer", ret);
        }
    }
    return ret;
}

static int close_buffers(struct run *run)
{
    const struct work *work = run->work;
    int ret = 0;

    for (unsigned i = 0; i < work->depth; i++) {
        if (work->strategy == ONCE && !ret)
            ret = run->ops->dereg(work->transport, &run->buffers[i].hold);
        munmap(run->buffers[i].addr, run->length);
    }
    return ret;
}

int measure(const struct work *work, struct outcome *outcome)
{
    struct run run = { .work = work, .ops = work->transport->ops,
                       .length = (work->size + PAGE - 1) & ~(size_t)(PAGE - 1) };
    struct kdreg_cache_stats before = { .size = sizeof(before) }, after = { .size = sizeof(after) };
    uint64_t since;
    int ret = open_buffers(&run);

    memset(outcome, 0, sizeof(*outcome));
    if (ret)
        return ret;
    run.ops->use(work->transport, work->strategy == DEMAND);
    /* Outside of the measurement: what is registered then stays, where it does. Long enough for
     * the cache to find out that nothing is reused, where nothing is. */
    struct work warm = *work;
    warm.transfers = work->transfers ? WARM_UP : 0;
    warm.milliseconds = work->milliseconds / 2 + 1;
    run.work = &warm;
    ret = stream(&run, now());
    run.work = work;
    run.started = run.registrations = 0;
    if (!ret)
        ret = run.ops->stats(work->transport, &before);
    if (ret)
        return ret;

    since = now();
    ret = work->depth == 1 ? ping(&run, since, outcome) : stream(&run, since);
    if (ret)
        return ret;
    outcome->nanoseconds = (double)(now() - since) / (double)run.started;
    outcome->transfers = run.started;
    ret = run.ops->stats(work->transport, &after);
    outcome->registrations = cached(work->strategy) ? after.registrations - before.registrations : run.registrations;
    outcome->hits = after.hits - before.hits;
    /* Only where one is sure to be the last: with more under way any may be. */
    if (!ret && work->depth == 1 && run.ops->arrived(work->transport, work->size, run.byte) < 0) {
        fprintf(stderr, "kdreg_bw: WRONG DATA arrived: %zu bytes, %u %% reuse, %s\n", work->size, work->reuse,
                strategy_names[work->strategy]);
        return -EILSEQ;
    }
    if (!ret)
        ret = close_buffers(&run);
    if (!ret && cached(work->strategy))
        ret = run.ops->flush(work->transport);
    return ret;
}
