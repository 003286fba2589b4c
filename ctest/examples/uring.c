/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* io_uring: writes to a file from registered buffers, whose index the library knows or makes. The ring is tools/ring, by raw
 * system calls; with liburing the same two calls go around io_uring_prep_write_fixed(). */
#include "ring.h"

#include <errno.h>
#include <inttypes.h>
#include <kdreg.h>
#include <kdreg/uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LENGTH = 256 << 10 };

/* Writes a buffer to the beginning of a file and looks what has arrived. */
static int send_buffer(struct ring *ring, kdreg_uring_t *uring, int file, const char *buffer)
{
    static char arrived[LENGTH];
    uint64_t data;
    int written;
    int index = kdreg_uring_get(uring, buffer, LENGTH);
    struct io_uring_sqe *sqe = ring_next_sqe(ring);
    sqe->opcode = index >= 0 ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE; /* it works without, slower */
    sqe->buf_index = index >= 0 ? (uint16_t)index : 0;
    sqe->fd = file;
    sqe->addr = (uintptr_t)buffer;
    sqe->len = LENGTH;
    int error = ring_submit(ring, 1);
    if (error < 0 || !ring_completion(ring, &data, &written) || written != LENGTH) {
        fprintf(stderr, "the write failed: %d\n", error < 0 ? error : written);
        return 1;
    }
    /* Only now, when the request has completed. */
    if (index >= 0 && (error = kdreg_uring_put(uring, index))) {
        fprintf(stderr, "kdreg_uring_put: %s\n", kdreg_strerror(error));
        return 1;
    }
    printf("wrote %d KiB from %s %d\n", LENGTH >> 10, index >= 0 ? "registered buffer" : "plain memory:", index);
    return pread(file, arrived, LENGTH, 0) != LENGTH || memcmp(arrived, buffer, LENGTH);
}

int main(void)
{
    struct ring ring;
    kdreg_uring_t *uring;
    int error = ring_open(&ring, 8, 16);
    if (error) {
        printf("skipped: io_uring cannot be used here: %s\n", strerror(-error));
        return 77;
    }
    error = kdreg_uring_create(NULL, ring.fd, NULL, &uring);
    if (error) {
        printf("skipped: no registered buffers: %s\n", kdreg_strerror(error));
        return error == -EINVAL || error == -EPERM ? 77 : 1;
    }
    int file = memfd_create("example", MFD_CLOEXEC);
    char *buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (file < 0 || buffer == MAP_FAILED)
        return 1;
    for (int i = 0; i < 3; i++) {
        memset(buffer, 'a' + i, LENGTH);
        if (send_buffer(&ring, uring, file, buffer))
            return 1;
    }
    puts("other memory takes the buffer's place");
    if (mmap(buffer, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != buffer)
        return 1;
    memset(buffer, 'z', LENGTH); /* what the old registration does not show */
    if (send_buffer(&ring, uring, file, buffer)) {
        puts("wrong data arrived");
        return 1;
    }
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    if (kdreg_uring_stats(uring, &stats))
        return 1;
    printf("%" PRIu64 " hits, %" PRIu64 " registrations\n", stats.hits, stats.registrations);
    if (kdreg_uring_destroy(uring))
        return 1;
    ring_close(&ring);
    return 0;
}
