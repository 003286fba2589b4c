/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Processes that change memory which they watch, and look at once: whether a region is still said to be valid after the call that changed it
 * has returned. What they count is shared, so that whoever made them sees how far they are, and what was wrong. */
#ifndef KDREG_BPF_WORKER_H
#define KDREG_BPF_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* All numbers grow; those who want to know what was counted in between subtract. */
struct counts {
    atomic_ulong changes;    /* calls that changed watched memory */
    atomic_ulong checks;     /* regions looked at after such a call */
    atomic_ulong undetected; /* of them, those still valid: what must not be */
    atomic_ulong certain;    /* regions that were valid just before such a call: without these the checks say nothing */
    atomic_ulong uncertain;  /* and those that were not: nothing is claimed for them */
    atomic_ulong refused;    /* regions that the backend would not watch any more */
    atomic_ulong told;       /* events that were taken */
    atomic_ulong ready;      /* processes that have opened the library */
    atomic_ulong failed;     /* calls that must not fail, and did */
};

struct plan {
    struct counts *counts;     /* shared memory: counts_make() */
    atomic_bool *stop;         /* likewise */
    unsigned threads;          /* of each process; at least 1 */
    int cpu;                   /* the one processor for all; -1: any */
    int priority;              /* 0: as usual; else real-time (SCHED_FIFO) of that priority, with pauses */
    unsigned pause;            /* microseconds that one of real-time priority sleeps at most between two changes */
    uint64_t seed;
};

/* Memory that forked children share: a counts and a stop. */
struct counts *counts_make(atomic_bool **stop);

/* A process that opens the library (the backend is what KDREG_BACKEND says) and works until stopped. Its exit status is 0 unless a call of
 * the library or the kernel failed that must not. */
pid_t worker_start(const struct plan *plan);

/* The same in this process. */
int worker_run(const struct plan *plan);

/* A process that loops in bpf(2), updating an element of a map, on that processor. Programs attached by a kprobe are not run meanwhile. It also
 * reads an integer of the kernel's, as workers of real-time priority do: what sees kernel.ftrace_enabled written to runs for each, and is
 * left out where one of them was taken off in the middle of it. */
pid_t looper_start(const struct plan *plan);

/* Such an integer: opened, and read. */
int integer_open(void);
void integer_read(int file);

/* Tells what is in counts, less what was in an earlier copy (may be NULL), on a line that begins with what. */
void counts_say(const char *what, const struct counts *counts, const struct counts *earlier);

/* A copy, to subtract later. */
void counts_copy(struct counts *to, const struct counts *from);

#endif
