/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg_harmless: does a program behave with libkdreg as without? Calls x kinds of memory x states of the cache, a process for each cell. */
#ifndef KDREG_HARMLESS_H
#define KDREG_HARMLESS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kdreg.h>

enum { HUGE = 2 << 20, HANG_SECONDS = 120 };

/* The addresses that a cell looks at: reserved before the library is opened, so that nothing of its own comes to lie there. The memory is in
 * them, with room on both sides, and what is moved to an address of the program's choice goes to `target`. */
enum { AREA = 256 << 20, MEMORY_AT = 64 << 20, TARGET_AT = 160 << 20 };

enum kind_bit {
    ANONYMOUS = 1 << 0, THP = 1 << 1, MEMFD = 1 << 2, FILE_SHARED = 1 << 3, FILE_PRIVATE = 1 << 4, HUGETLB = 1 << 5, HEAP = 1 << 6, MALLOC = 1 << 7,
    STACK = 1 << 8, SYSV = 1 << 9,
    FILES = FILE_SHARED | FILE_PRIVATE, WITH_FD = MEMFD | FILES, IN_AREA = ANONYMOUS | THP | MEMFD | FILES | HUGETLB | SYSV,
    ANY = IN_AREA | HEAP | STACK,
};

/* The memory of one cell: `units` units from base. */
struct memory {
    unsigned kind;       /* enum kind_bit */
    char *base, *area;
    size_t page, unit;
    int units;
    int fd, shmid;       /* or -1 */
    char *block;         /* of malloc, or NULL */
    char *moved;         /* where a call of the cell put it, and how much of it; or NULL */
    size_t moved_length;
    char *extra;         /* what a call's preparation keeps for it */
};
static inline char *at(const struct memory *memory, int unit) { return memory->base + (size_t)unit * memory->unit; }
static inline size_t size_of(const struct memory *memory) { return (size_t)memory->units * memory->unit; }

struct kind {
    const char *name;
    unsigned bit;
    int (*map)(struct memory *memory);   /* 0, or a negative errno: not to be had here */
};
extern const struct kind kinds[];
extern const int kind_count;
void kinds_prepare(void);    /* once: reserves huge pages */
void kinds_release(void);    /* undoes it */
void memory_touch(const struct memory *memory);
int open_file(int flags);    /* an unlinked file, on a disk where there is one; or -1 */

/* Which part a call is made on. The library is given the second quarter, or all. */
enum part { WHOLE_OF_IT, ACROSS, INSIDE, BESIDE };
void part_of(const struct memory *memory, enum part part, char **start, size_t *length);

struct call {
    const char *name;
    unsigned kinds;
    unsigned flags;
    int value;                                                          /* an argument of `make` */
    enum part part;
    long (*make)(struct memory *memory, const struct call *call);       /* the result, or a negative errno */
    int (*prepare)(struct memory *memory, const struct call *call);     /* before the library sees the memory; NULL: nothing. Fails: not applicable */
    void (*ready)(struct memory *memory, const struct call *call);      /* right before the call, not timed; or NULL */
};
enum {
    UNTOUCHED = 1,       /* no page of the memory is there before the call */
    PLACE = 2,           /* the result is an address: enum place */
    FAULTS_COUNT = 4,    /* the call is made of page faults: more of them are a difference */
    PROCESSOR = 16,      /* not every processor can: it need not be in a table that another machine has printed */
    RESULT_ALONE = 8,    /* what it leaves lies where libc or the kernel put it: nothing that a cell could look at */
};
enum place { IN_PLACE, MOVED, AS_ASKED };
enum { MAX_CALLS = 140 };
extern const struct call *const call_tables[];   /* each ends with a call without a name; the last is NULL */

enum state {
    WITHOUT,             /* no library */
    WITHOUT_DISCARD,     /* the same, and one unit given up as for CHANGED */
    PART, WHOLE,         /* a part, or all, cached and idle */
    HELD,                /* a part, in use */
    CHANGED,             /* a part, of which one unit has been given up, and nobody has asked the library for anything since */
    REAPED,              /* the same, and the cache has been reaped, and again after a rest */
    INVALIDATED, FLUSHED, DESTROYED,   /* a part, and then kdreg_cache_invalidate, _flush, _destroy */
    STATES
};
extern const char *const state_names[STATES];
static inline enum state reference_of(enum state state) { return state == CHANGED || state == REAPED ? WITHOUT_DISCARD : WITHOUT; }

/* What a cell saw. */
enum aspect { RESULT, CONTENTS, PROTECTION, MAPPINGS, HUGE_PAGES, FAULTS, LEFT, ASPECTS };
extern const char *const aspect_names[ASPECTS];
struct seen {
    enum { FAILED, NOT_HERE, MADE } outcome;
    long value[ASPECTS];     /* RESULT: number or negative errno. CONTENTS, PROTECTION: hashes. MAPPINGS, LEFT: how many, after the call and once
                                the library is gone. HUGE_PAGES: kB */
    double seconds;
    char why[200];           /* failed, or not to be had */
};
/* With `without`, a cell that sees other mappings or huge pages looks again for `settle` milliseconds: the library's own thread lets go of memory
 * that the call changed when it comes to that. */
void cell_run(const struct kind *kind, const struct call *call, enum state state, struct seen *seen, const struct seen *without, int settle);
/* Inside a cell: what it saw, which who waits for it sees, too. */
extern struct seen *cell_seen;
struct look { long protection, mappings, huge; };
void look(const struct memory *memory, struct look *look);
long contents(const struct memory *memory);
__attribute__((format(printf, 1, 2), noreturn)) void cell_fails(const char *format, ...);
void library_begin(const struct memory *memory, enum state state);
void library_end(void);

/* What userfaultfd itself makes different, one by one. There is no other difference. */
struct exception {
    const char *call;
    unsigned kinds, states;          /* of bits; states as 1u << enum state */
    enum aspect aspect;
    long result;                     /* for RESULT */
    int reason;                      /* index of reasons */
};
extern const struct exception exceptions[];
extern const int exception_count;
extern const char *const reasons[];
extern const int reason_count;

/* All that was seen, and what was wrong with it. */
struct results {
    const struct call *calls[MAX_CALLS];
    int call_count;
    struct seen *seen;               /* [call][kind][state] */
    char kind_why[16][96];           /* why a kind is not to be had here, or empty */
    const char *backend;
    unsigned cells, unnamed, vanished, failed;
};
static inline struct seen *seen_at(const struct results *results, int call, int kind, int state)
{
    return &results->seen[((size_t)call * (size_t)kind_count + (size_t)kind) * STATES + (size_t)state];
}
/* The exception that covers this, or -1. */
int exception_for(const struct call *call, unsigned kind, enum state state, enum aspect aspect, long value);
extern int tries;   /* a difference counts when it is there in each of so many */
bool differs(const struct call *call, enum aspect aspect, const struct seen *with, const struct seen *without);
void judge_cell(struct results *results, int call, int kind, enum state state);
void judge_vanished(struct results *results);

const char *result_text(const struct call *call, long value, char text[32]);
/* The result of a call on a kind: without the library, and the exceptions. */
void result_cell(const struct results *results, int call, int kind, char *text, size_t size);
void table_print(const struct results *results);
void costs_print(void);
/* Compares names and results, and nothing else, with a table printed before. Returns how many differ; what is not to be had here is passed over. */
unsigned table_compare(const struct results *results, const char *path);

#endif
