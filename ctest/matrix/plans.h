/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How the changes of the matrix are made: what they want prepared, and the call. */
#ifndef KDREG_MATRIX_PLANS_H
#define KDREG_MATRIX_PLANS_H

#include "matrix.h"

static inline char *at(const struct memory *memory, int unit)
{
    return memory->base + (size_t)unit * memory->unit;
}

static inline void call_set(struct call *call, long number, long a0, long a1, long a2, long a3, long a4, long a5)
{
    *call = (struct call){.number = number, .args = {a0, a1, a2, a3, a4, a5}};
}

/* mappings.c */
int plan_munmap(struct memory *memory, int *first, int *count, struct call *call);
int plan_map_over(struct memory *memory, int *first, int *count, struct call *call);
int plan_map_file_over(struct memory *memory, int *first, int *count, struct call *call);
int plan_move(struct memory *memory, int *first, int *count, struct call *call);
int plan_move_keeping(struct memory *memory, int *first, int *count, struct call *call);
int plan_grow_moving(struct memory *memory, int *first, int *count, struct call *call);
int plan_shrink(struct memory *memory, int *first, int *count, struct call *call);
int plan_move_onto(struct memory *memory, int *first, int *count, struct call *call);
int plan_grow_in_place(struct memory *memory, int *first, int *count, struct call *call);
bool suits_brk(const struct kind *kind, const struct memory *memory);
int plan_brk(struct memory *memory, int *first, int *count, struct call *call);
int plan_move_pages(struct memory *memory, int *first, int *count, struct call *call);

/* pages.c */
#define ADVICES(each) \
    each(DONTNEED) each(DONTNEED_LOCKED) each(FREE) each(REMOVE) each(GUARD_INSTALL) each(PAGEOUT) \
    each(COLLAPSE) each(WILLNEED) each(COLD) each(NORMAL) each(SEQUENTIAL) each(RANDOM) \
    each(DONTFORK) each(DONTDUMP) each(NOHUGEPAGE) each(POPULATE_READ) each(POPULATE_WRITE)
#define DECLARED(name) int plan_##name(struct memory *memory, int *first, int *count, struct call *call);
ADVICES(DECLARED)
#undef DECLARED
int prepare_locked(struct memory *memory);
int plan_lock(struct memory *memory, int *first, int *count, struct call *call);
int plan_unlock(struct memory *memory, int *first, int *count, struct call *call);
bool suits_thp(const struct kind *kind, const struct memory *memory);
int prepare_small_pages(struct memory *memory);
int plan_numa_hint(struct memory *memory, int *first, int *count, struct call *call);

/* protection.c */
bool suits_writable(const struct kind *kind, const struct memory *memory);
int plan_protect_none(struct memory *memory, int *first, int *count, struct call *call);
int plan_protect_read(struct memory *memory, int *first, int *count, struct call *call);
int plan_protect_same(struct memory *memory, int *first, int *count, struct call *call);
int prepare_read_only(struct memory *memory);
int plan_protect_key(struct memory *memory, int *first, int *count, struct call *call);

/* files.c */
bool suits_descriptor(const struct kind *kind, const struct memory *memory);
bool suits_shared(const struct kind *kind, const struct memory *memory);
int prepare_clean(struct memory *memory);
int plan_truncate(struct memory *memory, int *first, int *count, struct call *call);
int plan_extend(struct memory *memory, int *first, int *count, struct call *call);
int plan_hole(struct memory *memory, int *first, int *count, struct call *call);
int plan_zero_range(struct memory *memory, int *first, int *count, struct call *call);
int plan_collapse_range(struct memory *memory, int *first, int *count, struct call *call);
bool suits_sysv(const struct kind *kind, const struct memory *memory);
int plan_shmdt(struct memory *memory, int *first, int *count, struct call *call);
int plan_attach_over(struct memory *memory, int *first, int *count, struct call *call);
int plan_remap_file_pages(struct memory *memory, int *first, int *count, struct call *call);
int plan_sync(struct memory *memory, int *first, int *count, struct call *call);

/* functions.c */
bool suits_malloc(const struct kind *kind, const struct memory *memory);
int plan_free(struct memory *memory, int *first, int *count, struct call *call);
int plan_fork(struct memory *memory, int *first, int *count, struct call *call);
int plan_fork_munmap(struct memory *memory, int *first, int *count, struct call *call);
#ifndef MATRIX_STATIC
bool suits_object(const struct kind *kind, const struct memory *memory);
int plan_dlclose(struct memory *memory, int *first, int *count, struct call *call);
#endif

#endif
