/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last line that the library's log had. */
#ifndef KDREG_VERBS_SAID_H
#define KDREG_VERBS_SAID_H

#include <stdio.h>

#include <kdreg.h>

static char said[2048];

static inline void said_is(void *ctx, int level, const char *message)
{
    (void)ctx, (void)level;
    snprintf(said, sizeof said, "%s", message);
}

/* From now on, of warnings and errors. Returns 0 or a negative errno. */
static inline int said_begin(void)
{
    said[0] = 0;
    return kdreg_set_log(said_is, NULL, KDREG_LOG_WARN);
}

#endif
