/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef DEMO_OPTIONS_H
#define DEMO_OPTIONS_H

#include "device.h"

#include <stdint.h>

struct options {
    uint64_t transfers; /* of each scene by each strategy in each round */
    double seconds;     /* no new round is begun after this; 0: just `rounds` */
    unsigned rounds;    /* at least */
    uint64_t seed;
    uint32_t backend;   /* KDREG_BACKEND_* */
    enum pin_kind pin;  /* PIN_KINDS: the strongest that works */
    const char *file;   /* NULL: an unnamed one in $TMPDIR */
    const char *csv;    /* NULL: none */
};

enum { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_BAD };

/* From the command line and the environment; complains on stderr. */
int options_parse(struct options *options, int argc, char **argv);

#endif
