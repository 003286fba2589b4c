/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the library has been asked to do with the memory before the call is made. */
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "harmless.h"

const char *const state_names[STATES] = {
    [WITHOUT] = "without",     [WITHOUT_DISCARD] = "without, discarded", [PART] = "part cached",        [WHOLE] = "all cached", [HELD] = "in use",
    [CHANGED] = "changed",     [REAPED] = "reaped",                      [INVALIDATED] = "invalidated", [FLUSHED] = "flushed",  [DESTROYED] = "destroyed",
};

static kdreg_t *monitor;
static kdreg_cache_t *cache;
static kdreg_entry_t *entry;

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    *handle = addr;
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    return 0;
}

static void must(const char *what, int error)
{
    if (error < 0)
        cell_fails("%s: %s", what, kdreg_strerror(error));
}

/* A cell that tells nothing because the cache did not hold what it should. */
static void must_be_cached(const struct memory *memory, char *start, size_t length)
{
    uint64_t caps = kdreg_caps(monitor);
    /* Where the kernel's moving of pages is seen, an entry may go at any time. System V segments need a backend that sees shmdt. */
    if (!(caps & KDREG_CAP_UNMAP) || caps & KDREG_CAP_MIGRATE || (memory->kind == SYSV && !(caps & KDREG_CAP_SYSV)))
        return;
    kdreg_entry_t *found;
    must("kdreg_cache_find of what was just registered", kdreg_cache_find(cache, start, length, KDREG_ACCESS_READ, &found));
    must("kdreg_cache_put", kdreg_cache_put(cache, found));
}

/* What nothing is cached in any more the library lets go of at a call after a rest of 50 ms. */
static void reap_and_rest(void)
{
    /* madvise returns when its event has been read; when it has been taken in, the entry is gone. */
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    do {
        must("kdreg_cache_reap", kdreg_cache_reap(cache));
        must("kdreg_cache_stats", kdreg_cache_stats(cache, &stats));
    } while (kdreg_caps(monitor) & KDREG_CAP_DISCARD && stats.entries > 0);
    struct timespec rest = {0, 70000000};
    while (kdreg_caps(monitor) & KDREG_CAP_UNMAP && nanosleep(&rest, &rest) && errno == EINTR)
        ;
    must("kdreg_cache_reap", kdreg_cache_reap(cache));
}

void library_begin(const struct memory *memory, enum state state)
{
    char *inside, *start;
    size_t unit, length = size_of(memory) / 4;
    part_of(memory, INSIDE, &inside, &unit);
    unit = memory->unit;
    if (state == WITHOUT_DISCARD) {
        (void)madvise(inside, unit, MADV_DONTNEED);
        return;
    }
    if (state == WITHOUT)
        return;
    start = at(memory, memory->units / 4);
    if (state == WHOLE) {
        start = memory->base;
        length = size_of(memory);
    }
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister};
    /* With the library's own thread, nobody could tell when it has reaped. */
    if (state == CHANGED || state == REAPED)
        attr.flags = KDREG_CACHE_NO_REAPER;
    must("kdreg_open", kdreg_open(NULL, &monitor));
    must("kdreg_cache_create", kdreg_cache_create(monitor, &attr, &cache));
    must("kdreg_cache_get", kdreg_cache_get(cache, start, length, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry));
    if (state != HELD) {
        must("kdreg_cache_put", kdreg_cache_put(cache, entry));
        entry = NULL;
    }
    must_be_cached(memory, start, length);
    switch (state) {
    case CHANGED:
    case REAPED:
        /* Memory that a call's preparation has locked is not to be discarded. */
        if (madvise(inside, unit, MADV_DONTNEED) == 0 && state == REAPED)
            reap_and_rest();
        break;
    case INVALIDATED:
        must("kdreg_cache_invalidate", kdreg_cache_invalidate(cache, inside, memory->page));
        break;
    case FLUSHED:
        must("kdreg_cache_flush", kdreg_cache_flush(cache));
        break;
    case DESTROYED:
        library_end();
        break;
    default:
        break;
    }
}

void library_end(void)
{
    if (entry)
        must("kdreg_cache_put", kdreg_cache_put(cache, entry));
    if (cache)
        must("kdreg_cache_destroy", kdreg_cache_destroy(cache));
    if (monitor)
        must("kdreg_close", kdreg_close(monitor));
    entry = NULL;
    cache = NULL;
    monitor = NULL;
}
