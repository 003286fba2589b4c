/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from libkdreg/src/adaptors/uring by `make header`: change it there. */
#ifndef KDREG_URING_H
#define KDREG_URING_H

/*
 * io_uring: registered ("fixed") buffers that follow the memory.
 *
 *     kdreg_uring_create(NULL, ring.ring_fd, NULL, &uring);
 *     ...
 *     int index = kdreg_uring_get(uring, addr, length);
 *     if (index >= 0)
 *         io_uring_prep_write_fixed(sqe, file, addr, length, offset, index);
 *     else
 *         io_uring_prep_write(sqe, file, addr, length, offset);
 *     ... when the transfer has completed:
 *     kdreg_uring_put(uring, index);
 *
 * The index is one that is registered already, if there is one and its memory
 * is still what was registered; or else a new one. liburing is not needed.
 */


#include <kdreg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As KDREG_ATTR_INIT. */
#define KDREG_URING_ATTR_INIT {sizeof(struct kdreg_uring_attr), 0, 0, 0, 0, 0, 0, 0, 0, NULL}

/**
 * kdreg_uring_attr.flags: the slots are `slots` from `first` on of a buffer
 * table that the caller registered (io_uring_register_buffers_sparse() or the
 * like). What is in them is let go. Without this flag the table is the
 * adaptor's own, and the ring must not have one.
 */
#define KDREG_URING_WINDOW 1u

/**
 * kdreg_uring_attr.flags: register just what is asked for, widened to pages.
 */
#define KDREG_URING_NO_MERGE 2u

/**
 * kdreg_uring_attr.flags: no thread of the library's releases anything. Poll
 * kdreg_uring_fd() and call kdreg_uring_reap().
 */
#define KDREG_URING_NO_REAPER 4u

/**
 * kdreg_uring_attr.flags: while lookups only miss, register without keeping, all
 * but samples, down to one in 128: cheaper where no buffer is used twice. What is not kept is
 * deregistered at its last put, and kdreg_uring_valid() is false for it.
 */
#define KDREG_URING_BYPASS 8u

/**
 * The registered buffers of one ring.
 *
 * Made by kdreg_uring_create(), ended by kdreg_uring_destroy(). May be used by
 * any number of threads, but not while another thread destroys it. On a ring
 * that was made with IORING_SETUP_SINGLE_ISSUER, create, get, flush, reap and
 * destroy belong to the submitting thread; what other threads or the reaper
 * release is unpinned at its next call. In a forked child every call returns
 * -ECHILD.
 */
struct kdreg_uring;

/**
 * How to make a kdreg_uring_t. Zero everything but `size` for the defaults.
 */
struct kdreg_uring_attr {
    /**
     * sizeof(struct kdreg_uring_attr), set by the caller.
     */
    size_t size;
    /**
     * How many slots, so how many buffers can be registered at a time: up to
     * 16,384; 0: 1,024.
     */
    uint32_t slots;
    /**
     * The first slot of the window; 0 without KDREG_URING_WINDOW.
     */
    uint32_t first;
    /**
     * The most bytes kept registered; 0: as many as can be pinned. What is
     * idle is let go, the least recently used first, when this or
     * RLIMIT_MEMLOCK is reached.
     */
    size_t max_bytes;
    /**
     * How many bytes may be left to the reaper to deregister; 0: everything is
     * deregistered by the call that frees it.
     */
    size_t max_unreleased;
    /**
     * The largest registration that merging may make, in bytes; 0: 1 GiB,
     * which is also the most.
     */
    size_t max_merge;
    /**
     * If not 0: the ring gets a completion with this user_data for each
     * registration, when its memory is unpinned.
     */
    uint64_t tag;
    /**
     * KDREG_URING_* flags.
     */
    uint32_t flags;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * As in `struct kdreg_cache_attr`: a group whose limits the buffers share until they
     * are destroyed. NULL: none.
     */
    kdreg_group_t *group;
};

/**
 * See `struct kdreg_uring`.
 */
typedef struct kdreg_uring kdreg_uring_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes registered buffers for the ring with descriptor `ring_fd` (liburing's
 * `ring_fd`, not the index that io_uring_register_ring_fd() gives), as `attr`
 * says (NULL: a table of 1,024 slots). `monitor` tells which backend to use
 * (NULL: the shared default) and may be closed afterwards. The library
 * duplicates the descriptor: the ring may be closed first, and then lives in the
 * kernel until kdreg_uring_destroy(). The library neither submits requests nor
 * takes completions. Needs Linux 5.13.
 *
 * Returns 0 and the buffers in `*out`; and, with a warning in the log that says
 * what to do: -EBADF when `ring_fd` is not open; -EOPNOTSUPP when it is no ring;
 * -EBUSY when the ring has a buffer table and KDREG_URING_WINDOW is not set;
 * -EINVAL or -ENXIO for a window outside of that table; -EINVAL before Linux
 * 5.13, for a bad `attr`, or for slots beyond 16,384; -EEXIST from a thread that is not the ring's
 * only submitter; -EPERM, -EACCES or -ENOSYS where io_uring_register() is
 * refused; -ENOMEM; what kdreg_open() returns; -EMFILE; -ECHILD.
 */
int kdreg_uring_create(kdreg_t *monitor,
                       int ring_fd,
                       const struct kdreg_uring_attr *attr,
                       kdreg_uring_t **out);

/**
 * Deregisters every buffer and ends the adaptor's table; a window is left
 * empty. No other thread may be using `uring`.
 *
 * Returns 0; -EBUSY while an index is held, and nothing changes; -EDEADLK from a callback
 * of its group; -EBADF; -ECHILD.
 */
int kdreg_uring_destroy(kdreg_uring_t *uring);

/**
 * The index of a registered buffer that covers `length` bytes at `addr`: found,
 * or registered now. It goes into the request's `buf_index`; the request's
 * address and length lie anywhere inside that range. The caller holds the
 * index, and so keeps the buffer registered and its slot as it is, until
 * kdreg_uring_put(). Each get needs a put, also when two gave the same index.
 *
 * Returns the index; and, with a warning in the log (once for each errno, then
 * at level debug) that says what to do: -ENOBUFS when every slot is held;
 * -ENOMEM when no more memory can be pinned (RLIMIT_MEMLOCK) and nothing idle
 * is left to let go; -EMSGSIZE for more than 1 GiB; -EFAULT or -EOPNOTSUPP for
 * memory that io_uring cannot pin: unmapped, read-only, a file on disk;
 * -EEXIST from a thread that is not the ring's only submitter; -EINVAL for
 * length 0 or a range that wraps around or reaches into kernel addresses;
 * -EBADF; -ECHILD.
 */
int kdreg_uring_get(kdreg_uring_t *uring, const void *addr, size_t length);

/**
 * Puts back an index from kdreg_uring_get(), once the requests that used it
 * have completed. The last put of a buffer whose memory changed deregisters it,
 * and only then can its slot hold another one.
 *
 * Returns 0; -EINVAL when it is not an index of `uring` or nobody holds it;
 * -EBADF; -ECHILD.
 */
int kdreg_uring_put(kdreg_uring_t *uring, int index);

/**
 * Whether the memory of a held index is still what was registered. `false` also
 * when the backend cannot tell, and for an index that nobody holds.
 */
bool kdreg_uring_valid(kdreg_uring_t *uring, int index);

/**
 * Drops every buffer that overlaps `length` bytes at `addr`, as if its mapping
 * had changed. Those that are held go at their last put.
 *
 * Returns how many there were; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_uring_invalidate(kdreg_uring_t *uring, const void *addr, size_t length);

/**
 * Drops every buffer. Those that are held go at their last put. Waits for what others are
 * deregistering, as kdreg_cache_flush() does.
 *
 * Returns how many there were; -EBADF; -ECHILD.
 */
int kdreg_uring_flush(kdreg_uring_t *uring);

/**
 * Drops the buffers whose mapping changed since, and deregisters everything
 * that waits for it. The reaper does the same by itself, unless
 * KDREG_URING_NO_REAPER is set or the ring has a single submitter.
 *
 * Returns how many buffers were deregistered; -EBADF; -ECHILD.
 */
int kdreg_uring_reap(kdreg_uring_t *uring);

/**
 * A descriptor that is readable (POLLIN) while there is something to reap. It
 * belongs to the library: never read or close it.
 *
 * Returns the descriptor; -EBADF; -ECHILD.
 */
int kdreg_uring_fd(kdreg_uring_t *uring);

/**
 * Fills `*stats`, whose `size` the caller has set, as kdreg_cache_stats() does.
 *
 * Returns 0; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_uring_stats(kdreg_uring_t *uring, struct kdreg_cache_stats *stats);

/**
 * Writes a table of the limits, counts and buffers to the file descriptor `fd`.
 *
 * Returns 0; -EBADF, also for a bad `fd`; what writing failed with; -ECHILD.
 */
int kdreg_uring_dump(kdreg_uring_t *uring, int fd);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif /* KDREG_URING_H */
