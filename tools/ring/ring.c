/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The same number on every architecture; old C libraries lack the names. */
#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#define __NR_io_uring_register 427
#endif

static int sys_register(int fd, unsigned opcode, void *arg, unsigned nr_args)
{
    long ret;

    do
        ret = syscall(__NR_io_uring_register, fd, opcode, arg, nr_args);
    while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : (int)ret;
}

static void *map_ring(int fd, size_t length, off_t what)
{
    return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);
}

int ring_open(struct ring *ring, unsigned sq_entries, unsigned cq_entries)
{
    struct io_uring_params params;
    int error;

    memset(ring, 0, sizeof(*ring));
    memset(&params, 0, sizeof(params));
    params.flags = IORING_SETUP_CQSIZE;
    params.cq_entries = cq_entries;
    ring->fd = (int)syscall(__NR_io_uring_setup, sq_entries, &params);
    if (ring->fd < 0)
        return -errno;

    ring->sq_map_length = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    ring->cq_map_length = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->sqes_length = params.sq_entries * sizeof(struct io_uring_sqe);
    ring->sq_map = map_ring(ring->fd, ring->sq_map_length, IORING_OFF_SQ_RING);
    ring->cq_map = map_ring(ring->fd, ring->cq_map_length, IORING_OFF_CQ_RING);
    ring->sqes = map_ring(ring->fd, ring->sqes_length, IORING_OFF_SQES);
    if (ring->sq_map == MAP_FAILED || ring->cq_map == MAP_FAILED || ring->sqes == MAP_FAILED) {
        error = -errno;
        ring_close(ring);
        return error;
    }

    char *sq = ring->sq_map, *cq = ring->cq_map;
    ring->sq_head = (unsigned *)(sq + params.sq_off.head);
    ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
    ring->sq_flags = (unsigned *)(sq + params.sq_off.flags);
    ring->sq_array = (unsigned *)(sq + params.sq_off.array);
    ring->sq_mask = *(unsigned *)(sq + params.sq_off.ring_mask);
    ring->sq_entries = params.sq_entries;
    ring->cq_head = (unsigned *)(cq + params.cq_off.head);
    ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
    ring->cq_mask = *(unsigned *)(cq + params.cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
    return 0;
}

void ring_close(struct ring *ring)
{
    if (ring->sqes && (void *)ring->sqes != MAP_FAILED)
        munmap(ring->sqes, ring->sqes_length);
    if (ring->cq_map && ring->cq_map != MAP_FAILED)
        munmap(ring->cq_map, ring->cq_map_length);
    if (ring->sq_map && ring->sq_map != MAP_FAILED)
        munmap(ring->sq_map, ring->sq_map_length);
    close(ring->fd);
}

struct io_uring_sqe *ring_next_sqe(struct ring *ring)
{
    unsigned tail = *ring->sq_tail; /* only this thread writes it */
    /* Acquire: pairs with the kernel's release of head once it has read the entry to be reused. */
    unsigned head = __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
    unsigned index = tail & ring->sq_mask;

    if (tail - head + ring->sq_unsubmitted >= ring->sq_entries)
        return NULL;
    index = (tail + ring->sq_unsubmitted) & ring->sq_mask;
    ring->sq_array[index] = index;
    ring->sq_unsubmitted++;
    memset(&ring->sqes[index], 0, sizeof(ring->sqes[index]));
    return &ring->sqes[index];
}

static int enter(struct ring *ring, unsigned submit, unsigned wait, unsigned flags)
{
    long ret = syscall(__NR_io_uring_enter, ring->fd, submit, wait, flags, NULL, 0);
    return ret < 0 ? -errno : (int)ret;
}

int ring_submit(struct ring *ring, unsigned wait)
{
    unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;

    /* Release: the entries are written before the kernel, which acquires tail, can see them. */
    __atomic_store_n(ring->sq_tail, *ring->sq_tail + ring->sq_unsubmitted, __ATOMIC_RELEASE);
    ring->sq_unsubmitted = 0;
    for (;;) {
        unsigned pending = *ring->sq_tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
        if (!pending && !wait)
            return 0;
        int ret = enter(ring, pending, wait, flags);
        if (ret == -EINTR)
            continue;
        if (ret == -EAGAIN || ret == -EBUSY) /* short of requests for a moment: let some finish */
            ret = ring_wait(ring, 10) < 0 ? ret : 0;
        if (ret < 0)
            return ret;
        if (*ring->sq_tail == __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE))
            return 0;
    }
}

bool ring_completion(struct ring *ring, uint64_t *user_data, int *result)
{
    unsigned head = *ring->cq_head; /* only this thread writes it */

    /* Acquire: pairs with the kernel's release of tail after it wrote the entry. */
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
        /* What did not fit is kept by the kernel until it is asked for. */
        if (!(__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW))
            return false;
        enter(ring, 0, 0, IORING_ENTER_GETEVENTS);
        if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
            return false;
    }
    *user_data = ring->cqes[head & ring->cq_mask].user_data;
    *result = ring->cqes[head & ring->cq_mask].res;
    /* Release: the entry has been read before the kernel may write it again. */
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
    return true;
}

int ring_wait(struct ring *ring, int timeout_ms)
{
    struct pollfd poller = { .fd = ring->fd, .events = POLLIN };
    int ret = poll(&poller, 1, timeout_ms);

    if (ret < 0)
        return errno == EINTR ? 0 : -errno;
    return ret;
}

int ring_buffer_table(struct ring *ring, unsigned slots)
{
    /* Empty iovecs make empty slots, on every kernel that has tagged buffers. */
    struct iovec *empty = calloc(slots, sizeof(*empty));
    struct io_uring_rsrc_register table;
    int ret;

    if (!empty)
        return -ENOMEM;
    memset(&table, 0, sizeof(table));
    table.nr = slots;
    table.data = (uintptr_t)empty;
    ret = sys_register(ring->fd, IORING_REGISTER_BUFFERS2, &table, sizeof(table));
    free(empty);
    return ret;
}

int ring_buffer_set(struct ring *ring, unsigned slot, void *addr, size_t length, uint64_t tag)
{
    struct iovec vector = { .iov_base = addr, .iov_len = length };
    struct io_uring_rsrc_update2 update;

    memset(&update, 0, sizeof(update));
    update.offset = slot;
    update.nr = 1;
    update.data = (uintptr_t)&vector;
    update.tags = (uintptr_t)&tag;
    int ret = sys_register(ring->fd, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update));
    return ret < 0 ? ret : ret == 1 ? 0 : -EIO;
}
