/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kernel's interface as far as the headers of the oldest supported distribution do not have it yet. */
#ifndef KDREG_NEWER_H
#define KDREG_NEWER_H

#include <linux/ioctl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* io_uring (Linux 6.9) */
enum { NEWER_IORING_OP_FTRUNCATE = 55 };

/* userfaultfd */
#define NEWER_UFFD_USER_MODE_ONLY 1
#define NEWER_UFFD_FEATURE_WP_UNPOPULATED (1ull << 13)
#define NEWER_UFFD_FEATURE_WP_ASYNC (1ull << 15)
struct newer_uffdio_move {
    uint64_t dst, src, len, mode;
    int64_t move;
};
#define NEWER_UFFDIO_MOVE _IOWR(0xAA, 0x05, struct newer_uffdio_move)

/* PAGEMAP_SCAN (Linux 6.7) */
struct newer_pm_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct newer_page_region {
    uint64_t start, end, categories;
};
#define NEWER_PAGEMAP_SCAN _IOWR('f', 16, struct newer_pm_scan)
enum { NEWER_PAGE_IS_WRITTEN = 1 << 1 };

#endif
