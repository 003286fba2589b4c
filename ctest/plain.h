/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Callbacks of a cache whose device registers everything and remembers nothing. */
#ifndef KDREG_CTEST_PLAIN_H
#define KDREG_CTEST_PLAIN_H

#include <stddef.h>
#include <stdint.h>

static int plain_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)length;
    (void)access;
    *handle = addr;
    return 0;
}

static int plain_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)addr;
    (void)length;
    (void)handle;
    return 0;
}

#endif
