/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Access rights that change, or only seem to. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "plans.h"

bool suits_writable(const struct kind *kind, const struct memory *memory)
{
    (void)kind;
    return memory->writable;
}

static int plan_protect(struct memory *memory, int first, int count, struct call *call, int protection)
{
    call_set(call, SYS_mprotect, (long)at(memory, first), (long)(memory->unit * (size_t)count), protection, 0, 0, 0);
    return 0;
}

int plan_protect_none(struct memory *memory, int *first, int *count, struct call *call)
{
    return plan_protect(memory, *first, *count, call, PROT_NONE);
}

int plan_protect_read(struct memory *memory, int *first, int *count, struct call *call)
{
    return plan_protect(memory, *first, *count, call, PROT_READ);
}

int plan_protect_same(struct memory *memory, int *first, int *count, struct call *call)
{
    return plan_protect(memory, *first, *count, call, memory->writable ? PROT_READ | PROT_WRITE : PROT_READ);
}

/* Before monitoring: so that plan_protect_same adds rights. */
int prepare_read_only(struct memory *memory)
{
    return mprotect(memory->base, UNITS * memory->unit, PROT_READ) ? -errno : 0;
}

int plan_protect_key(struct memory *memory, int *first, int *count, struct call *call)
{
    call_set(call, SYS_pkey_mprotect, (long)at(memory, *first), (long)(memory->unit * (size_t)*count), PROT_NONE, -1, 0, 0);
    return 0;
}
