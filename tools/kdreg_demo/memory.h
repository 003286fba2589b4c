/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The application's own memory: what it allocates, moves, discards and frees
 * without telling any registration cache.
 *
 * Private memory is what programs normally use: malloc for small buffers,
 * anonymous mmap for large ones. Shared memory maps a memfd instead, so that
 * a second mapping of the same pages can stand for a device; each allocation
 * is a mapping of its own there.
 *
 * One thread only.
 */
#ifndef DEMO_MEMORY_H
#define DEMO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MEMORY_MAPPINGS 256

struct memory_mapping {
    char *addr;
    size_t length;
    off_t offset;      /* where its pages are in the memfd */
    size_t room;       /* how much of the memfd is set aside for it */
};

struct memory {
    int fd; /* the memfd; -1 for private memory */
    size_t page, size;
    off_t cursor; /* where the next search for memfd room begins */
    size_t count;
    struct memory_mapping mappings[MEMORY_MAPPINGS];
};

int memory_open(struct memory *memory, bool shared, size_t size);
/* Forgets all contents. Nothing may be mapped. */
int memory_resize(struct memory *memory, size_t size);
void memory_close(struct memory *memory);

/* Large buffers: whole pages. NULL or a negative value on failure, errno set. */
void *memory_map(struct memory *memory, size_t length);
int memory_unmap(struct memory *memory, void *addr, size_t length);
/* To twice the length, wherever there is room: by mremap, or by copying like realloc. */
void *memory_double(struct memory *memory, void *addr, size_t length);
/* madvise(MADV_DONTNEED): contents are gone, the address stays. */
int memory_discard(void *addr, size_t length);

/* Small buffers, of any length. */
void *memory_small(struct memory *memory, size_t length);
void memory_small_free(struct memory *memory, void *addr, size_t length);

/* Shared memory: where in the memfd the page at addr lives now; -1 if it is not one of ours. */
off_t memory_offset(const struct memory *memory, const char *addr);

#endif
