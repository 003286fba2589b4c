/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One cell: a process that maps memory, shows it to the library or does not, makes one call, and tells what it saw. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harmless.h"

static __attribute__((noreturn)) void not_here(const char *what, int error)
{
    snprintf(cell_seen->why, sizeof cell_seen->why, "%s: %s", what, strerror(-error));
    cell_seen->value[RESULT] = error;
    cell_seen->outcome = NOT_HERE;
    _exit(0);
}

static char *reserve(size_t length)
{
    char *space = mmap(NULL, length + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        not_here("addresses", -errno);
    return (char *)(((uintptr_t)space + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
}

static long faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Looks until it is as without the library, or for so many milliseconds. */
static void look_patiently(const struct memory *memory, struct look *found, const struct seen *without, int settle)
{
    for (double until = now() + settle / 1000.0;;) {
        look(memory, found);
        if (!without || now() >= until || (found->mappings == without->value[MAPPINGS] && found->protection == without->value[PROTECTION] &&
                                           found->huge == without->value[HUGE_PAGES]))
            return;
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
    }
}

static void child(const struct kind *kind, const struct call *call, enum state state, const struct seen *without, int settle)
{
    signal(SIGALRM, SIG_DFL);   /* a thread that sleeps in munmap takes no other end */
    alarm(HANG_SECONDS);
    struct memory memory = {.kind = kind->bit, .fd = -1, .shmid = -1, .page = (size_t)sysconf(_SC_PAGESIZE)};
    memory.area = reserve(AREA);
    int error = kind->map(&memory);
    if (error)
        not_here("memory", error);
    if (!(call->flags & UNTOUCHED))
        memory_touch(&memory);
    if (call->prepare && (error = call->prepare(&memory, call)))
        not_here("preparation", error);
    library_begin(&memory, state);
    if (call->ready)
        call->ready(&memory, call);
    /* What a child copies of its parent's pages at the first use is no fault of the call. */
    cell_seen->seconds = now() + (double)faults();
    errno = 0;
    long before = faults();
    double started = now();
    long result = call->make(&memory, call);
    cell_seen->seconds = now() - started;
    cell_seen->value[FAULTS] = faults() - before;
    cell_seen->value[RESULT] = result;
    struct look after = {0}, end = {0};
    bool looks = !(call->flags & RESULT_ALONE);
    if (looks)
        look_patiently(&memory, &after, without, settle);
    cell_seen->value[MAPPINGS] = after.mappings;
    cell_seen->value[PROTECTION] = after.protection;
    cell_seen->value[HUGE_PAGES] = after.huge;
    cell_seen->value[CONTENTS] = looks ? contents(&memory) : 0;
    library_end();
    if (looks)
        look(&memory, &end);
    cell_seen->value[LEFT] = end.mappings;
    cell_seen->outcome = MADE;
    _exit(0);
}

void cell_run(const struct kind *kind, const struct call *call, enum state state, struct seen *result, const struct seen *without, int settle)
{
    struct seen *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(result, 0, sizeof *result);
    if (shared == MAP_FAILED) {
        snprintf(result->why, sizeof result->why, "no memory for the result");
        return;
    }
    snprintf(shared->why, sizeof shared->why, "the cell ended without a result");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        cell_seen = shared;
        child(kind, call, state, without, settle);
        _exit(0);
    }
    int status = 0;
    pid_t reaped;
    while ((reaped = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    *result = *shared;
    munmap(shared, sizeof *shared);
    if (pid < 0 || reaped != pid) {
        result->outcome = FAILED;
        snprintf(result->why, sizeof result->why, "fork: %s", strerror(errno));
    } else if (WIFSIGNALED(status)) {
        result->outcome = FAILED;
        if (WTERMSIG(status) == SIGALRM)
            snprintf(result->why, sizeof result->why, "hung for %d seconds", HANG_SECONDS);
        else
            snprintf(result->why, sizeof result->why, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
}
