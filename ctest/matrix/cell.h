/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the parts of a cell share: its state, and how it fails. */
#ifndef CELL_H
#define CELL_H

#include "matrix.h"

enum { EVENT_WAIT_MS = 10000, ENTRIES = 2 };

struct watched {
    int first, count;        /* units */
    const char *addr;
    size_t length;
    struct kdreg_region region;
    bool refused, touched;
    bool valid_after;        /* right after the call, in the thread that made it */
    unsigned events;
    uint32_t reason;
};

/* The child's state: one cell per process. */
struct cell {
    struct memory memory;
    kdreg_t *monitor;
    kdreg_cache_t *cache;
    struct watched watched[REGIONS];
    kdreg_entry_t *entries[ENTRIES];   /* over watched[0] and watched[4], held during the change */
    bool entry_valid_after[ENTRIES];
    uint64_t frames[UNITS];
    struct verdict *verdict;
};
extern struct cell cell;
extern const int entry_over[ENTRIES];

__attribute__((format(printf, 1, 2), noreturn)) void failed(const char *format, ...);
/* Something is invalid, or is so for another reason, that need not be where pages move. */
__attribute__((format(printf, 1, 2), noreturn)) void failed_unless_moved(const char *format, ...);

/* After the change: the events, and what the cache finds. They end the cell where they fail. */
void judge_events(const struct change *change, uint64_t caps);
void judge_cache(bool detected);

#endif
