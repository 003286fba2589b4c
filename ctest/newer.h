/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Kernel interface numbers that the oldest supported distribution's headers do not have yet. */
#ifndef KDREG_NEWER_H
#define KDREG_NEWER_H

#include <linux/ioctl.h>
#include <linux/types.h>
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
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* io_uring operation newer than the header (Linux 6.9) */
enum { NEWER_IORING_OP_FTRUNCATE = 55 };

/* userfaultfd's page move (Linux 6.8) */
struct newer_uffdio_move {
    __u64 dst, src, len, mode;
    __s64 move;
};
#define NEWER_UFFDIO_MOVE _IOWR(0xAA, 0x05, struct newer_uffdio_move)
#define NEWER_UFFD_USER_MODE_ONLY 1

#endif
