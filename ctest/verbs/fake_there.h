/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the stand-in's kernel knows of memory, when its device has on-demand paging. */
#ifndef FAKE_THERE_H
#define FAKE_THERE_H

#include <stdbool.h>
#include <stddef.h>

/* What the device has of on-demand paging; NULL: nothing. */
const char *fake_odp_kind(void);
/* Whether RLIMIT_MEMLOCK lets anything be pinned at all: where it is 0 the kernel says EPERM, and not ENOMEM. */
bool fake_may_pin(void);
/* How many of a registration's bytes are pinned. */
size_t fake_pinned(size_t length, unsigned access);
/* Whether the range could be registered. */
bool fake_is_there(const void *addr, size_t length, unsigned access);

#endif
