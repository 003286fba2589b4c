/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The one call that a program needs to have libfabric use libkdreg; nothing without -DIMPORT. */
#ifndef KDREG_TEST_MONITOR_H
#define KDREG_TEST_MONITOR_H

#ifdef IMPORT
#include <kdreg.h>
#include <kdreg/fabric.h>
#include <stdio.h>
#include <stdlib.h>

typedef kdreg_fabric_t *monitor_t;

static inline monitor_t monitor_import(void)
{
    kdreg_fabric_t *import;
    int error = kdreg_fabric_import(NULL, &import);
    if (error) {
        fprintf(stderr, "kdreg_fabric_import: %s\n", kdreg_strerror(error));
        exit(1);
    }
    return import;
}

/* To be called while a domain is open. */
static inline void monitor_check(monitor_t import, const char *who)
{
    struct kdreg_fabric_stats stats = { .size = sizeof stats };
    int error = kdreg_fabric_stats(import, &stats);
    if (error || stats.starts != 1 || stats.subscriptions == 0) {
        fprintf(stderr, "%s: the import was not used: error %d, starts %lu, subscriptions %lu\n", who, error,
                (unsigned long)stats.starts, (unsigned long)stats.subscriptions);
        exit(1);
    }
    printf("%s: imported monitor: registrations %lu, hits %lu, stale %lu, dropped %lu, unwatched %lu\n", who,
           (unsigned long)stats.subscriptions, (unsigned long)stats.hits, (unsigned long)stats.stale,
           (unsigned long)stats.notifications, (unsigned long)stats.unwatched);
    error = kdreg_fabric_release(import);
    if (error != -16 /* EBUSY */) {
        fprintf(stderr, "%s: a release while a domain is open returned %d, not -EBUSY\n", who, error);
        exit(1);
    }
}

/* To be called once every domain is closed. */
static inline void monitor_release(monitor_t import)
{
    int error = kdreg_fabric_release(import);
    if (error) {
        fprintf(stderr, "kdreg_fabric_release: %s\n", kdreg_strerror(error));
        exit(1);
    }
}
#else
typedef int monitor_t;
static inline monitor_t monitor_import(void)
{
    return 0;
}
static inline void monitor_check(monitor_t import, const char *who)
{
    (void)import, (void)who;
}
static inline void monitor_release(monitor_t import)
{
    (void)import;
}
#endif
#endif
