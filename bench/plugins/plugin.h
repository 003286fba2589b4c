/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A registration cache behind C functions, as the benchmark sees it: one shared
 * object per library under comparison, opened at run time. The timed loops are
 * in C, compiled against the library's own headers, so that a cache is called
 * as its users call it and nothing of the benchmark stands in between.
 */
#ifndef BENCH_PLUGIN_H
#define BENCH_PLUGIN_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_PLUGIN_VERSION 2

/* What to look up. `index` numbers the regions of one layout. */
struct bench_key {
    void *addr;
    uint32_t length;
    uint32_t index;
};

struct bench_setup {
    size_t max_entries; /* the cache's limit */
    int no_reaper;      /* leave releasing to calls of the cache, where there is a choice */
};

/*
 * Functions that return int: 0, or a negative errno. Those that a library has
 * no equivalent of are NULL. All but open and close may be called by several
 * threads at once.
 */
struct bench_plugin {
    uint32_t version;
    /* What can be opened; ended by NULL. */
    const char *const *variants;
    /* NULL, and the reason in `why`, where the variant does not work. */
    void *(*open)(const char *variant, const struct bench_setup *setup, char *why, size_t room);
    void (*close)(void *cache);
    /* Gets and puts each key; what is not cached is registered. */
    int (*hit)(void *cache, const struct bench_key *keys, size_t count);
    /* Finds and puts each key; never registers. */
    int (*find)(void *cache, const struct bench_key *keys, size_t count);
    /* Tells the cache that the range is gone. Returns how many entries that
     * hit, or 0 where the library does not say, or a negative errno. */
    int (*invalidate)(void *cache, void *addr, size_t length);
    /* Watches each key by itself, beside the cache. */
    int (*watch)(void *cache, const struct bench_key *keys, size_t count);
    /* Checks the first `count` watched keys, in turn, `times` times in all;
     * returns how many were valid. */
    size_t (*valid)(void *cache, size_t count, size_t times);
    /* From now on each registration sleeps this long. */
    void (*delay)(void *cache, uint64_t ns);
    /* How often the library called for a registration; UINT64_MAX if unknown. */
    uint64_t (*registrations)(void *cache);
    /* What is compared with libkdreg: the library's name and version. Not freed. */
    const char *(*library)(void);
};

/* The one symbol a plug-in exports. */
extern const struct bench_plugin bench_plugin __attribute__((visibility("default")));

static inline void bench_sleep(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};

    nanosleep(&t, NULL);
}

__attribute__((format(printf, 3, 4))) static inline void *
bench_refuse(char *why, size_t room, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(why, room, format, values);
    va_end(values);
    return NULL;
}

/* Defines `hit` by an inline function of one get and put. */
#define BENCH_LOOP(use_one)                                                                        \
    static int hit(void *cache, const struct bench_key *keys, size_t count)                        \
    {                                                                                              \
        for (size_t i = 0; i < count; i++) {                                                       \
            int err = use_one(cache, &keys[i]);                                                    \
            if (err)                                                                               \
                return err;                                                                        \
        }                                                                                          \
        return 0;                                                                                  \
    }

#endif
