/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a tenant library offers to the program that loads it. Calls return 0 or a negative errno. */
#ifndef KDREG_TENANT_H
#define KDREG_TENANT_H

#include <kdreg.h>

struct tenant {
    int (*start)(void);
    int (*use)(void *addr, size_t length);     /* register, or find registered */
    int (*knows)(void *addr, size_t length);   /* find only */
    int (*stop)(void);
    int (*balance)(void);                      /* registrations not yet released */
};

#endif
