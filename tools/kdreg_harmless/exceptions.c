/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What userfaultfd itself makes different. A difference that is not here is a defect; so is one that is here and does not occur. */
#include <string.h>

#include "harmless.h"

const char *const reasons[] = {
    "The kernel allows one userfaultfd for each mapping: the application's own gets EBUSY on a mapping in which something is cached.",
    "What is mapped beside a watched mapping, or could be made one with it, stays a mapping of its own while that is watched. What a heap grew by "
    "meanwhile stays one afterwards, too.",
    "mremap of what are several mappings is refused while one of them is watched, with EFAULT. Linux before 6.17 refuses it always; but where two "
    "would have become one mapping, see 2, it would not have been of several.",
    "MADV_COLLAPSE while it is watched: of shared memory EINVAL, of private memory of which pages are missing EBUSY.",
    "While a file is watched, its pages come in one by one: a page fault for each, where the kernel else brings in sixteen at once.",
    "PAGEMAP_SCAN counts pages of a watched mapping that are not there as written. From Linux 7.3 on it counts a page so only where its mapping is "
    "registered for write-protection: without the library none, in a watched mapping all.",
    "When shared memory is let go, the kernel protects its pages against writing once: the next write to each is a page fault.",
};
const int reason_count = (int)(sizeof reasons / sizeof *reasons);
enum { OWN_WATCH, APART, SEVERAL, COLLAPSING, FAULT_AROUND, SCANNED, LET_GO };

#define BIT(state) (1u << (state))
/* A part watched; all of it too. */
#define A_PART (BIT(PART) | BIT(HELD) | BIT(CHANGED))
#define WATCHED (A_PART | BIT(WHOLE))
#define NOT_ANY_MORE (BIT(REAPED) | BIT(INVALIDATED) | BIT(FLUSHED) | BIT(DESTROYED))

const struct exception exceptions[] = {
    {"own userfaultfd: missing pages", ANY & ~(FILES | SYSV), WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: missing pages, inside", ANY & ~(FILES | SYSV), WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: missing pages, beside", ANY & ~(FILES | SYSV), WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: write-protection", ANY & ~SYSV, WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: write-protection, beside", ANY & ~SYSV, WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: minor faults", MEMFD | HUGETLB, WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: a mapping made beside it", ANONYMOUS, WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: UFFDIO_WRITEPROTECT", ANY & ~SYSV, WATCHED, RESULT, -EBUSY, OWN_WATCH},
    {"own userfaultfd: UFFDIO_COPY", ANY & ~(FILES | SYSV), WATCHED, RESULT, -EBUSY, OWN_WATCH},

    {"mmap of a neighbour", ANONYMOUS, WATCHED, MAPPINGS, 0, APART},
    {"mmap(MAP_FIXED) over a part", ANONYMOUS | HEAP, BIT(CHANGED), MAPPINGS, 0, APART},
    {"madvise(UNMERGEABLE) after its opposite", ANONYMOUS | THP | FILE_PRIVATE | HEAP | STACK, A_PART, MAPPINGS, 0, APART},
    {"madvise(DOFORK) after its opposite", ANY & ~(HUGETLB | SYSV), A_PART, MAPPINGS, 0, APART},
    {"madvise(KEEPONFORK) after its opposite", ANONYMOUS | THP | HEAP | STACK, A_PART, MAPPINGS, 0, APART},
    {"madvise(DODUMP) after its opposite", ANY & ~(HUGETLB | SYSV), A_PART, MAPPINGS, 0, APART},
    {"mprotect up, of what was read-only before", ANY & ~(HUGETLB | SYSV), A_PART, MAPPINGS, 0, APART},
    {"brk up", HEAP, WATCHED, MAPPINGS, 0, APART},
    {"brk up", HEAP, WATCHED, LEFT, 0, APART},
    {"brk down and up", HEAP, A_PART, MAPPINGS, 0, APART},

    {"mmap of a neighbour, mremap of both", IN_AREA & ~SYSV, WATCHED, RESULT, -EFAULT, SEVERAL},
    {"mremap of several mappings as one", IN_AREA & ~SYSV, WATCHED, RESULT, -EFAULT, SEVERAL},

    {"madvise(COLLAPSE)", MEMFD, WATCHED, RESULT, -EINVAL, COLLAPSING},
    {"madvise(COLLAPSE)", ANONYMOUS, BIT(CHANGED), RESULT, -EBUSY, COLLAPSING},

    {"reading every page for the first time", MEMFD | FILES, WATCHED, FAULTS, 0, FAULT_AROUND},
    {"writing every page for the first time", FILE_SHARED, WATCHED, FAULTS, 0, FAULT_AROUND},

    {"PAGEMAP_SCAN: written pages", ANONYMOUS | MEMFD | FILES | HEAP, WATCHED, RESULT, 512, SCANNED},
    {"PAGEMAP_SCAN: written pages", THP, WATCHED, RESULT, 4096, SCANNED},
    {"PAGEMAP_SCAN: written pages", HUGETLB, WATCHED & ~BIT(CHANGED), RESULT, 4096, SCANNED},
    {"PAGEMAP_SCAN: written pages", HUGETLB, BIT(CHANGED), RESULT, 3584, SCANNED},
    {"PAGEMAP_SCAN: written pages", STACK, WATCHED, RESULT, 32, SCANNED},

    {"writing every page again", MEMFD, NOT_ANY_MORE, FAULTS, 0, LET_GO},
    {0},
};
const int exception_count = (int)(sizeof exceptions / sizeof *exceptions) - 1;

int exception_for(const struct call *call, unsigned kind, enum state state, enum aspect aspect, long value)
{
    for (int i = 0; i < exception_count; i++) {
        const struct exception *exception = &exceptions[i];
        if (exception->aspect == aspect && exception->kinds & kind && exception->states & BIT(state) && strcmp(exception->call, call->name) == 0 &&
            (aspect != RESULT || exception->result == value))
            return i;
    }
    return -1;
}
