/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a cell can see of its memory: mappings, protection, huge pages, contents. */
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harmless.h"

struct window { uintptr_t start, end; };
enum { WINDOWS = 3 };

/* Where the memory may be: all that was reserved, the memory itself where it is elsewhere, and where a call put it. */
static int windows_of(const struct memory *memory, struct window windows[WINDOWS])
{
    int count = 0;
    uintptr_t area = (uintptr_t)memory->area, base = (uintptr_t)memory->base, moved = (uintptr_t)memory->moved;
    windows[count++] = (struct window){area, area + AREA};
    if (base < area || base >= area + AREA)
        windows[count++] = (struct window){base, base + size_of(memory)};
    if (memory->moved && (moved < area || moved >= area + AREA))
        windows[count++] = (struct window){moved, moved + memory->moved_length};
    return count;
}

static uint64_t mixed(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* A run of addresses with the same rights, whether of one mapping or of several. */
struct run { uintptr_t start, end; char rights[5]; };

static void run_ends(uint64_t *hash, const struct run *run, uintptr_t origin)
{
    uint64_t rights = 0;
    memcpy(&rights, run->rights, 4);
    if (run->end)
        *hash = mixed(mixed(mixed(*hash, run->start - origin), run->end - origin), rights);
}

static void take_mapping(const struct window *window, uintptr_t start, uintptr_t end, const char *rights, struct run *run, uint64_t *hash)
{
    start = start < window->start ? window->start : start;
    end = end > window->end ? window->end : end;
    if (run->end == start && strcmp(run->rights, rights) == 0) {
        run->end = end;
        return;
    }
    run_ends(hash, run, window->start);
    *run = (struct run){.start = start, .end = end};
    memcpy(run->rights, rights, 5);
}

void look(const struct memory *memory, struct look *look)
{
    struct window windows[WINDOWS];
    struct run runs[WINDOWS] = {0};
    uint64_t hashes[WINDOWS] = {0};
    int count = windows_of(memory, windows);
    memset(look, 0, sizeof *look);
    FILE *file = fopen("/proc/self/smaps", "re");
    if (!file)
        cell_fails("/proc/self/smaps: %s", strerror(errno));
    char line[512];
    bool inside = false;
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        char rights[5];
        long kilobytes;
        if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) == 3) {
            inside = false;
            for (int i = 0; i < count; i++) {
                if (start >= windows[i].end || end <= windows[i].start)
                    continue;
                inside = true;
                take_mapping(&windows[i], start, end, rights, &runs[i], &hashes[i]);
            }
            look->mappings += inside;
        } else if (inside && (sscanf(line, "AnonHugePages: %ld", &kilobytes) == 1 || sscanf(line, "ShmemPmdMapped: %ld", &kilobytes) == 1 ||
                              sscanf(line, "FilePmdMapped: %ld", &kilobytes) == 1)) {
            look->huge += kilobytes;
        }
    }
    fclose(file);
    uint64_t all = (uint64_t)count;
    for (int i = 0; i < count; i++) {
        run_ends(&hashes[i], &runs[i], windows[i].start);
        all = mixed(all, hashes[i]);
    }
    look->protection = (long)(all >> 1);
}

/* Reads without being hurt where there is nothing to read. */
static uint64_t read_range(uint64_t hash, char *start, size_t length, size_t step)
{
    for (char *here = start; here < start + length; here += step) {
        uint64_t words[2] = {0xdead, 0xdead};
        struct iovec local = {words, sizeof words}, remote = {here, sizeof words};
        if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != (ssize_t)sizeof words)
            words[0] = 0xdead, words[1] = 0xdead;
        hash = mixed(mixed(hash, words[0]), words[1]);
    }
    return hash;
}

/* Of the memory and as much above it, of the target, and of where it was moved. */
long contents(const struct memory *memory)
{
    bool in_area = memory->base >= memory->area && memory->base < memory->area + AREA;
    uint64_t hash = 1;
    hash = read_range(hash, memory->base, (in_area ? 2 : 1) * size_of(memory), memory->unit);
    hash = read_range(hash, memory->area + TARGET_AT, 2 * size_of(memory), memory->unit);
    if (memory->moved)
        hash = read_range(hash, memory->moved, memory->moved_length, memory->unit);
    return (long)(hash >> 1);
}
