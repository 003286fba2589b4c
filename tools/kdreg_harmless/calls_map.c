/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Mappings that come, go, grow and move. */
#include <sys/mman.h>
#include <unistd.h>

#include "calls.h"
#include "../newer/newer.h"

enum { RW = PROT_READ | PROT_WRITE };

static long unmap(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(munmap(start, length));
}

static long map_over(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return mmap(start, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == start ? IN_PLACE : -errno;
}

static long map_no_replace(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return mmap(start, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == start ? IN_PLACE : -errno;
}

static long map_neighbour(struct memory *memory, const struct call *call)
{
    (void)call;
    char *above = memory->base + size_of(memory);
    return mmap(above, size_of(memory), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == above ? IN_PLACE : -errno;
}

/* Addresses above the memory that nobody uses. */
static void clear_above(struct memory *memory, const struct call *call)
{
    (void)call;
    if (memory->kind & IN_AREA)
        munmap(memory->base + size_of(memory), size_of(memory));
}

static long resize(struct memory *memory, char *old, size_t length, size_t new_length, int flags)
{
    char *now = mremap(old, length, new_length, flags);
    if (now == MAP_FAILED)
        return -errno;
    if (now == old)
        return IN_PLACE;
    memory->moved = now;
    memory->moved_length = new_length;
    return MOVED;
}

/* value: flags. To half, or to twice the length. */
static long shrink(struct memory *memory, const struct call *call)
{
    return resize(memory, memory->base, size_of(memory), size_of(memory) / 2, call->value);
}

static long grow(struct memory *memory, const struct call *call)
{
    return resize(memory, memory->base, size_of(memory), 2 * size_of(memory), call->value);
}

static long grow_part(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return resize(memory, start, length, 2 * length, call->value);
}

static long move(struct memory *memory, const struct call *call)
{
    char *start, *target = memory->area + TARGET_AT;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED | call->value, target) == target ? AS_ASKED : -errno;
}

static long move_and_grow(struct memory *memory, const struct call *call)
{
    (void)call;
    char *target = memory->area + TARGET_AT;
    return mremap(memory->base, size_of(memory), 2 * size_of(memory), MREMAP_MAYMOVE | MREMAP_FIXED, target) == target ? AS_ASKED : -errno;
}

/* There and back again, as moving collectors do. */
static long move_twice(struct memory *memory, const struct call *call)
{
    char *start, *target = memory->area + TARGET_AT;
    size_t length;
    part_of(memory, call->part, &start, &length);
    if (mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, target) != target)
        return -errno;
    return mremap(target, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start ? AS_ASKED : -errno;
}

/* No length: another view of shared memory. */
static long duplicate(struct memory *memory, const struct call *call)
{
    (void)call;
    char *target = memory->area + TARGET_AT;
    return mremap(memory->base, 0, size_of(memory), MREMAP_MAYMOVE | MREMAP_FIXED, target) == target ? AS_ASKED : -errno;
}

static int make_source(struct memory *memory, const struct call *call)
{
    (void)call;
    char *source = memory->area + TARGET_AT;
    if (mmap(source, size_of(memory), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != source)
        return -errno;
    for (size_t offset = 0; offset < size_of(memory); offset += memory->unit)
        source[offset] = 0x77;
    return 0;
}

/* From elsewhere onto a part of it. */
static long move_onto(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return mremap(memory->area + TARGET_AT, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start ? AS_ASKED : -errno;
}

/* A neighbour that the kernel makes one mapping with it, and then both as one. */
static long extend_and_move(struct memory *memory, const struct call *call)
{
    long error = map_neighbour(memory, call);
    if (error < 0)
        return error;
    char *target = memory->area + TARGET_AT;
    return mremap(memory->base, 2 * size_of(memory), 2 * size_of(memory), MREMAP_MAYMOVE | MREMAP_FIXED, target) == target ? AS_ASKED : -errno;
}

static int protected_inside(struct memory *memory, const struct call *call)
{
    (void)call;
    char *start;
    size_t length;
    part_of(memory, INSIDE, &start, &length);
    return mprotect(start, length, PROT_READ) ? -errno : 0;
}

/* Grown bit by bit, as a reallocated array is. */
static long grow_stepwise(struct memory *memory, const struct call *call)
{
    char *here = memory->base;
    size_t length = size_of(memory);
    for (int step = 0; step < 4; step++) {
        char *next = mremap(here, length, length + memory->unit, call->value);
        if (next == MAP_FAILED)
            return -errno;
        next[length] = 0x33;
        here = next;
        length += memory->unit;
    }
    if (here == memory->base)
        return IN_PLACE;
    memory->moved = here;
    memory->moved_length = length;
    return MOVED;
}

static long remap_pages(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(syscall(SYS_remap_file_pages, start, length, 0, 0, 0));
}

const struct call calls_map[] = {
    {"munmap all", IN_AREA | STACK | HEAP, 0, 0, WHOLE_OF_IT, unmap, NULL, NULL},
    {"munmap across a border of what is cached", ANY, 0, 0, ACROSS, unmap, NULL, NULL},
    {"munmap inside what is cached", ANY, 0, 0, INSIDE, unmap, NULL, NULL},
    {"munmap beside what is cached", ANY, 0, 0, BESIDE, unmap, NULL, NULL},
    {"mmap(MAP_FIXED) over a part", ANY, PLACE, 0, ACROSS, map_over, NULL, NULL},
    {"mmap(MAP_FIXED) over all", IN_AREA, PLACE, 0, WHOLE_OF_IT, map_over, NULL, NULL},
    {"mmap(MAP_FIXED_NOREPLACE)", ANY, PLACE, 0, ACROSS, map_no_replace, NULL, NULL},
    {"mmap of a neighbour", IN_AREA, PLACE, 0, WHOLE_OF_IT, map_neighbour, NULL, NULL},
    {"mremap: shrink", IN_AREA, PLACE, 0, WHOLE_OF_IT, shrink, NULL, NULL},
    {"mremap: shrink, MAYMOVE", IN_AREA, PLACE, MREMAP_MAYMOVE, WHOLE_OF_IT, shrink, NULL, NULL},
    {"mremap: grow in place", IN_AREA, PLACE, 0, WHOLE_OF_IT, grow, NULL, clear_above},
    {"mremap: grow, MAYMOVE, room above", IN_AREA, PLACE, MREMAP_MAYMOVE, WHOLE_OF_IT, grow, NULL, clear_above},
    {"mremap: grow, MAYMOVE, no room above", IN_AREA, PLACE, MREMAP_MAYMOVE, WHOLE_OF_IT, grow, NULL, NULL},
    {"mremap: grow, no room above", IN_AREA, PLACE, 0, WHOLE_OF_IT, grow, NULL, NULL},
    {"mremap: grow a part, MAYMOVE", ANY, PLACE, MREMAP_MAYMOVE, ACROSS, grow_part, NULL, NULL},
    {"mremap: grow four times, MAYMOVE", ANONYMOUS | THP, PLACE, MREMAP_MAYMOVE, WHOLE_OF_IT, grow_stepwise, NULL, clear_above},
    /* Of huge pages not in part: Linux 6.18 loses the reservation of one each time, for good. */
    {"mremap: FIXED, all", IN_AREA | STACK | HEAP, PLACE, 0, WHOLE_OF_IT, move, NULL, NULL},
    {"mremap: FIXED, across a border", ANY & ~HUGETLB, PLACE, 0, ACROSS, move, NULL, NULL},
    {"mremap: FIXED, inside", ANY & ~HUGETLB, PLACE, 0, INSIDE, move, NULL, NULL},
    {"mremap: FIXED, beside", ANY & ~HUGETLB, PLACE, 0, BESIDE, move, NULL, NULL},
    {"mremap: FIXED and grow", IN_AREA, PLACE, 0, WHOLE_OF_IT, move_and_grow, NULL, NULL},
    {"mremap: FIXED, there and back", ANY & ~HUGETLB, PLACE, 0, ACROSS, move_twice, NULL, NULL},
    {"mremap: FIXED onto a part of it", ANY, PLACE, 0, ACROSS, move_onto, make_source, NULL},
    {"mremap: DONTUNMAP, all", IN_AREA, PLACE, MREMAP_DONTUNMAP, WHOLE_OF_IT, move, NULL, NULL},
    {"mremap: DONTUNMAP, across a border", ANY, PLACE, MREMAP_DONTUNMAP, ACROSS, move, NULL, NULL},
    {"mremap: old size 0", IN_AREA, PLACE, 0, WHOLE_OF_IT, duplicate, NULL, NULL},
    {"mmap of a neighbour, mremap of both", IN_AREA, PLACE, 0, WHOLE_OF_IT, extend_and_move, NULL, NULL},
    {"mremap of several mappings as one", IN_AREA, PLACE, 0, WHOLE_OF_IT, move, protected_inside, NULL},
    {"remap_file_pages", ANY, 0, 0, ACROSS, remap_pages, NULL, NULL},
    {0},
};
