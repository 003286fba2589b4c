/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef KDREG_BW_OPTIONS_H
#define KDREG_BW_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_SIZES 32
#define MOST_REUSES 32

/* Exit statuses. */
enum { EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_CANNOT_RUN = 4 };

/* DEMAND: by libkdreg, on demand. */
enum strategy { ONCE, EACH, CACHED, DEMAND, STRATEGIES };
extern const char *const strategy_names[STRATEGIES];

struct options {
    bool verbs;
    size_t sizes[MOST_SIZES];
    unsigned size_count;
    unsigned reuses[MOST_REUSES]; /* per cent */
    unsigned reuse_count;
    bool strategies[STRATEGIES];
    bool must_demand; /* on demand was asked for by name, not only as one of all */
    unsigned depth;
    unsigned milliseconds; /* per measurement */
    unsigned transfers;    /* instead, if not 0 */
    unsigned rounds;
    uint32_t backend;
    const char *file;
    bool listen;
    const char *connect; /* the server's host */
    const char *port;
    const char *device;
    int gid; /* -1: found by itself */
    const char *csv, *svg;
    bool quiet;
};

enum { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };

int options_parse(struct options *options, int argc, char **argv);
#define SIZE_TEXT 24
/* 4096 as "4 KiB", into a buffer of the caller's; returns it. */
const char *size_text(size_t size, char text[SIZE_TEXT]);

#endif
