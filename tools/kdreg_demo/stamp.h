/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Contents that tell where they come from: every 8-byte word holds the number
 * of the transfer it was made for and its own position, so that data which
 * turns up in the wrong place gives itself away, and says whose it is.
 */
#ifndef DEMO_STAMP_H
#define DEMO_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_LONGEST ((size_t)8 << 24) /* bytes; the position has 24 bits */

struct stamp_difference {
    size_t offset;     /* of the first word that is wrong */
    bool recognised;   /* it is the stamp of another transfer... */
    uint64_t transfer; /* ... namely this one */
    bool zero;         /* or it was never written */
};

void stamp_fill(void *buffer, size_t length, uint64_t transfer);
bool stamp_check(const void *buffer, size_t length, uint64_t transfer, struct stamp_difference *difference);

#endif
