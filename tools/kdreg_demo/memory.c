/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int memory_open(struct memory *memory, bool shared, size_t size)
{
    memory->fd = -1;
    memory->page = (size_t)sysconf(_SC_PAGESIZE);
    memory->size = size;
    memory->cursor = 0;
    memory->count = 0;
    if (!shared)
        return 0;
    memory->fd = memfd_create("kdreg-demo", MFD_CLOEXEC);
    if (memory->fd < 0)
        return -errno;
    if (ftruncate(memory->fd, (off_t)size) < 0) {
        int error = -errno;
        close(memory->fd);
        return error;
    }
    return 0;
}

int memory_resize(struct memory *memory, size_t size)
{
    if (memory->fd >= 0 && (ftruncate(memory->fd, 0) < 0 || ftruncate(memory->fd, (off_t)size) < 0))
        return -errno;
    memory->size = size;
    memory->cursor = 0;
    return 0;
}

void memory_close(struct memory *memory)
{
    if (memory->fd >= 0)
        close(memory->fd);
}

static struct memory_mapping *find(const struct memory *memory, const char *addr)
{
    for (size_t i = 0; i < memory->count; i++) {
        const struct memory_mapping *mapping = &memory->mappings[i];
        if (addr >= mapping->addr && addr < mapping->addr + mapping->length)
            return (struct memory_mapping *)mapping;
    }
    return NULL;
}

/*
 * Room in the memfd, going round and round it: freed pages keep what they
 * held for as long as possible, as the frames under a stale registration do.
 */
static off_t find_room(struct memory *memory, size_t length)
{
    off_t start = memory->cursor;
    bool wrapped = false;

    for (;;) {
        bool moved = false;
        if (start + (off_t)length > (off_t)memory->size) {
            if (wrapped)
                return -1;
            wrapped = true;
            start = 0;
        }
        for (size_t i = 0; i < memory->count; i++) {
            const struct memory_mapping *other = &memory->mappings[i];
            if (start < other->offset + (off_t)other->room && other->offset < start + (off_t)length) {
                start = other->offset + (off_t)other->room;
                moved = true;
            }
        }
        if (!moved && start + (off_t)length <= (off_t)memory->size) {
            memory->cursor = start + (off_t)length;
            return start;
        }
    }
}

static size_t round_up(const struct memory *memory, size_t length)
{
    return (length + memory->page - 1) & ~(memory->page - 1);
}

void *memory_map(struct memory *memory, size_t length)
{
    if (memory->fd < 0) {
        void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return addr == MAP_FAILED ? NULL : addr;
    }

    off_t offset = find_room(memory, 2 * length); /* so that it can double in place */
    if (offset < 0 || memory->count == MEMORY_MAPPINGS) {
        errno = ENOMEM;
        return NULL;
    }
    void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, offset);
    if (addr == MAP_FAILED)
        return NULL;
    memory->mappings[memory->count++] = (struct memory_mapping){ addr, length, offset, 2 * length };
    return addr;
}

int memory_unmap(struct memory *memory, void *addr, size_t length)
{
    struct memory_mapping *mapping = memory->fd < 0 ? NULL : find(memory, addr);

    if (mapping)
        *mapping = memory->mappings[--memory->count];
    return munmap(addr, length) < 0 ? -errno : 0;
}

/* What realloc does when a block cannot be moved by remapping it. */
static void *move_by_copying(struct memory *memory, void *addr, size_t length)
{
    void *moved = memory_map(memory, 2 * length);

    if (!moved)
        return NULL;
    memcpy(moved, addr, length);
    if (memory_unmap(memory, addr, length) < 0)
        return NULL;
    return moved;
}

void *memory_double(struct memory *memory, void *addr, size_t length)
{
    struct memory_mapping *mapping = memory->fd < 0 ? NULL : find(memory, addr);
    void *moved;

    if (mapping && mapping->room < 2 * length) {
        errno = ENOMEM;
        return NULL;
    }
    moved = mremap(addr, length, 2 * length, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) /* EFAULT: to the kernel it is several mappings by now */
        return errno == EFAULT ? move_by_copying(memory, addr, length) : NULL;
    if (mapping) {
        mapping->addr = moved;
        mapping->length = 2 * length;
    }
    return moved;
}

int memory_discard(void *addr, size_t length)
{
    return madvise(addr, length, MADV_DONTNEED) < 0 ? -errno : 0;
}

void *memory_small(struct memory *memory, size_t length)
{
    return memory->fd < 0 ? malloc(length) : memory_map(memory, round_up(memory, length));
}

void memory_small_free(struct memory *memory, void *addr, size_t length)
{
    if (memory->fd < 0)
        free(addr);
    else
        memory_unmap(memory, addr, round_up(memory, length));
}

off_t memory_offset(const struct memory *memory, const char *addr)
{
    const struct memory_mapping *mapping = find(memory, addr);
    return mapping ? mapping->offset + (addr - mapping->addr) : -1;
}
