/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Everything the demonstration prints, and what its exit status is to be. */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "plan.h"
#include "scene.h"
#include "workload.h"

#include <stdio.h>

enum { EXIT_FINE = 0, EXIT_CORRUPTED = 1, EXIT_USAGE = 2, EXIT_NOTHING_SHOWN = 3, EXIT_CANNOT_RUN = 4 };

struct report {
    FILE *csv; /* or NULL */
    unsigned rounds, ratio_room;
    double progress_at; /* when the next line about progress is due */
    /* Of each scene, and at ALL of all. */
    struct line {
        struct tally total;
        /* One for each round: times relative to no cache, and microseconds of registering a transfer. */
        double *elapsed, *processor, *registering;
    } lines[SCENES + 1][STRATEGIES];
};

enum { ALL = SCENES };

int report_open(struct report *report, const char *csv);
void report_backends(kdreg_t *monitor);
void report_plan(const struct plan *plan);
/* Takes one round's figures; now and then prints a line about how far it is. */
int report_round(struct report *report, struct tally tallies[SCENES][STRATEGIES]);
/* The table and what it means; returns the exit status. */
int report_close(struct report *report, const struct plan *plan, kdreg_t *monitor);

#endif
