/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which physical page frame an address maps: /proc/self/pagemap. */
#ifndef DEMO_FRAMES_H
#define DEMO_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

/* A descriptor for frames_differ(); negative where frames are not shown (they need CAP_SYS_ADMIN). */
int frames_open(void);
/* How many of the `pages` pages at a and b are both present and in different frames. Negative: cannot tell. */
int frames_differ(int pagemap, const char *a, const char *b, size_t pages);

#endif
