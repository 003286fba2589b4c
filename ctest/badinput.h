/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is wrong with input, and what it must leave as it was. */
#ifndef BADINPUT_H
#define BADINPUT_H

#include "check.h"

extern size_t page;
extern char *memory;          /* 16 mapped pages, the first 15 never touched */
extern char *hole;            /* 3 pages, the middle one not mapped */
extern int callbacks;         /* calls of good_cache's */
extern const struct kdreg_cache_attr good_cache;

/* Memory that is readable and looks like nothing of the library's. */
static _Alignas(64) unsigned char wild[4096];
#define WILD(type) ((type *)(void *)wild)
#define ODD(type, pointer) ((type *)(void *)((char *)(pointer) + 1))

/* What cannot be a range; each is wrong in its own way. */
static const struct {
    const char *what;
    uintptr_t addr;
    size_t length;
} bad_ranges[] = {
    {"kernel address", (uintptr_t)0xffff888000000000u, 4096},
    {"wraps around", UINTPTR_MAX - 4095, 8192},
    {"ends at the top", UINTPTR_MAX, 1},
    {"length of all there is", 65536, SIZE_MAX},
    {"length of nearly all there is", 65536, SIZE_MAX - 65536},
    {"length over into the kernel's half", 65536, (size_t)1 << 63},
};
enum { BAD_RANGES = sizeof bad_ranges / sizeof *bad_ranges };

/* Every call on a handle of a cache that is none: all must say `error`. */
void cache_calls_say(kdreg_cache_t *cache, kdreg_entry_t *entry, int error);

void cache_create_refuses(kdreg_t *monitor);
void lookups_refuse(kdreg_t *monitor, kdreg_cache_t *cache);
void destroy_in_callback(kdreg_t *monitor);

#endif
