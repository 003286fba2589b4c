/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A ring of io_uring for a test, which is skipped where there is none to be had. */
#ifndef KDREG_CTEST_URING_H
#define KDREG_CTEST_URING_H

#include <linux/io_uring.h>

#include "check.h"

static int open_ring(void)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    int ring = (int)syscall(SYS_io_uring_setup, 8, &params);
    if (ring < 0) {
        printf("skipped: io_uring cannot be used here: %s\n", strerror(errno));
        exit(CHECK_SKIPPED);
    }
    return ring;
}

#endif
