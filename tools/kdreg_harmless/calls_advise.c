/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* madvise, in every form. */
#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "../newer/newer.h"

static long advise(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(madvise(start, length, call->value));
}

/* Advice to undo, for the calls that undo it. */
static int advised_before(struct memory *memory, const struct call *call)
{
    int before = call->value == MADV_DOFORK       ? MADV_DONTFORK
                 : call->value == MADV_KEEPONFORK ? MADV_WIPEONFORK
                 : call->value == MADV_DODUMP     ? MADV_DONTDUMP
                 : call->value == MADV_UNMERGEABLE ? MADV_MERGEABLE
                                                   : MADV_GUARD_INSTALL;
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    (void)madvise(start, length, before);   /* where the kernel refuses it, it refuses the other, too */
    return 0;
}

static int locked_before(struct memory *memory, const struct call *call)
{
    (void)call;
    return mlock(memory->base, size_of(memory)) ? -errno : 0;
}

/* Small pages where the kernel could use a huge one, so that there is something to collapse. */
static int small_pages_before(struct memory *memory, const struct call *call)
{
    (void)call;
    if (memory->kind != THP)
        return 0;
    if (madvise(memory->base, size_of(memory), MADV_NOHUGEPAGE) || madvise(memory->base, size_of(memory), MADV_DONTNEED))
        return -errno;
    for (char *page = memory->base; page < memory->base + size_of(memory); page += memory->page)
        *page = 1;
    return madvise(memory->base, size_of(memory), MADV_HUGEPAGE) ? -errno : 0;
}

/* A huge page can be lacking for a moment, and a page can be in somebody's hands. */
static long collapse(struct memory *memory, const struct call *call)
{
    long result = 0;
    for (int i = 0; i < 200; i++) {
        result = advise(memory, call);
        if (result != -EAGAIN && result != -EBUSY && result != -ENOMEM)
            break;
        struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
    return result;
}

static long advise_process(struct memory *memory, const struct call *call)
{
    struct iovec range;
    part_of(memory, call->part, (char **)&range.iov_base, &range.iov_len);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0)
        return -errno;
    long result = failed_or(syscall(SYS_process_madvise, self, &range, 1, call->value, 0));
    close(self);
    return result;
}

#define ACROSS_A_BORDER(name) {"madvise(" #name ")", ANY, 0, MADV_##name, ACROSS, advise, NULL, NULL}
#define UNDONE(name) {"madvise(" #name ") after its opposite", ANY, 0, MADV_##name, ACROSS, advise, advised_before, NULL}

const struct call calls_advise[] = {
    ACROSS_A_BORDER(DONTNEED),
    {"madvise(DONTNEED) of all", IN_AREA, 0, MADV_DONTNEED, WHOLE_OF_IT, advise, NULL, NULL},
    {"madvise(DONTNEED) beside", ANY, 0, MADV_DONTNEED, BESIDE, advise, NULL, NULL},
    {"madvise(DONTNEED) of locked memory", ANY, 0, MADV_DONTNEED, ACROSS, advise, locked_before, NULL},
    {"madvise(DONTNEED_LOCKED)", ANY, 0, MADV_DONTNEED_LOCKED, ACROSS, advise, locked_before, NULL},
    ACROSS_A_BORDER(FREE),
    ACROSS_A_BORDER(REMOVE),
    ACROSS_A_BORDER(COLD),
    ACROSS_A_BORDER(PAGEOUT),
    ACROSS_A_BORDER(WILLNEED),
    ACROSS_A_BORDER(SEQUENTIAL),
    ACROSS_A_BORDER(RANDOM),
    ACROSS_A_BORDER(POPULATE_READ),
    ACROSS_A_BORDER(POPULATE_WRITE),
    {"madvise(POPULATE_READ) of untouched memory", IN_AREA | HEAP, UNTOUCHED, MADV_POPULATE_READ, WHOLE_OF_IT, advise, NULL, NULL},
    {"madvise(POPULATE_WRITE) of untouched memory", IN_AREA | HEAP, UNTOUCHED, MADV_POPULATE_WRITE, WHOLE_OF_IT, advise, NULL, NULL},
    ACROSS_A_BORDER(HUGEPAGE),
    ACROSS_A_BORDER(NOHUGEPAGE),
    {"madvise(COLLAPSE)", IN_AREA | HEAP, 0, MADV_COLLAPSE, WHOLE_OF_IT, collapse, small_pages_before, NULL},
    ACROSS_A_BORDER(MERGEABLE),
    UNDONE(UNMERGEABLE),
    ACROSS_A_BORDER(DONTFORK),
    UNDONE(DOFORK),
    ACROSS_A_BORDER(WIPEONFORK),
    UNDONE(KEEPONFORK),
    ACROSS_A_BORDER(DONTDUMP),
    UNDONE(DODUMP),
    ACROSS_A_BORDER(GUARD_INSTALL),
    UNDONE(GUARD_REMOVE),
    {"process_madvise(COLD)", ANY, 0, MADV_COLD, ACROSS, advise_process, NULL, NULL},
    {"process_madvise(DONTNEED)", ANY, 0, MADV_DONTNEED, ACROSS, advise_process, NULL, NULL},
    {0},
};
