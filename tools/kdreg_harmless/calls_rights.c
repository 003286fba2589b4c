/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rights, locks, memory policy and names of mappings. */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "calls.h"
#include "../newer/newer.h"

enum { RW = PROT_READ | PROT_WRITE };

/* value: the rights. */
static long protect(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(mprotect(start, length, call->value));
}

/* Down and up again: one mapping, as before. */
static long protect_and_back(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    if (mprotect(start, length, call->value))
        return -errno;
    return failed_or(mprotect(start, length, RW));
}

static int protected_before(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return mprotect(start, length, PROT_READ) ? -errno : 0;
}

static long protect_key(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(pkey_mprotect(start, length, call->value, -1));
}

/* Not every processor has them. */
static int take_key(struct memory *memory, const struct call *call)
{
    (void)call;
    int key = pkey_alloc(0, 0);
    memory->extra = (char *)(intptr_t)key;
    return key < 0 ? -errno : 0;
}

static long with_a_key(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    int key = (int)(intptr_t)memory->extra;
    part_of(memory, call->part, &start, &length);
    if (pkey_mprotect(start, length, RW, key))
        return -errno;
    return failed_or(pkey_mprotect(start, length, RW, 0));
}

static long lock(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(mlock(start, length));
}

static long lock_on_fault(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(mlock2(start, length, MLOCK_ONFAULT));
}

static long unlock(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(munlock(start, length));
}

static int locked_before(struct memory *memory, const struct call *call)
{
    (void)call;
    return mlock(memory->base, size_of(memory)) ? -errno : 0;
}

static long lock_everything(struct memory *memory, const struct call *call)
{
    (void)memory;
    if (mlockall(call->value))
        return -errno;
    return failed_or(munlockall());
}

/* value: a policy. */
static long bind_part(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    unsigned long node = 1;
    part_of(memory, call->part, &start, &length);
    bool none = call->value == MPOL_DEFAULT || call->value == MPOL_LOCAL;
    return failed_or(syscall(SYS_mbind, start, length, call->value, none ? NULL : &node, none ? 0 : 64, none ? 0 : MPOL_MF_MOVE));
}

static long ask_where(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    int status = -1;
    part_of(memory, call->part, &start, &length);
    void *page = start;
    long result = failed_or(syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0));
    return result < 0 ? result : status;
}

static long move_to_node(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    int status = -1, node = 0;
    part_of(memory, call->part, &start, &length);
    void *page = start;
    long result = failed_or(syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE));
    return result < 0 ? result : status;
}

static long seal(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(syscall(SYS_mseal, start, length, 0));
}

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
static long name_part(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, length, "harmless"));
}

static long resident(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    unsigned char there[HUGE / 4096];
    part_of(memory, call->part, &start, &length);
    if (length / memory->page > sizeof there)
        length = sizeof there * memory->page;
    if (mincore(start, length, there))
        return -errno;
    long count = 0;
    for (size_t i = 0; i < length / memory->page; i++)
        count += there[i] & 1;
    return count;
}

/* value: a seal. */
static long seal_file(struct memory *memory, const struct call *call)
{
    return failed_or(fcntl(memory->fd, F_ADD_SEALS, call->value));
}

static long sync_part(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(msync(start, length, call->value));
}

const struct call calls_rights[] = {
    {"mprotect(READ) across a border", ANY, 0, PROT_READ, ACROSS, protect, NULL, NULL},
    {"mprotect(READ) inside", ANY, 0, PROT_READ, INSIDE, protect, NULL, NULL},
    {"mprotect(NONE) of all", IN_AREA, 0, PROT_NONE, WHOLE_OF_IT, protect, NULL, NULL},
    {"mprotect(READ), then back", ANY, 0, PROT_READ, ACROSS, protect_and_back, NULL, NULL},
    {"mprotect(NONE), then back", ANY, 0, PROT_NONE, INSIDE, protect_and_back, NULL, NULL},
    {"mprotect up, of what was read-only before", ANY, 0, RW, ACROSS, protect, protected_before, NULL},
    {"pkey_mprotect without a key", ANY, 0, PROT_READ, ACROSS, protect_key, NULL, NULL},
    {"pkey_mprotect with a key, then back", ANY, PROCESSOR, 0, ACROSS, with_a_key, take_key, NULL},
    {"mlock", ANY, 0, 0, ACROSS, lock, NULL, NULL},
    {"mlock2(ONFAULT)", ANY, 0, 0, ACROSS, lock_on_fault, NULL, NULL},
    {"munlock of a part", ANY, 0, 0, ACROSS, unlock, locked_before, NULL},
    {"mlockall(CURRENT, ONFAULT), munlockall", ANY, RESULT_ALONE, MCL_CURRENT | MCL_ONFAULT, WHOLE_OF_IT, lock_everything, NULL, NULL},
    {"mlockall(FUTURE), munlockall", ANY, RESULT_ALONE, MCL_FUTURE, WHOLE_OF_IT, lock_everything, NULL, NULL},
    {"mbind(BIND), moving", ANY, 0, MPOL_BIND, ACROSS, bind_part, NULL, NULL},
    {"mbind(PREFERRED), moving", ANY, 0, MPOL_PREFERRED, INSIDE, bind_part, NULL, NULL},
    {"mbind(LOCAL)", ANY, 0, MPOL_LOCAL, ACROSS, bind_part, NULL, NULL},
    {"move_pages: where is it", ANY, 0, 0, BESIDE, ask_where, NULL, NULL},
    {"move_pages: to node 0", ANY, 0, 0, BESIDE, move_to_node, NULL, NULL},
    {"mseal", ANY, 0, 0, ACROSS, seal, NULL, NULL},
    {"prctl(PR_SET_VMA_ANON_NAME)", ANY, 0, 0, ACROSS, name_part, NULL, NULL},
    {"mincore", ANY, 0, 0, BESIDE, resident, NULL, NULL},
    {"msync(SYNC)", ANY, 0, MS_SYNC, ACROSS, sync_part, NULL, NULL},
    {"msync(SYNC, INVALIDATE)", ANY, 0, MS_SYNC | MS_INVALIDATE, ACROSS, sync_part, NULL, NULL},
    {"fcntl(F_ADD_SEALS): WRITE", MEMFD, 0, F_SEAL_WRITE, WHOLE_OF_IT, seal_file, NULL, NULL},
    {"fcntl(F_ADD_SEALS): SHRINK", MEMFD, 0, F_SEAL_SHRINK, WHOLE_OF_IT, seal_file, NULL, NULL},
    {0},
};
