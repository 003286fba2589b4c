/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The rows of the table, one array to a file, each ended by a call without a name. */
#ifndef KDREG_HARMLESS_CALLS_H
#define KDREG_HARMLESS_CALLS_H

#include "harmless.h"

extern const struct call calls_map[], calls_advise[], calls_rights[], calls_use[], calls_watch[], calls_grow[];

/* What a system call by libc's face returned, with the error in it. */
static inline long failed_or(long result) { return result < 0 ? -errno : result; }

#endif
