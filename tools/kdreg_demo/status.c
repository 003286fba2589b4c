/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "status.h"

#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

bool status_bytes(const char *field, size_t *bytes)
{
    FILE *file = fopen("/proc/self/status", "re");
    size_t length = strlen(field);
    char line[256];
    bool found = false;

    if (!file)
        return false;
    while (!found && fgets(line, sizeof(line), file))
        if (!strncmp(line, field, length) && line[length] == ':')
            found = sscanf(line + length + 1, "%zu kB", bytes) == 1;
    fclose(file);
    *bytes *= 1024;
    return found;
}

static bool may_lock_anything(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    memset(data, 0, sizeof(data));
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1u << CAP_IPC_LOCK));
}

size_t memlock_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return SIZE_MAX;
    if (limit.rlim_cur != limit.rlim_max) {
        struct rlimit raised = { limit.rlim_max, limit.rlim_max };
        if (setrlimit(RLIMIT_MEMLOCK, &raised) == 0)
            limit = raised;
    }
    if (limit.rlim_cur == RLIM_INFINITY || may_lock_anything())
        return SIZE_MAX;
    return (size_t)limit.rlim_cur;
}
