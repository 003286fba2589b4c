/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* io_uring with fixed buffers: writes to a file, in one process. */
#define _GNU_SOURCE
#include "options.h"
#include "ring.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <kdreg/uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The buffer table: registered by hand below, by libkdreg above. */
#define BY_HAND MOST_DEPTH
#define CACHED_SLOTS 1024

struct uring {
    struct transport transport;
    struct ring ring;
    kdreg_uring_t *buffers;
    int file;
    bool readable;            /* what was written can be read back */
    unsigned free[BY_HAND];   /* slots */
    unsigned free_count;
    size_t length[MOST_DEPTH]; /* of the transfer under way */
};

static struct uring *from(struct transport *transport)
{
    return (struct uring *)transport;
}

static int uring_reg(struct transport *transport, void *addr, size_t length, struct hold *hold)
{
    struct uring *uring = from(transport);
    int ret;

    if (!uring->free_count)
        return -ENOBUFS;
    hold->key = uring->free[uring->free_count - 1];
    ret = ring_buffer_set(&uring->ring, hold->key, addr, length, 0);
    if (!ret)
        uring->free_count--;
    return ret;
}

static int uring_dereg(struct transport *transport, struct hold *hold)
{
    struct uring *uring = from(transport);
    int ret = ring_buffer_set(&uring->ring, hold->key, NULL, 0, 0);

    if (!ret)
        uring->free[uring->free_count++] = hold->key;
    return ret;
}

static int uring_get(struct transport *transport, void *addr, size_t length, struct hold *hold)
{
    int index = kdreg_uring_get(from(transport)->buffers, addr, length);

    if (index < 0)
        return index;
    hold->key = (uint32_t)index;
    return 0;
}

static int uring_put(struct transport *transport, struct hold *hold)
{
    return kdreg_uring_put(from(transport)->buffers, (int)hold->key);
}

/* There is one. */
static void uring_use(struct transport *transport, bool demand)
{
    (void)transport;
    (void)demand;
}

static int uring_stats(struct transport *transport, struct kdreg_cache_stats *stats)
{
    return kdreg_uring_stats(from(transport)->buffers, stats);
}

static int uring_flush(struct transport *transport)
{
    int ret = kdreg_uring_flush(from(transport)->buffers);
    return ret < 0 ? ret : 0;
}

static int uring_post(struct transport *transport, unsigned number, const struct hold *hold, void *addr,
                      size_t length)
{
    struct uring *uring = from(transport);
    struct io_uring_sqe *sqe = ring_next_sqe(&uring->ring);

    if (!sqe)
        return -EBUSY;
    sqe->opcode = IORING_OP_WRITE_FIXED;
    sqe->fd = uring->file;
    sqe->addr = (uintptr_t)addr;
    sqe->len = (uint32_t)length;
    sqe->off = 0;
    sqe->buf_index = (uint16_t)hold->key;
    sqe->user_data = number;
    uring->length[number] = length;
    return ring_submit(&uring->ring, 0);
}

static int uring_wait(struct transport *transport, unsigned *number)
{
    struct uring *uring = from(transport);
    uint64_t data;
    int result;

    while (!ring_completion(&uring->ring, &data, &result)) {
        int ret = ring_wait(&uring->ring, -1);
        if (ret < 0)
            return ret;
    }
    *number = (unsigned)data;
    if (result < 0) {
        fprintf(stderr, "kdreg_bw: a write of %zu bytes to %s: %s\n", uring->length[data], transport->target,
                strerror(-result));
        return result;
    }
    if ((size_t)result != uring->length[data]) {
        fprintf(stderr, "kdreg_bw: %s took %d of %zu bytes: is it full?\n", transport->target, result,
                uring->length[data]);
        return -EIO;
    }
    return 0;
}

static int uring_arrived(struct transport *transport, size_t length, unsigned char byte)
{
    struct uring *uring = from(transport);
    /* A page, for a file that is read without the page cache. */
    static unsigned char page[4096] __attribute__((aligned(4096)));
    size_t last = length - 1;

    if (!uring->readable)
        return 0;
    if (pread(uring->file, page, sizeof(page), 0) <= 0 || page[0] != byte)
        return -EILSEQ;
    if (pread(uring->file, page, sizeof(page), (off_t)(last & ~(size_t)4095)) <= (ssize_t)(last & 4095) ||
        page[last & 4095] != byte)
        return -EILSEQ;
    return 0;
}

static void uring_close(struct transport *transport)
{
    struct uring *uring = from(transport);

    if (uring->buffers)
        kdreg_uring_destroy(uring->buffers);
    if (uring->ring.fd >= 0)
        ring_close(&uring->ring);
    if (uring->file >= 0)
        close(uring->file);
    free(uring);
}

static const struct transport_ops ops = {
    .reg = uring_reg, .dereg = uring_dereg, .get = uring_get, .put = uring_put, .use = uring_use,
    .stats = uring_stats, .flush = uring_flush, .post = uring_post, .wait = uring_wait, .arrived = uring_arrived, .close = uring_close,
};

static int open_file(struct uring *uring, const char *path, size_t most)
{
    struct stat status;
    bool direct = true;

    if (!path) {
        uring->file = memfd_create("kdreg_bw", MFD_CLOEXEC);
        if (uring->file < 0 || posix_fallocate(uring->file, 0, (off_t)most)) {
            fprintf(stderr, "kdreg_bw: a file of %zu MiB in memory: %s; name another one with --file\n", most >> 20,
                    strerror(errno));
            return -ENOMEM;
        }
        snprintf(uring->transport.target, sizeof(uring->transport.target), "a file in memory");
        uring->readable = true;
        return 0;
    }
    uring->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
    if (uring->file < 0 && errno == EINVAL) {
        direct = false;
        uring->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    if (uring->file < 0) {
        int error = errno;
        fprintf(stderr, "kdreg_bw: %s: %s; name a file or device that can be written with --file\n", path,
                strerror(error));
        return -error;
    }
    uring->readable = !fstat(uring->file, &status) && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
    snprintf(uring->transport.target, sizeof(uring->transport.target), "%s%s", path,
             direct && uring->readable ? ", without the page cache" : "");
    return 0;
}

/* Why io_uring does not work here, and what to do. */
static void explain(const char *call, int error)
{
    int disabled = 0;
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");

    if (file) {
        if (fscanf(file, "%d", &disabled) != 1)
            disabled = 0;
        fclose(file);
    }
    fprintf(stderr, "kdreg_bw: %s: %s: ", call, strerror(-error));
    if (disabled)
        fprintf(stderr, "kernel.io_uring_disabled is %d; sysctl kernel.io_uring_disabled=0 allows it\n", disabled);
    else if (error == -ENOMEM)
        fprintf(stderr, "RLIMIT_MEMLOCK is too small (ulimit -l); raise it\n");
    else if (error == -EINVAL || error == -ENOSYS)
        fprintf(stderr, "Linux 5.13 or newer is needed, or a seccomp filter hides io_uring\n");
    else
        fprintf(stderr, "a seccomp filter or security module refuses it; run it outside of the container\n");
}

static int open_ring(struct uring *uring, kdreg_t *monitor)
{
    struct kdreg_uring_attr attr = {
        .size = sizeof(attr), .slots = CACHED_SLOTS, .first = BY_HAND, .flags = KDREG_URING_WINDOW | KDREG_URING_NO_MERGE | KDREG_URING_BYPASS,
    };
    int ret = ring_open(&uring->ring, MOST_DEPTH, 2 * MOST_DEPTH);

    if (ret < 0) {
        uring->ring.fd = -1;
        explain("io_uring_setup", ret);
        return ret;
    }
    ret = ring_buffer_table(&uring->ring, BY_HAND + CACHED_SLOTS);
    if (ret < 0) {
        explain("IORING_REGISTER_BUFFERS2", ret);
        return ret;
    }
    ret = kdreg_uring_create(monitor, uring->ring.fd, &attr, &uring->buffers);
    if (ret < 0)
        fprintf(stderr, "kdreg_bw: kdreg_uring_create: %s\n", kdreg_strerror(ret));
    return ret;
}

int transport_uring_open(const struct options *options, kdreg_t *monitor, struct transport **transport)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    size_t most = 0;
    int ret;

    if (!uring)
        return -ENOMEM;
    uring->transport.ops = &ops;
    uring->transport.name = "io_uring";
    uring->ring.fd = uring->file = -1;
    for (unsigned slot = BY_HAND; slot > 0; slot--)
        uring->free[uring->free_count++] = slot - 1;
    for (unsigned i = 0; i < options->size_count; i++)
        if (options->sizes[i] > most)
            most = options->sizes[i];
    ret = open_ring(uring, monitor);
    if (!ret)
        ret = open_file(uring, options->file, most);
    if (ret < 0) {
        uring_close(&uring->transport);
        return ret;
    }
    *transport = &uring->transport;
    return 0;
}
