/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#define PRESENT (1ull << 63)
#define FRAME_MASK ((1ull << 55) - 1)
#define BATCH 64

/* The kernel may move a page between the two readings: ask again before believing a difference. */
#define ATTEMPTS 3

static int read_entries(int pagemap, const char *addr, uint64_t *entries, size_t pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    off_t where = (off_t)((uintptr_t)addr / page * sizeof(*entries));
    ssize_t got = pread(pagemap, entries, pages * sizeof(*entries), where);

    return got == (ssize_t)(pages * sizeof(*entries)) ? 0 : -EIO;
}

int frames_open(void)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    volatile char here = 1; /* a page that is certainly present */
    uint64_t entry;

    if (pagemap < 0)
        return -errno;
    (void)here;
    if (read_entries(pagemap, (const char *)&here, &entry, 1) < 0 || !(entry & FRAME_MASK)) {
        close(pagemap);
        return -EPERM;
    }
    return pagemap;
}

static int differ_once(int pagemap, const char *a, const char *b, size_t pages)
{
    uint64_t ea[BATCH], eb[BATCH];
    int different = 0;

    if (read_entries(pagemap, a, ea, pages) < 0 || read_entries(pagemap, b, eb, pages) < 0)
        return -EIO;
    for (size_t i = 0; i < pages; i++)
        if ((ea[i] & PRESENT) && (eb[i] & PRESENT))
            different += (ea[i] & FRAME_MASK) != (eb[i] & FRAME_MASK);
    return different;
}

int frames_differ(int pagemap, const char *a, const char *b, size_t pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int total = 0;

    while (pages) {
        size_t batch = pages < BATCH ? pages : BATCH;
        int different = 1;
        for (int attempt = 0; attempt < ATTEMPTS && different > 0; attempt++)
            different = differ_once(pagemap, a, b, batch);
        if (different < 0)
            return different;
        total += different;
        a += batch * page;
        b += batch * page;
        pages -= batch;
    }
    return total;
}
