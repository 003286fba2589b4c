/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "workload.h"
#include "buffers.h"
#include "stamp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Other processes of this user may hold the rest of RLIMIT_MEMLOCK for a moment. */
#define ROOM_RETRY_MS 20
#define ROOM_RETRIES 250

struct transfer {
    struct request request;
    struct hold hold;
    uint64_t number;
};

struct run {
    const struct work *work;
    struct tally *tally;
    struct buffers buffers;
    void *state; /* the strategy's */
    char *scratch; /* never registered, never transferred by the device */
    uint64_t started_ns, started_processor_ns;
    char *why;
    size_t why_size;
};

static int fail(struct run *run, int error, const char *format, ...)
{
    va_list arguments;

    if (!run->why[0]) { /* the first reason is the cause */
        va_start(arguments, format);
        vsnprintf(run->why, run->why_size, format, arguments);
        va_end(arguments);
    }
    return error;
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double seconds_since(uint64_t then)
{
    return (double)(read_clock(CLOCK_MONOTONIC) - then) / 1e9;
}

static void clock_start(struct run *run)
{
    run->started_processor_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    run->started_ns = read_clock(CLOCK_MONOTONIC);
}

static void clock_stop(struct run *run)
{
    run->tally->seconds += seconds_since(run->started_ns);
    run->tally->processor += (double)(read_clock(CLOCK_PROCESS_CPUTIME_ID) - run->started_processor_ns) / 1e9;
}

/* Ordinary reads and writes: the yardstick that transfers are held to. */
static int plain_io(struct run *run, bool write, char *buffer, size_t length, off_t offset)
{
    for (size_t done = 0; done < length;) {
        ssize_t ret = write ? pwrite(run->work->file, buffer + done, length - done, offset + (off_t)done)
                            : pread(run->work->file, buffer + done, length - done, offset + (off_t)done);
        if (ret < 0 && errno == EINTR)
            continue;
        if (ret <= 0)
            return fail(run, ret < 0 ? -errno : -EIO, "%s the file: %s; name another with --file",
                        write ? "writing" : "reading", ret < 0 ? strerror(errno) : "it is shorter than before");
        done += (size_t)ret;
    }
    return 0;
}

/* Puts the data of this transfer where it is to come from. */
static int prepare(struct run *run, struct transfer *transfer)
{
    struct request *request = &transfer->request;

    transfer->number = (*run->work->next_transfer)++;
    if (request->to_file) {
        stamp_fill(request->addr, request->length, transfer->number);
        return 0;
    }
    stamp_fill(run->scratch, request->length, transfer->number);
    return plain_io(run, true, run->scratch, request->length, request->offset);
}

/* Looks whether it arrived. */
static int verify(struct run *run, struct transfer *transfer)
{
    struct request *request = &transfer->request;
    struct tally *tally = run->tally;
    struct stamp_difference difference;
    const char *arrived = request->addr;

    tally->transfers++;
    tally->bytes += request->length;
    if (request->to_file) {
        int ret = plain_io(run, false, run->scratch, request->length, request->offset);
        if (ret < 0)
            return ret;
        arrived = run->scratch;
    }
    if (stamp_check(arrived, request->length, transfer->number, &difference))
        return 0;

    *(request->to_file ? &tally->corrupted_writes : &tally->corrupted_reads) += 1;
    if (!tally->example[0] || (difference.recognised && !tally->telling)) {
        tally->telling = difference.recognised;
        char found[64] = "something else";
        if (difference.zero)
            snprintf(found, sizeof(found), "zeros");
        else if (difference.recognised)
            snprintf(found, sizeof(found), "the data of transfer %llu", (unsigned long long)difference.transfer);
        snprintf(tally->example, sizeof(tally->example), "transfer %llu %s %zu bytes %s %p; %s has %s from byte %zu on",
                 (unsigned long long)transfer->number, request->to_file ? "wrote" : "read", request->length,
                 request->to_file ? "from" : "to", (void *)request->addr, request->to_file ? "the file" : "the buffer",
                 found, difference.offset);
    }
    return 0;
}

/* Waits for what was posted and gives the registrations back. The clock runs on entry and on return. */
static int complete(struct run *run, struct transfer *transfers, unsigned count)
{
    const struct strategy *strategy = run->work->strategy;
    int ret = run->work->device->ops->finish(run->work->device);

    if (ret < 0)
        return fail(run, ret, "a transfer failed: %s%s", strerror(-ret),
                    ret == -ENOSPC || ret == -EDQUOT || ret == -EFBIG ? "; name another file with --file" : "");
    clock_stop(run);
    for (unsigned i = 0; i < count; i++) {
        int wrong = run->work->device->ops->frames(run->work->device, &transfers[i].request);
        run->tally->frames_compared += wrong >= 0;
        run->tally->frames_wrong += wrong > 0;
    }
    clock_start(run);
    uint64_t since = read_clock(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < count; i++) {
        ret = strategy->release(run->state, &transfers[i].hold);
        if (ret < 0)
            return fail(run, ret, "%s: giving a registration back failed: %s", strategy->name, strerror(-ret));
    }
    run->tally->registering += seconds_since(since);
    return 0;
}

/*
 * Registers and starts as many of these transfers as can be pinned at once,
 * and completes them; returns how many that were.
 */
static int transfer_some(struct run *run, struct transfer *transfers, unsigned count)
{
    const struct strategy *strategy = run->work->strategy;
    unsigned started = 0, retries = 0;
    int ret = 0;

    while (started < count) {
        struct transfer *transfer = &transfers[started];
        struct request *request = &transfer->request;

        uint64_t since = read_clock(CLOCK_MONOTONIC);
        ret = strategy->acquire(run->state, request->addr, request->length, &transfer->hold);
        run->tally->registering += seconds_since(since);
        if (ret == -ENOMEM && started)
            break; /* complete these first */
        if (ret == -ENOMEM && retries++ < ROOM_RETRIES) {
            struct timespec pause = { .tv_nsec = ROOM_RETRY_MS * 1000000 };
            clock_stop(run);
            nanosleep(&pause, NULL);
            clock_start(run);
            continue;
        }
        if (ret < 0)
            return fail(run, ret, "%s: registering %zu bytes failed: %s%s", strategy->name, request->length,
                        strerror(-ret),
                        ret == -ENOMEM ? "; RLIMIT_MEMLOCK (ulimit -l) is shared by all processes of this user" : "");
        request->handle = transfer->hold.handle;
        ret = run->work->device->ops->post(run->work->device, request);
        if (ret < 0)
            return fail(run, ret, "starting a transfer failed: %s", strerror(-ret));
        started++;
    }
    ret = complete(run, transfers, started);
    return ret < 0 ? ret : (int)started;
}

static int batch(struct run *run, unsigned count)
{
    const struct plan *plan = run->work->plan;
    struct transfer transfers[DEVICE_REQUESTS];
    int ret;

    clock_start(run);
    ret = buffers_turn_over(&run->buffers);
    clock_stop(run);
    if (ret < 0)
        return fail(run, ret, "allocating memory failed: %s", strerror(-ret));

    buffers_new_batch(&run->buffers);
    memset(transfers, 0, sizeof(transfers));
    for (unsigned i = 0; i < count; i++) {
        struct request *request = &transfers[i].request;
        request->addr = buffers_pick(&run->buffers, &request->length, &request->to_file);
        request->offset = (off_t)(i * 2 * plan->largest);
        ret = prepare(run, &transfers[i]);
        if (ret < 0)
            return ret;
    }
    clock_start(run);
    for (unsigned done = 0; done < count; done += (unsigned)ret) {
        ret = transfer_some(run, transfers + done, count - done);
        if (ret < 0)
            return ret;
    }
    clock_stop(run);
    for (unsigned i = 0; i < count; i++) {
        ret = verify(run, &transfers[i]);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int all_batches(struct run *run)
{
    uint64_t left = run->work->transfers;
    int ret = 0;

    while (left && !ret) {
        size_t most = run->work->plan->batch < run->buffers.count ? run->work->plan->batch : run->buffers.count;
        unsigned count = (unsigned)(left < most ? left : most);
        ret = batch(run, count);
        left -= count;
    }
    return ret;
}

static int with_strategy(struct run *run)
{
    const struct strategy *strategy = run->work->strategy;
    struct strategy_stats stats = { 0 };
    uint64_t held, before = run->work->device->registrations;
    size_t pinned;
    int ret = strategy->open(run->work->device, run->work->plan, run->work->monitor, &run->state);

    if (ret < 0)
        return fail(run, ret, "%s: opening the cache failed: %s", strategy->name, strerror(-ret));
    ret = buffers_open(&run->buffers, run->work->memory, run->work->plan, run->work->scene, run->work->seed);
    if (ret < 0)
        fail(run, ret, "allocating memory failed: %s", strerror(-ret));
    else
        ret = all_batches(run);
    run->tally->reused += run->buffers.reused;
    if (ret < 0)
        return ret; /* entries may be held: the process is about to end */
    clock_start(run);
    buffers_close(&run->buffers);
    ret = strategy->close(run->state, &stats);
    clock_stop(run);
    if (ret < 0)
        return fail(run, ret, "%s: closing the cache failed: %s", strategy->name, strerror(-ret));
    run->tally->cache.lookups += stats.lookups;
    run->tally->cache.hits += stats.hits;
    run->tally->cache.invalidations += stats.invalidations;
    run->tally->cache.evictions += stats.evictions;
    run->tally->registrations += run->work->device->registrations - before;

    ret = run->work->device->ops->settle(run->work->device, &held, &pinned);
    if (ret < 0)
        return fail(run, ret, "waiting for the kernel to unpin failed: %s", strerror(-ret));
    if (held || pinned)
        return fail(run, -EBUSY, "%s: after the last deregistration the kernel still holds %llu registrations, %zu KiB",
                    strategy->name, (unsigned long long)held, pinned >> 10);
    return 0;
}

int workload_run(const struct work *work, struct tally *tally, char *why, size_t why_size)
{
    struct run *run = calloc(1, sizeof(*run));
    int ret = -ENOMEM;

    why[0] = '\0';
    if (run)
        run->scratch = malloc(2 * work->plan->largest);
    if (run && run->scratch) {
        run->work = work;
        run->tally = tally;
        run->why = why;
        run->why_size = why_size;
        ret = with_strategy(run);
        free(run->scratch);
    } else {
        snprintf(why, why_size, "out of memory");
    }
    free(run);
    return ret;
}
