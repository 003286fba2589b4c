/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the module says of a descriptor. */
#ifndef FDINFO_H
#define FDINFO_H

#include "kt.h"

/* A line of the fdinfo of a descriptor of a process, 0 for this one; -1: there is none. */
static inline long kt_fdinfo(pid_t pid, int fd, const char *wanted)
{
    char name[64], line[128], key[64];
    long value, found = -1;

    snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", pid ? pid : getpid(), fd);
    FILE *file = fopen(name, "r");
    CHECK(file, "%s: %m", name);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63[^:]: %ld", key, &value) == 2 && !strcmp(key, wanted))
            found = value;
    fclose(file);
    return found;
}

#endif
