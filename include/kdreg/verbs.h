/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from libkdreg/src/adaptors/verbs/ffi.rs by `make header`: change it there. */

#ifndef KDREG_VERBS_H
#define KDREG_VERBS_H

#include <kdreg.h>
#include <stddef.h>
#include <stdint.h>

/* As KDREG_ATTR_INIT. */
#define KDREG_VERBS_ATTR_INIT {sizeof(struct kdreg_verbs_attr), NULL, 0, 0, 0, 0, 0, 0, 0, NULL}

/**
 * libibverbs's memory region: `<infiniband/verbs.h>` has it.
 */
struct ibv_mr;

/**
 * libibverbs's protection domain: `<infiniband/verbs.h>` has it.
 */
struct ibv_pd;

/**
 * How to make a cache of memory regions. Zero everything but `size` for the
 * defaults.
 */
struct kdreg_verbs_attr {
    /**
     * sizeof(struct kdreg_verbs_attr), set by the caller.
     */
    size_t size;
    /**
     * Tells which backend to use, and may be closed afterwards; NULL: the
     * shared default.
     */
    kdreg_t *monitor;
    /**
     * The most entries kept; 0: 65,536. What does not fit, because everything
     * else is in use, is registered uncached and released at its last put.
     */
    size_t max_entries;
    /**
     * The most bytes kept registered; 0: no limit.
     */
    size_t max_bytes;
    /**
     * How many bytes may be left to the reaper to deregister; 0: everything is
     * deregistered by the call that frees it.
     */
    size_t max_unreleased;
    /**
     * Ranges are widened to multiples of this many bytes, a power of two not
     * below the page size; 0: the page size.
     */
    size_t alignment;
    /**
     * The largest registration that merging may make, in bytes; 0: no limit.
     */
    size_t max_merge;
    /**
     * KDREG_CACHE_* flags.
     */
    uint32_t flags;
    /**
     * Flags of every registration that are no rights: 0, or
     * IBV_ACCESS_RELAXED_ORDERING, which is left out where the kernel does not
     * know it.
     */
    uint32_t access;
    /**
     * As in `struct kdreg_cache_attr`: a group whose limits the cache shares until it is
     * destroyed. NULL: none.
     */
    kdreg_group_t *group;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Whether verbs can be used here: libibverbs can be opened, and lists a device.
 *
 * Returns 0; -ELIBACC when libibverbs.so.1 cannot be opened; -ENODEV when there
 * is no device; -ENOMEM. The log says what to do about it.
 */
int kdreg_verbs_probe(void);

/**
 * Makes a cache of memory regions of the protection domain `pd`; `attr` is NULL
 * for the defaults. The domain stays the caller's, and must not be deallocated
 * before kdreg_cache_destroy().
 *
 * Entries come from kdreg_verbs_cache_get() and _find(). For the rest it is a
 * cache like any other: kdreg_cache_put(), _invalidate(), _flush(), _reap(),
 * _fd(), _stats(), _dump() and _destroy() work on it, and so do
 * kdreg_cache_get() and _find(), with KDREG_ACCESS_* rights; an entry's
 * kdreg_entry_handle() is its `struct ibv_mr`.
 *
 * libibverbs is opened at the first call. Any thread may call.
 *
 * Returns 0 and the cache in `*out`; -ENODEV when `pd` is NULL and there is no
 * device, -EINVAL when there is one; -EINVAL for a bad `attr`; -ELIBACC when
 * libibverbs.so.1 cannot be opened; what kdreg_open() returns; -EMFILE;
 * -ENOMEM; -EBADF; -ECHILD. The log says what to do about the library and
 * the device.
 */
int kdreg_verbs_cache_create(struct ibv_pd *pd,
                             const struct kdreg_verbs_attr *attr,
                             kdreg_cache_t **out);

/**
 * A memory region that covers `length` bytes at `addr` with at least the rights
 * in `access`: found, or registered now. `(*mr)->lkey` and `(*mr)->rkey` serve
 * for every address in it, as the process knows it. The caller holds the region
 * until it gives `*entry` to kdreg_cache_put(); the region is shared, and must
 * not be changed, rebound or deregistered.
 *
 * `access` is made of IBV_ACCESS_LOCAL_WRITE, _REMOTE_WRITE, _REMOTE_READ,
 * _REMOTE_ATOMIC, _MW_BIND, _FLUSH_GLOBAL and _FLUSH_PERSISTENT. A region with
 * more rights than asked for is a hit; where rights are missing, the union is
 * registered. What is registered is at least whole pages, and neighbours may be
 * registered as one: KDREG_CACHE_NO_MERGE keeps peers who hold a key to the pages
 * that were asked for.
 *
 * Where ibv_reg_mr() finds no memory, idle entries are released and it is tried
 * again. What fails in the end is explained in the log, each errno once.
 *
 * Returns 0; what ibv_reg_mr() failed with: -ENOMEM when RLIMIT_MEMLOCK or the
 * device allows no more, -EFAULT when part of the range is not mapped, or mapped
 * read-only and IBV_ACCESS_LOCAL_WRITE asked for; -EINVAL for length 0, a range
 * that wraps around or reaches into kernel addresses, flags that are no rights
 * (zero-based and on-demand registrations are not to be cached), or a cache that
 * kdreg_verbs_cache_create() did not make; -EBADF; -ECHILD. `*mr` and `*entry` are
 * written only on success. Any thread may call.
 */
int kdreg_verbs_cache_get(kdreg_cache_t *cache,
                          const void *addr,
                          size_t length,
                          int access,
                          struct ibv_mr **mr,
                          kdreg_entry_t **entry);

/**
 * As kdreg_verbs_cache_get(), but never registers: -ENOENT when no valid region
 * covers the range.
 */
int kdreg_verbs_cache_find(kdreg_cache_t *cache,
                           const void *addr,
                           size_t length,
                           int access,
                           struct ibv_mr **mr,
                           kdreg_entry_t **entry);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KDREG_VERBS_H */
