/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is done to pages: advice, locks, and what the kernel does of its own accord. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../tools/newer/newer.h"
#include "plans.h"

static int advise(struct memory *memory, int first, int count, struct call *call, int advice)
{
    call_set(call, SYS_madvise, (long)at(memory, first), (long)(memory->unit * (size_t)count), advice, 0, 0, 0);
    return 0;
}

#define ADVICE(name)                                                                                                 \
    int plan_##name(struct memory *memory, int *first, int *count, struct call *call)                                \
    {                                                                                                                \
        return advise(memory, *first, *count, call, MADV_##name);                                                    \
    }
ADVICES(ADVICE)

int prepare_locked(struct memory *memory)
{
    return mlock(at(memory, 0), UNITS * memory->unit) ? -errno : 0;
}

int plan_lock(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_mlock, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

int plan_unlock(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_munlock, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), 0, 0, 0, 0);
    return 0;
}

bool suits_thp(const struct kind *kind, const struct memory *memory)
{
    (void)memory;
    return strcmp(kind->name, "THP") == 0;
}

/* Small pages where the kernel could use a huge one, so that there is something to collapse. */
int prepare_small_pages(struct memory *memory)
{
    size_t length = UNITS * memory->unit;
    if (madvise(memory->base, length, MADV_NOHUGEPAGE) || madvise(memory->base, length, MADV_DONTNEED))
        return -errno;
    for (size_t offset = 0; offset < length; offset += memory->page)
        memory->base[offset] = 1;
    return madvise(memory->base, length, MADV_HUGEPAGE) ? -errno : 0;
}

static bool put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

/* How often NUMA balancing has been through this process's memory; -1: it does not say. */
static long numa_scans(void)
{
    FILE *file = fopen("/proc/self/sched", "re");
    char line[160];
    long scans = -1;
    while (file && scans < 0 && fgets(line, sizeof line, file))
        (void)!sscanf(line, "mm->numa_scan_seq : %ld", &scans);
    if (file)
        fclose(file);
    return scans;
}

/* Lets NUMA balancing look at who uses the memory, which nobody does meanwhile. */
static long do_numa_hint(const struct call *call)
{
    (void)call;
    if (access("/sys/devices/system/node/node1", F_OK) || !put("/proc/sys/kernel/numa_balancing", "1"))
        return -ENOSYS;
    put("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "10");
    put("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "10");
    long first = numa_scans(), scans = first;
    struct timespec used = {0, 0};
    /* It comes with a process's ticks; in vain in one that is not looked at. */
    while (first >= 0 && scans < first + 2 && used.tv_sec < 20) {
        for (volatile int i = 0; i < 1000000; i++)
            ;
        scans = numa_scans();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    }
    put("/proc/sys/kernel/numa_balancing", "0");
    return scans >= first + 2 && first >= 0 ? 0 : -ENOSYS;
}

int plan_numa_hint(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)memory;
    (void)first;
    (void)count;
    call_set(call, 0, 0, 0, 0, 0, 0, 0);
    call->function = do_numa_hint;
    return 0;
}
