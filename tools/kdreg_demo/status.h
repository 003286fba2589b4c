/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the kernel says about this process. */
#ifndef DEMO_STATUS_H
#define DEMO_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* A size from /proc/self/status in bytes, such as "VmPin" or "VmLck"; false if it is not there. */
bool status_bytes(const char *field, size_t *bytes);

/*
 * Bytes this user may pin, from RLIMIT_MEMLOCK, raised to its hard limit
 * first. SIZE_MAX: no limit, or CAP_IPC_LOCK, to which it does not apply.
 */
size_t memlock_limit(void);

#endif
