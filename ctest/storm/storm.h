/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The storm: threads change mappings and look registrations up, and every lookup is held against the truth.
 *
 * The truth. A registration pins pages. Here a page's identity is a stamp, unique for ever, which is written to it before anybody can
 * register it: `register` reads the stamps through the addresses, as a network card's pin reads the page tables, and keeps them with the page's place in the file behind
 * the memory. Whoever owns an address knows the stamp that is there now; a lookup that hands out a registration of other pages is a stale hit.
 * For file memory the pages are then read through the registration, in a second mapping of the file. */
#ifndef KDREG_STORM_H
#define KDREG_STORM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../check.h"

enum { MAX_THREADS = 64, RUN = 8, HISTORY = 12 };

struct options {
    int seconds, threads;
    uint64_t seed;
    const char *backend;
    bool relaxed, evict, forks;
    bool fifo, pin;   /* the threads: SCHED_FIFO, beside others that poll; all on one processor */
};

/* worker.c: a thread of the storm, its pseudo-random numbers, and what it reports. */
struct worker {
    int index;
    uint64_t random;
    uint64_t operations, hits, misses;
    atomic_uint_fast64_t changes;
    uint64_t handovers, windows;        /* addresses taken over; of these, before the releasing call had returned */
    uint64_t stale_in_window;
    _Atomic(const char *) doing;
};
uint64_t worker_random(struct worker *worker, uint64_t below);

/* The last things that happened to a piece of memory, for the report. */
struct history {
    struct {
        double time;
        int thread;
        const char *what;
        uint64_t stamp;
    } last[HISTORY];
    unsigned next;
};
void history_add(struct history *history, const struct worker *worker, const char *what, uint64_t stamp);

/* file.c: the file whose pages are the memory, and its second mapping. */
void file_create(size_t pages);
int file_descriptor(void);
size_t file_page_size(void);
/* A run of pages nobody maps, freshly stamped; their stamps go into stamps[]. Returns the first page's number. */
size_t file_take(size_t pages, uint64_t *stamps);
/* These pages are mapped no more. */
void file_drop(const uint64_t *stamps, size_t pages);
/* Maps a fresh run; flags choose between MAP_FIXED and MAP_FIXED_NOREPLACE. NULL when the addresses are taken (stamps[] is as before). */
char *file_map_fresh(char *addr, size_t pages, int flags, uint64_t *stamps);
/* What is on the page that this stamp names, now, through the second mapping. */
uint64_t file_read_through(uint64_t stamp);
/* A stamp for a page that belongs to no file. */
uint64_t stamp_anonymous(void);
bool stamp_of_file(uint64_t stamp);

/* schedule.c: the policy and the processor of the threads, as the options say. */
bool schedule_possible(void);   /* says why not */
void schedule_worker(void);     /* by each thread, of itself */
void schedule_begin(void);      /* by the main thread, around the storm */
void schedule_end(void);
/* Whether the storm has got through what it cannot while the handler is starved. */
bool schedule_enough(void);

/* pin.c: the callbacks. */
struct pin;
extern atomic_long pins_alive;
int pin_register(void *context, void *addr, size_t length, uint32_t access, void **handle);
int pin_deregister(void *context, void *addr, size_t length, void *handle);

struct storm {
    struct options options;
    kdreg_t *monitor;
    kdreg_cache_t *cache;
    uint64_t caps;
    double started;
    atomic_bool stop;
    atomic_long stale, broken;
    struct worker workers[MAX_THREADS];
};
extern struct storm storm;

/* Looks [addr, addr + pages) up and holds what comes back against stamps[]. `window`: the releasing call may still be under way in another
 * thread, which only a strict monitor sees through. Says whether a registration came back. */
enum lookup { FIND, GET };
bool lookup(struct worker *worker, enum lookup kind, char *addr, size_t pages, const uint64_t *stamps, bool window, struct history *history);
/* The same for an entry already held: it must not count as valid after a change. */
void must_be_invalid(struct worker *worker, kdreg_entry_t *entry, char *addr, struct history *history);
/* No registration may be handed out: the range maps nothing. */
void must_miss(struct worker *worker, char *addr, size_t pages, bool window, struct history *history);
/* Holds an entry over the range (or none, when it cannot be had). */
kdreg_entry_t *hold(struct worker *worker, char *addr, size_t pages);
void let_go(struct worker *worker, kdreg_entry_t *entry);
void report(struct worker *worker, const char *what, const char *addr, uint64_t expected, uint64_t found, const struct history *history);

/* The scenarios: one step each. */
char *arena(size_t pages);                    /* reserved addresses that no other mmap strays into */
void slots_create(void);
void slots_step(struct worker *worker);       /* file memory: one writer at a time changes a slot, any thread looks it up in between */
void stations_create(void);
void stations_step(struct worker *worker);    /* an address released by one thread is taken by another at once */
void anonymous_step(struct worker *worker);   /* private memory of one thread: discards and moves */
void swathe_step(struct worker *worker);      /* hundreds of regions changed by one call */

#endif
