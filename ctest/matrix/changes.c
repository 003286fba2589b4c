/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The rows of the matrix: every change to a mapping, what claims it, and how it is made. */
#include "plans.h"

const struct extent extents[] = {{"whole", 4, 4}, {"middle page", 5, 1}, {"first page", 4, 1}, {"over several", 3, 8}};
const int extent_count = (int)(sizeof extents / sizeof *extents);

const struct change changes[] = {
    {"munmap", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_munmap, 0},
    {"mmap(MAP_FIXED) anonymous over it", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_map_over, 0},
    {"mmap(MAP_FIXED) file over it", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_map_file_over, 0},
    {"mremap away", KDREG_CAP_REMAP, REASON(REMAP) | REASON(UNMAP), NULL, NULL, plan_move, 0},
    {"mremap away, MREMAP_DONTUNMAP", KDREG_CAP_REMAP, REASON(REMAP) | REASON(UNMAP), NULL, NULL, plan_move_keeping, 0},
    {"mremap grown and moved", KDREG_CAP_REMAP, REASON(REMAP) | REASON(UNMAP), NULL, NULL, plan_grow_moving, 0},
    {"mremap shrink", KDREG_CAP_UNMAP, REASON(UNMAP) | REASON(REMAP), NULL, NULL, plan_shrink, WHOLE_ONLY},
    {"mremap(MREMAP_FIXED) onto it", KDREG_CAP_UNMAP, REASON(UNMAP) | REASON(REMAP), NULL, NULL, plan_move_onto, 0},
    {"brk shrink", KDREG_CAP_UNMAP, REASON(UNMAP), suits_brk, NULL, plan_brk, WHOLE_ONLY},
    {"free() of a large block", KDREG_CAP_UNMAP, REASON(UNMAP), suits_malloc, NULL, plan_free, WHOLE_ONLY | LIBC_ONLY},
#ifndef MATRIX_STATIC
    {"dlclose", KDREG_CAP_UNMAP, REASON(UNMAP), suits_object, NULL, plan_dlclose, WHOLE_ONLY | LIBC_ONLY},
#endif
    {"fork, then munmap", KDREG_CAP_UNMAP, REASON(UNMAP), NULL, NULL, plan_fork_munmap, LIBC_ONLY | FORKS},
    {"MADV_DONTNEED", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, NULL, plan_DONTNEED, 0},
    {"MADV_DONTNEED_LOCKED of locked pages", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, prepare_locked, plan_DONTNEED_LOCKED, 0},
    {"MADV_FREE", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, NULL, plan_FREE, 0},
    {"MADV_REMOVE", KDREG_CAP_DISCARD, REASON(DISCARD), NULL, NULL, plan_REMOVE, 0},
    {"MADV_GUARD_INSTALL", KDREG_CAP_GUARD, REASON(DISCARD) | REASON(UNMAP) | REASON(PROTECT), NULL, NULL, plan_GUARD_INSTALL, 0},
    {"mprotect(PROT_NONE)", KDREG_CAP_PROTECT, REASON(PROTECT), NULL, NULL, plan_protect_none, 0},
    {"mprotect(PROT_READ)", KDREG_CAP_PROTECT, REASON(PROTECT), suits_writable, NULL, plan_protect_read, 0},
    {"pkey_mprotect(PROT_NONE)", KDREG_CAP_PROTECT, REASON(PROTECT), NULL, NULL, plan_protect_key, 0},
    {"ftruncate", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_truncate, WHOLE_ONLY},
    {"FALLOC_FL_PUNCH_HOLE", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_hole, 0},
    {"FALLOC_FL_ZERO_RANGE", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_zero_range, 0},
    {"FALLOC_FL_COLLAPSE_RANGE", KDREG_CAP_FILE, REASON(DISCARD) | REASON(UNMAP), suits_descriptor, NULL, plan_collapse_range, WHOLE_ONLY},
    {"shmdt", KDREG_CAP_SYSV, REASON(UNMAP), suits_sysv, NULL, plan_shmdt, WHOLE_ONLY},
    {"shmat(SHM_REMAP) over it", KDREG_CAP_SYSV, REASON(UNMAP), NULL, NULL, plan_attach_over, 0},
    {"remap_file_pages", KDREG_CAP_PAGES, REASON(UNMAP) | REASON(REMAP) | REASON(DISCARD), suits_shared, NULL, plan_remap_file_pages, 0},
    {"UFFDIO_MOVE away", KDREG_CAP_PAGES, REASON(UNMAP) | REASON(REMAP) | REASON(DISCARD), NULL, NULL, plan_move_pages, 0},
    {"MADV_PAGEOUT", KDREG_CAP_MIGRATE, REASON(MIGRATE) | REASON(DISCARD) | REASON(UNMAP), NULL, prepare_clean, plan_PAGEOUT, IF_PAGES_MOVED},
    {"MADV_COLLAPSE", KDREG_CAP_MIGRATE, REASON(MIGRATE) | REASON(DISCARD) | REASON(UNMAP), suits_thp, prepare_small_pages, plan_COLLAPSE, IF_PAGES_MOVED},
    {"harmless: fork", 0, 0, NULL, NULL, plan_fork, WHOLE_ONLY | LIBC_ONLY | FORKS},
    {"harmless: mprotect to what it was", 0, 0, NULL, NULL, plan_protect_same, TAKES_NOTHING},
    {"harmless: mprotect that adds rights", 0, 0, suits_writable, prepare_read_only, plan_protect_same, TAKES_NOTHING},
    {"harmless: NUMA hint", 0, 0, NULL, NULL, plan_numa_hint, WHOLE_ONLY | LIBC_ONLY | TAKES_NOTHING},
    {"harmless: MADV_WILLNEED", 0, 0, NULL, NULL, plan_WILLNEED, 0},
    {"harmless: MADV_COLD", 0, 0, NULL, NULL, plan_COLD, 0},
    {"harmless: MADV_NORMAL", 0, 0, NULL, NULL, plan_NORMAL, 0},
    {"harmless: MADV_SEQUENTIAL", 0, 0, NULL, NULL, plan_SEQUENTIAL, 0},
    {"harmless: MADV_RANDOM", 0, 0, NULL, NULL, plan_RANDOM, 0},
    {"harmless: MADV_DONTFORK", 0, 0, NULL, NULL, plan_DONTFORK, 0},
    {"harmless: MADV_DONTDUMP", 0, 0, NULL, NULL, plan_DONTDUMP, 0},
    {"harmless: MADV_NOHUGEPAGE", 0, 0, NULL, NULL, plan_NOHUGEPAGE, 0},
    {"harmless: MADV_POPULATE_READ", 0, 0, NULL, NULL, plan_POPULATE_READ, 0},
    {"harmless: MADV_POPULATE_WRITE", 0, 0, suits_writable, NULL, plan_POPULATE_WRITE, 0},
    {"harmless: mlock", 0, 0, NULL, NULL, plan_lock, 0},
    {"harmless: munlock", 0, 0, NULL, prepare_locked, plan_unlock, 0},
    {"harmless: msync(MS_INVALIDATE)", 0, 0, suits_shared, NULL, plan_sync, 0},
    {"harmless: file grows", 0, 0, suits_descriptor, NULL, plan_extend, WHOLE_ONLY},
    {"harmless: mremap grows in place", 0, 0, NULL, NULL, plan_grow_in_place, WHOLE_ONLY},
};
const int change_count = (int)(sizeof changes / sizeof *changes);
_Static_assert(sizeof changes / sizeof *changes <= MAX_CHANGES, "MAX_CHANGES is too small");
