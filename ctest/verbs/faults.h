/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How often a device asked the kernel for pages of a registration on demand. soft-RoCE has no counter for that: a probe of the kernel's
 * function counts registrations, prefetches and faults, the last of which are those in between. */
#ifndef FAULTS_H
#define FAULTS_H

#include "../check.h"

#include <fcntl.h>
#include <unistd.h>

#define FAULTS_TRACING "/sys/kernel/tracing/"
#define FAULTS_SWITCH FAULTS_TRACING "events/kprobes/kdreg_odp/enable"

static int faults_write(const char *file, const char *text, int flags)
{
    int fd = open(file, O_WRONLY | flags);
    ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));
    if (fd >= 0)
        close(fd);
    return written < 0 ? -1 : 0;
}

static void faults_end(void)
{
    faults_write(FAULTS_SWITCH, "0", 0);
    faults_write(FAULTS_TRACING "kprobe_events", "-:kdreg_odp\n", O_APPEND);
}

/* What cannot be counted is said, and is no failure. */
static void faults_begin(void)
{
    faults_end(); /* somebody's who did not come to it */
    if (faults_write(FAULTS_TRACING "kprobe_events", "p:kdreg_odp ib_umem_odp_map_dma_and_lock\n", O_APPEND) || faults_write(FAULTS_SWITCH, "1", 0))
        printf("faults are not counted: no probe of ib_umem_odp_map_dma_and_lock: %s\n", strerror(errno));
}

/* So far; -1 where they are not counted. */
static long faults_count(void)
{
    char line[256], name[64];
    long hits = -1, count;
    FILE *file = fopen(FAULTS_TRACING "kprobe_profile", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %ld", name, &count) == 2 && strcmp(name, "kdreg_odp") == 0)
            hits = count;
    if (file)
        fclose(file);
    return hits;
}

#endif
