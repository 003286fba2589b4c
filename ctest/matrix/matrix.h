/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The matrix: kinds of memory x changes to it x ways to make the call. One child process per cell. */
#ifndef KDREG_MATRIX_H
#define KDREG_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kdreg.h>

enum { UNITS = 12, REGIONS = 5, MAX_KINDS = 20, MAX_WAYS = 10, MAX_CHANGES = 80 };

/* The memory of one cell: UNITS units (a page, or a huge page) from base. */
struct memory {
    char *base;
    size_t unit;
    size_t page;    /* the system's page size */
    int fd;         /* the file behind it, or -1 */
    int shmid;      /* or -1 */
    void *object;   /* dlopen'ed object, or NULL */
    void *block;    /* malloc'ed block, or NULL */
    bool writable;
};

struct kind {
    const char *name;
    /* 0, or a negative errno with the reason why this memory is not to be had here */
    int (*map)(struct memory *memory);
    bool shared;    /* pages belong to an object that others can map too */
};
extern const struct kind kinds[];
extern const int kind_count;
/* Once, before any cell: reserves huge pages and so on. Undone by kinds_release. */
void kinds_prepare(void);
void kinds_release(void);

/* One system call, or one function for what is no system call. */
struct call {
    long number;
    long args[6];
    long (*function)(const struct call *call);   /* instead of number */
    bool follow_brk;                             /* the libc keeps the break too */
};

struct way {
    const char *name;
    bool raw_of_libc;     /* makes any system call */
    /* Returns the result or a negative errno; -ENOSYS when this way cannot make this call. Calls observe() right after it. */
    long (*make)(const struct call *call, void (*observe)(void));
    bool (*available)(void);
};
extern const struct way ways[];
extern const int way_count;
long call_raw(const struct call *call);

/* Which part a change touches. Changes that choose their own part ignore the choice. */
struct extent {
    const char *name;
    int first, count;
};
extern const struct extent extents[];
extern const int extent_count;

#define REASON(name) (1u << KDREG_REASON_##name)

struct change {
    const char *name;
    uint64_t needs;       /* capability bits that claim it; 0: a harmless change, which none need see */
    uint32_t reasons;     /* any of these may be given for it */
    bool (*suits)(const struct kind *kind, const struct memory *memory);   /* NULL: any */
    int (*prepare)(struct memory *memory);                                 /* before monitoring; NULL: nothing */
    /* Fills the call and narrows first/count to the units it touches. Returns 0 or a negative errno. */
    int (*plan)(struct memory *memory, int *first, int *count, struct call *call);
    unsigned flags;
};
enum {
    WHOLE_ONLY = 1,       /* chooses its own part: no extents */
    LIBC_ONLY = 2,        /* no system call of its own: only as a function call */
    IF_PAGES_MOVED = 4,   /* the kernel may do nothing: counts only where the physical pages differ afterwards */
    TAKES_NOTHING = 16,   /* a change of protection that the kernel backend must tell from others, but for huge pages */
    FORKS = 8,            /* a child is made on the way */
};
extern const struct change changes[];
extern const int change_count;

enum outcome {
    NOT_APPLICABLE,   /* the kernel refuses this change on this memory, or the memory is not to be had */
    DETECTED,
    UNCLAIMED,        /* not seen, and the backend's capabilities do not say it would be */
    UNCLAIMED_SEEN,   /* seen although not claimed */
    REFUSED,          /* the monitor refused the memory: nothing is cached, nothing can go stale */
    KEPT,             /* harmless, and nothing was invalidated */
    DROPPED,          /* harmless, but invalidated: costs a registration */
    FAILED,
    OUTCOMES
};

struct verdict {
    enum outcome outcome;
    int error;            /* why not applicable */
    bool moved;           /* failed, which it also would if the kernel had moved the pages at that moment */
    char why[240];        /* why failed */
};

void cell_run(uint32_t backend, const struct kind *kind, const struct change *change, const struct way *way, const struct extent *extent,
              struct verdict *verdict);

/* Counts of outcomes, for one backend. */
struct tally {
    unsigned short by_kind[MAX_CHANGES][MAX_KINDS][OUTCOMES];
    unsigned short by_way[MAX_CHANGES][MAX_WAYS][OUTCOMES];
    unsigned total[OUTCOMES];
    int kind_error[MAX_KINDS];   /* why a kind is missing on this machine, or 0 */
};
void table_print(const struct tally *tally, const char *backend, uint64_t caps, bool markdown);

#endif
