/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Functions that are more than one system call, or none of their own. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef MATRIX_STATIC
#include <dlfcn.h>
#endif

#include "plans.h"

bool suits_malloc(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->block != NULL;
}

static long do_free(const struct call *call)
{
    free((void *)call->args[0]);
    return 0;
}

int plan_free(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 0;
    *count = UNITS;
    call_set(call, 0, (long)memory->block, 0, 0, 0, 0, 0);
    call->function = do_free;
    return 0;
}

static long fork_and_wait(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0)
        return -errno;
    int status;
    return waitpid(child, &status, 0) == child ? 0 : -errno;
}

static long do_fork(const struct call *call)
{
    (void)call;
    return fork_and_wait();
}

int plan_fork(struct memory *memory, int *first, int *count, struct call *call)
{
    (void)memory;
    (void)first;
    (void)count;
    call_set(call, 0, 0, 0, 0, 0, 0, 0);
    call->function = do_fork;
    return 0;
}

static long do_fork_munmap(const struct call *call)
{
    long error = fork_and_wait();
    return error ? error : munmap((void *)call->args[0], (size_t)call->args[1]) ? -errno : 0;
}

int plan_fork_munmap(struct memory *memory, int *first, int *count, struct call *call)
{
    plan_munmap(memory, first, count, call);
    call->function = do_fork_munmap;
    return 0;
}

#ifndef MATRIX_STATIC
bool suits_object(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->object != NULL;
}

static long do_dlclose(const struct call *call)
{
    return dlclose((void *)call->args[0]) ? -EINVAL : 0;
}

int plan_dlclose(struct memory *memory, int *first, int *count, struct call *call)
{
    *first = 0;
    *count = UNITS;
    call_set(call, 0, (long)memory->object, 0, 0, 0, 0, 0);
    call->function = do_dlclose;
    return 0;
}
#endif
