/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The io_uring device: one slot of the ring's buffer table per registration. Its own are registered by hand; the rest
 * of the table is libkdreg's (strategy_kdreg.c).
 */
#define _GNU_SOURCE
#include "device.h"
#include "ring.h"
#include "slots.h"
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Tags have the top bit set; a request's user_data is its index. */
#define TAG_BIT (1ull << 63)
#define SETTLE_MS 5000
#define COMPLETIONS 64
#define RETRY_MS 2000

struct flight {
    struct request *request;
    size_t done;
    bool over;
    int error;
};

struct ring_device {
    struct device device;
    struct ring ring;
    int file;
    struct slots slots;
    /* The rest belongs to the transferring thread. */
    uint64_t released; /* registrations the kernel has told us it unpinned */
    bool pin_seen;     /* the kernel shows VmPin */
    size_t pin_before; /* VmPin when nothing was registered */
    unsigned posted;
    struct flight flights[DEVICE_REQUESTS];
};

static struct ring_device *from(struct device *device)
{
    return (struct ring_device *)device;
}

/* Takes completions: of buffers that have been unpinned, and of transfers. */
static void take_completions(struct ring_device *rd)
{
    uint64_t data;
    int result;

    while (ring_completion(&rd->ring, &data, &result)) {
        if (data & TAG_BIT) {
            rd->released++;
            continue;
        }
        struct flight *flight = &rd->flights[data];
        if (result > 0)
            flight->done += (size_t)result;
        else if (result != -EINTR && result != -EAGAIN)
            flight->error = result ? result : -EIO; /* 0: the file ended early */
        flight->over = true;
    }
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until no more than `held` registrations are pinned, or time is up. */
static int wait_released(struct ring_device *rd, uint64_t held, int64_t timeout_ms)
{
    int64_t deadline = now_ms() + timeout_ms;

    for (;;) {
        take_completions(rd);
        int64_t left = deadline - now_ms();
        if (rd->device.registrations - rd->released <= held || left <= 0)
            return 0;
        int ret = ring_wait(&rd->ring, (int)left);
        if (ret < 0)
            return ret;
    }
}

/*
 * Linux before 6.4 unpins up to a second after a slot was emptied, and counts
 * the pages until then. Waits for that; false when there is nothing to wait for.
 */
static bool await_unpinning(struct device *device, uint64_t held)
{
    struct ring_device *rd = from(device);

    take_completions(rd);
    if (rd->device.registrations - rd->released <= held)
        return false;
    wait_released(rd, held, RETRY_MS);
    return true;
}

static int ring_reg(struct device *device, void *addr, size_t length, void **handle)
{
    struct ring_device *rd = from(device);
    int slot = slots_take(&rd->slots);
    int ret;

    if (slot < 0)
        return slot;
    uint64_t tag = TAG_BIT | (device->registrations + 1);
    ret = ring_buffer_set(&rd->ring, (unsigned)slot, addr, length, tag);
    if (ret == -ENOMEM && await_unpinning(device, slots_used(&rd->slots) - 1)) /* less the one just taken */
        ret = ring_buffer_set(&rd->ring, (unsigned)slot, addr, length, tag);
    if (ret < 0) {
        slots_give(&rd->slots, (unsigned)slot);
        return ret;
    }
    device->registrations++;
    *handle = slot_handle((unsigned)slot);
    return 0;
}

static int ring_dereg(struct device *device, void *handle)
{
    struct ring_device *rd = from(device);
    unsigned slot = handle_slot(handle);
    int ret = ring_buffer_set(&rd->ring, slot, NULL, 0, 0);

    /* The slot can be used again at once: requests under way keep the buffer
     * they started with, and the kernel unpins it after the last of them. */
    if (!ret)
        slots_give(&rd->slots, slot);
    return ret;
}

static int start(struct ring_device *rd, unsigned index)
{
    struct flight *flight = &rd->flights[index];
    const struct request *request = flight->request;
    struct io_uring_sqe *sqe = ring_next_sqe(&rd->ring);

    if (!sqe)
        return -EBUSY;
    flight->over = false;
    sqe->opcode = request->to_file ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
    sqe->fd = rd->file;
    sqe->addr = (uintptr_t)(request->addr + flight->done);
    sqe->len = (uint32_t)(request->length - flight->done);
    sqe->off = (uint64_t)request->offset + flight->done;
    sqe->buf_index = (uint16_t)handle_slot(request->handle);
    sqe->user_data = index;
    return 0;
}

static int ring_post(struct device *device, struct request *request)
{
    struct ring_device *rd = from(device);

    if (rd->posted == DEVICE_REQUESTS)
        return -EBUSY;
    rd->flights[rd->posted] = (struct flight){ .request = request };
    return start(rd, rd->posted++);
}

static int ring_finish(struct device *device)
{
    struct ring_device *rd = from(device);
    unsigned waiting = rd->posted;
    int error = 0, ret;

    while (waiting) {
        ret = ring_submit(&rd->ring, waiting);
        if (ret < 0)
            return ret;
        take_completions(rd);
        waiting = 0;
        for (unsigned i = 0; i < rd->posted; i++) {
            struct flight *flight = &rd->flights[i];
            if (flight->over && !flight->error && flight->done < flight->request->length) {
                ret = start(rd, i); /* a short transfer: the rest of it */
                if (ret < 0)
                    return ret;
            }
            waiting += !flight->over;
        }
    }
    for (unsigned i = 0; i < rd->posted; i++)
        if (rd->flights[i].error)
            error = rd->flights[i].error;
    rd->posted = 0;
    return error;
}

static int ring_settle(struct device *device, uint64_t *registrations, size_t *bytes)
{
    struct ring_device *rd = from(device);
    int64_t deadline = now_ms() + SETTLE_MS;
    size_t pinned = 0;
    int ret = wait_released(rd, 0, SETTLE_MS);

    *registrations = device->registrations - rd->released;
    /* The kernel tells just before it unpins: give it the moment between. */
    for (*bytes = 0; rd->pin_seen && status_bytes("VmPin", &pinned); usleep(100)) {
        *bytes = pinned > rd->pin_before ? pinned - rd->pin_before : 0;
        if (!*bytes || now_ms() > deadline)
            break;
    }
    return ret;
}

static int ring_frames(struct device *device, const struct request *request)
{
    (void)device;
    (void)request;
    return -EOPNOTSUPP; /* the kernel does not show which frames a buffer has pinned */
}

static void ring_device_close(struct device *device)
{
    struct ring_device *rd = from(device);

    ring_close(&rd->ring);
    slots_destroy(&rd->slots);
    free(rd);
}

static void ring_window(struct device *device, struct ring_window *window)
{
    *window = (struct ring_window){ from(device)->ring.fd, DEVICE_SLOTS, WINDOW_SLOTS, TAG_BIT };
}

static const struct device_ops ring_ops = {
    .reg = ring_reg,
    .dereg = ring_dereg,
    .post = ring_post,
    .finish = ring_finish,
    .settle = ring_settle,
    .frames = ring_frames,
    .window = ring_window,
    .await_unpinning = await_unpinning,
    .close = ring_device_close,
};

static void explain(char *why, size_t size, const char *call, int error)
{
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    int disabled = 0;

    if (file) {
        if (fscanf(file, "%d", &disabled) != 1)
            disabled = 0;
        fclose(file);
    }
    if (disabled)
        snprintf(why, size, "%s: %s (kernel.io_uring_disabled is %d; 0 allows it)", call, strerror(-error),
                 disabled);
    else
        snprintf(why, size, "%s: %s%s", call, strerror(-error),
                 error == -EPERM || error == -EACCES ? " (a seccomp filter or security module refuses it)"
                 : error == -ENOSYS                  ? " (not in this kernel, or hidden by a seccomp filter)"
                 : error == -EINVAL                  ? " (needs Linux 5.13)"
                                                     : "");
}

int device_ring_open(int file, struct device **device, char *why, size_t why_size)
{
    struct ring_device *rd = calloc(1, sizeof(*rd));
    int ret;

    if (!rd) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    /* A small completion queue, for it counts against RLIMIT_MEMLOCK: what does
     * not fit, such as the release of many slots at once, waits in the kernel. */
    ret = ring_open(&rd->ring, DEVICE_REQUESTS, COMPLETIONS);
    if (ret < 0) {
        explain(why, why_size, "io_uring_setup", ret);
        free(rd);
        return ret;
    }
    ret = ring_buffer_table(&rd->ring, DEVICE_SLOTS + WINDOW_SLOTS);
    if (ret < 0) {
        explain(why, why_size, "IORING_REGISTER_BUFFERS2", ret);
        ring_close(&rd->ring);
        free(rd);
        return ret;
    }
    rd->device.ops = &ring_ops;
    rd->file = file;
    slots_init(&rd->slots);
    rd->pin_seen = status_bytes("VmPin", &rd->pin_before);
    *device = &rd->device;
    return 0;
}
