/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Changes to mappings, and the memory that they are made to. */
#ifndef DETECT_H
#define DETECT_H

#include "kt.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGES 8

extern size_t page;

/* The memory of one case: PAGES pages, all there. */
struct area {
    char *base;
    size_t length;
    int file; /* or -1 */
};

/* The changes. Each must change the page in the middle of the area and may
 * change all of it; returns 0, or an errno where this kernel has it not. */
typedef int change(struct area *a);

struct detect_case {
    const char *name;
    change *change;
    struct area (*area)(void);
    uint32_t reason;
    bool optional; /* this kernel, or this machine, may lack it */
};
extern const struct detect_case cases[];
extern const size_t case_count;

struct area anonymous(void);
struct area shared_memory(void);
void release(struct area *a);

/* The page in the middle, or the huge page, which a change changes; how large that is. */
char *middle(const struct area *a);
size_t unit(const struct area *a);

bool write_to(const char *name, const char *text);
/* Of /proc/self/pagemap. */
uint64_t page_entry(const void *address);

#endif
