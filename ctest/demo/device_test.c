/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The devices must do what the demonstration rests on: keep using the pages
 * they were told about, let go of them when told to and not before, and take
 * releases from another thread.
 */
#define _GNU_SOURCE
#include "device.h"
#include "ring.h"
#include "status.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static size_t page;

static char *page_at(char *where)
{
    int fixed = where ? MAP_FIXED : 0;
    char *addr = mmap(where, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);

    CHECK(addr != MAP_FAILED);
    return addr;
}

static size_t pinned(void)
{
    size_t bytes = 0;
    CHECK(status_bytes("VmPin", &bytes));
    return bytes;
}

/* The kernel tells of a release just before it unpins, so this may take a moment (alarm() ends it). */
static void becomes_pinned(size_t bytes)
{
    while (pinned() != bytes)
        usleep(100);
}

static void release_slot(void *ring)
{
    CHECK(ring_buffer_set(ring, 0, NULL, 0, 0) == 0);
}

static void *release_thread(void *ring)
{
    release_slot(ring);
    return NULL;
}

static void next(struct ring *ring, uint64_t *data, int *result)
{
    while (!ring_completion(ring, data, result))
        CHECK(ring_wait(ring, -1) >= 0);
}

/* A slot emptied and filled anew, by another thread, while a transfer uses what was in it. */
static void release_in_flight(void)
{
    enum { TRANSFER = 1, FIRST = 100, SECOND = 200 };
    struct ring ring;
    struct io_uring_sqe *sqe;
    pthread_t thread;
    uint64_t data;
    size_t before = pinned();
    int ends[2], result, seen = 0;
    char *first = page_at(NULL), *second = page_at(NULL);

    CHECK(ring_open(&ring, 4, 8) == 0 && ring_buffer_table(&ring, 1) == 0);
    CHECK(pipe(ends) == 0);
    CHECK(ring_buffer_set(&ring, 0, first, page, FIRST) == 0);
    CHECK(pinned() == before + page);

    sqe = ring_next_sqe(&ring);
    CHECK(sqe);
    sqe->opcode = IORING_OP_READ_FIXED;
    sqe->fd = ends[0];
    sqe->addr = (uintptr_t)first;
    sqe->len = 4;
    sqe->buf_index = 0;
    sqe->user_data = TRANSFER;
    CHECK(ring_submit(&ring, 0) == 0);

    CHECK(pthread_create(&thread, NULL, release_thread, &ring) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(ring_buffer_set(&ring, 0, second, page, SECOND) == 0);
    CHECK(ring_wait(&ring, 100) == 0 && !ring_completion(&ring, &data, &result)); /* nothing released yet */
    CHECK(pinned() == before + 2 * page);

    CHECK(write(ends[1], "data", 4) == 4);
    for (int i = 0; i < 2; i++) {
        next(&ring, &data, &result);
        CHECK(data == TRANSFER ? result == 4 : data == FIRST && result == 0);
        seen |= data == TRANSFER ? 1 : 2;
    }
    CHECK(seen == 3);
    CHECK(!memcmp(first, "data", 4) && second[0] == 0);
    becomes_pinned(before + page);

    release_slot(&ring);
    next(&ring, &data, &result);
    CHECK(data == SECOND);
    becomes_pinned(before);
    close(ends[0]);
    close(ends[1]);
    ring_close(&ring);
    munmap(first, page);
    munmap(second, page);
}

/* More releases at once than the completion queue holds. */
static void many_releases(void)
{
    enum { SLOTS = 300 };
    struct ring ring;
    uint64_t data, sum = 0;
    int result;
    char *addr = page_at(NULL);

    CHECK(ring_open(&ring, 4, 8) == 0 && ring_buffer_table(&ring, SLOTS) == 0);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        CHECK(ring_buffer_set(&ring, slot, addr, page, slot + 1) == 0);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        CHECK(ring_buffer_set(&ring, slot, NULL, 0, 0) == 0);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        next(&ring, &data, &result);
        sum += data;
    }
    CHECK(sum == (uint64_t)SLOTS * (SLOTS + 1) / 2);
    ring_close(&ring);
    munmap(addr, page);
}

static void transfer(struct device *device, void *handle, char *addr, bool to_file)
{
    struct request request = { .handle = handle, .addr = addr, .length = page, .to_file = to_file };

    CHECK(device->ops->post(device, &request) == 0);
    CHECK(device->ops->finish(device) == 0);
}

static void settled(struct device *device)
{
    uint64_t registrations;
    size_t bytes;

    CHECK(device->ops->settle(device, &registrations, &bytes) == 0);
    CHECK(registrations == 0 && bytes == 0);
}

/* The premise of it all: a registration outlives the mapping it was made from. */
static void stale(struct device *device, struct memory *memory, int file)
{
    char *addr = memory_map(memory, page), *other, in_file[1];
    void *old, *fresh;

    CHECK(addr);
    memset(addr, 'o', page);
    CHECK(device->ops->reg(device, addr, page, &old) == 0);
    CHECK(memory_unmap(memory, addr, page) == 0);
    other = memory_map(memory, page);
    if (other != addr) {
        printf("(not given the same address again: no stale transfer to look at) ");
        CHECK(device->ops->dereg(device, old) == 0);
        return;
    }
    memset(addr, 'n', page);
    transfer(device, old, addr, true);
    CHECK(pread(file, in_file, 1, 0) == 1 && in_file[0] == 'o');
    CHECK(pwrite(file, "x", 1, 0) == 1);
    transfer(device, old, addr, false);
    CHECK(addr[0] == 'n');

    CHECK(device->ops->reg(device, addr, page, &fresh) == 0);
    transfer(device, fresh, addr, false);
    CHECK(addr[0] == 'x');
    memset(addr, 'n', page);
    transfer(device, fresh, addr, true);
    CHECK(pread(file, in_file, 1, 0) == 1 && in_file[0] == 'n');

    CHECK(device->ops->dereg(device, fresh) == 0);
    CHECK(device->ops->dereg(device, old) == 0);
    settled(device);
    CHECK(memory_unmap(memory, addr, page) == 0);
}

#define HANDED 4000
#define QUEUE 64

struct queue {
    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t changed;
    void *handles[QUEUE];
    unsigned count;
    bool over;
    struct device *device;
};

static void *releaser(void *argument)
{
    struct queue *queue = argument;
    void *handle;

    for (;;) {
        pthread_mutex_lock(&queue->lock);
        while (!queue->count && !queue->over)
            pthread_cond_wait(&queue->changed, &queue->lock);
        if (!queue->count) {
            pthread_mutex_unlock(&queue->lock);
            return NULL;
        }
        handle = queue->handles[--queue->count];
        pthread_cond_signal(&queue->changed);
        pthread_mutex_unlock(&queue->lock);
        CHECK(queue->device->ops->dereg(queue->device, handle) == 0);
    }
}

/* Releases by another thread while this one registers and transfers. */
static void release_elsewhere(struct device *device, struct memory *memory)
{
    struct queue queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .device = device };
    pthread_t thread;
    char *addr = memory_map(memory, page);

    CHECK(addr && pthread_create(&thread, NULL, releaser, &queue) == 0);
    memset(addr, 'a', page);
    for (unsigned i = 0; i < HANDED; i++) {
        void *handle;
        CHECK(device->ops->reg(device, addr, page, &handle) == 0);
        transfer(device, handle, addr, i % 2);
        pthread_mutex_lock(&queue.lock);
        while (queue.count == QUEUE)
            pthread_cond_wait(&queue.changed, &queue.lock);
        queue.handles[queue.count++] = handle;
        pthread_cond_signal(&queue.changed);
        pthread_mutex_unlock(&queue.lock);
    }
    pthread_mutex_lock(&queue.lock);
    queue.over = true;
    pthread_cond_signal(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    CHECK(pthread_join(thread, NULL) == 0);
    settled(device);
    CHECK(memory_unmap(memory, addr, page) == 0);
}

/* A device full of registrations says so and is none the worse. */
static void full(struct device *device, struct memory *memory)
{
    static void *handles[DEVICE_SLOTS + 1];
    unsigned count = 0;
    char *addr = memory_map(memory, page);
    int ret;

    CHECK(addr);
    while ((ret = device->ops->reg(device, addr, page, &handles[count])) == 0)
        CHECK(++count <= DEVICE_SLOTS);
    CHECK(ret == -ENOMEM && count > 0);
    CHECK(device->ops->dereg(device, handles[--count]) == 0);
    CHECK(device->ops->reg(device, addr, page, &handles[count]) == 0);
    for (count++; count > 0; count--)
        CHECK(device->ops->dereg(device, handles[count - 1]) == 0);
    settled(device);
    CHECK(memory_unmap(memory, addr, page) == 0);
}

int main(void)
{
    alarm(360); /* a hang is a failure */
    page = (size_t)sysconf(_SC_PAGESIZE);
    for (int kind = 0; kind < PIN_KINDS; kind++) {
        struct memory memory;
        struct device *device;
        char why[256];
        FILE *file = tmpfile();

        CHECK(file && ftruncate(fileno(file), (off_t)(4 * page)) == 0);
        CHECK(memory_open(&memory, pin_kind_shared((enum pin_kind)kind), 64 * page) == 0);
        printf("%-10s", pin_kind_name((enum pin_kind)kind));
        fflush(stdout);
        if (device_open((enum pin_kind)kind, &memory, fileno(file), &device, why, sizeof(why)) < 0) {
            printf("refused: %s\n", why);
        } else {
            stale(device, &memory, fileno(file));
            release_elsewhere(device, &memory);
            full(device, &memory);
            device->ops->close(device);
            if (kind == PIN_IO_URING) {
                release_in_flight();
                many_releases();
            }
            printf("ok\n");
        }
        memory_close(&memory);
        fclose(file);
    }
    return 0;
}
