/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What to pin with, how much of it, and how large the workload may therefore be. */
#ifndef DEMO_PLAN_H
#define DEMO_PLAN_H

#include "device.h"

#include <stddef.h>
#include <stdio.h>

struct plan {
    enum pin_kind kind;
    size_t page;
    size_t room;    /* bytes that can be pinned at once */
    size_t largest; /* of a large buffer; doubling one may exceed it once */
    size_t large_count;
    size_t pool_size, pool_count;   /* long-lived buffers */
    size_t small_most, small_count; /* bytes of the largest small buffer */
    size_t batch;       /* transfers started together */
    size_t cache_bytes; /* what a cache may keep pinned */
    size_t merge_bytes; /* the largest registration a cache may merge into */
    size_t file_size;
};

/*
 * Opens the strongest kind of device that works here (or just `forced`, when
 * that is not PIN_KINDS) and the memory that goes with it, says on `log` what
 * was refused and why, and sizes the workload. Negative when nothing works.
 * The device serves every run: a ring gives its own memory back some time
 * after it was closed, too late for a tight RLIMIT_MEMLOCK to open another.
 */
int plan_make(struct plan *plan, enum pin_kind forced, int file, struct memory *memory, struct device **device,
              FILE *log);

#endif
