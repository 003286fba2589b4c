/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from libkdreg/src/ffi by `make header`: change it there. */
#ifndef KDREG_H
#define KDREG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Calling rules. kdreg(7) says more, and each manual page what is particular to its calls.
 *
 * Threads     Any thread may call anything on a handle that is open, but for kdreg_close() and
 *             kdreg_cache_destroy(), during which nobody else may use it. What one thread got
 *             another may put.
 * Waiting     A lookup that finds waits for nobody with the kernel's backend; with userfaultfd for
 *             at most some milliseconds, while mappings are being changed. One that registers
 *             takes as long as the registering callback, and what it evicts; never for another
 *             thread's registration. kdreg_cache_drain() without a callback waits for others' puts,
 *             kdreg_cache_destroy() for a callback under way in the reaper, in the cache's own thread or
 *             in a call of another cache of its group, kdreg_cache_flush() for what others are
 *             deregistering, unless it is called in a callback.
 * Callbacks   run with no lock of the library's held. The registering one in the calls that get. The
 *             deregistering one in kdreg_cache_get() and its kin (evicting), _find (of what has changed), _put,
 *             _drop, _drain, _invalidate, _flush, _evict, _reap, _each, _destroy, kdreg_group_evict(),
 *             and in the reaper. They may call the library, but not destroy the cache that calls
 *             them.
 * Locks       of the caller's may be held in every call, if none of its callbacks takes them, and
 *             across every change of a mapping: no thread of the library's takes one.
 * Signals     From a signal handler only kdreg_valid(), kdreg_valid_slow(), kdreg_version() and
 *             kdreg_version_string().
 * Cancelling  No function is a cancellation point but where it calls a callback that is one.
 * fork()      In the child handles of the parent are dead: -ECHILD, and nothing is valid. It opens its
 *             own. No callback runs for what the parent holds.
 * membarrier  membarrier(2) makes hits cheap. Where it is refused they count by atomic additions:
 *             nothing else changes.
 * RELAXED     A monitor opened with KDREG_OPEN_RELAXED makes the caches that are made on it relaxed.
 * Failing     A function that fails has changed nothing, but for what a failing registration may
 *             have evicted to make room.
 * GPU memory  is not watched, and not to be given to a cache: its addresses are reservations without
 *             access, which stay mapped, and so valid, when the memory behind them is freed. Who does
 *             it all the same calls kdreg_cache_invalidate() in the free-notification of its runtime.
 */

/**
 * The version of this header: kdreg_version() is that of the library that runs.
 */
#define KDREG_VERSION_MAJOR 0
/**
 * See KDREG_VERSION_MAJOR.
 */
#define KDREG_VERSION_MINOR 2
/**
 * See KDREG_VERSION_MAJOR.
 */
#define KDREG_VERSION_PATCH 0

/**
 * The version of this header as kdreg_version() gives the library's.
 */
#define KDREG_VERSION (KDREG_VERSION_MAJOR << 16 | KDREG_VERSION_MINOR << 8 | KDREG_VERSION_PATCH)

/**
 * Whether this header is of that version, or newer; for #if, too.
 */
#define KDREG_VERSION_AT_LEAST(major, minor) \
    (KDREG_VERSION_MAJOR > (major) || (KDREG_VERSION_MAJOR == (major) && KDREG_VERSION_MINOR >= (minor)))

/**
 * Access: the device may read the memory.
 */
#define KDREG_ACCESS_READ 1u

/**
 * Access: the device may write the memory.
 */
#define KDREG_ACCESS_WRITE 2u

/**
 * Access: peers may read the memory.
 */
#define KDREG_ACCESS_REMOTE_READ 4u

/**
 * Access: peers may write the memory.
 */
#define KDREG_ACCESS_REMOTE_WRITE 8u

/**
 * Access: peers may use atomic operations on the memory. Bits 16 to 31 are the caller's
 * own. An entry is found for what it has all bits of; what is registered in the place of
 * others has the bits of all of them, the caller's own as well: they are united by or.
 * No bits at all are found in whatever covers the range, and registered as no rights.
 */
#define KDREG_ACCESS_REMOTE_ATOMIC 16u

/**
 * kdreg_registration.flags: more is asked for than the cache was asked for (merged with
 * neighbours, or widened); where this fails, less is asked for at once. So a failure
 * is no reason to say anything.
 */
#define KDREG_REGISTRATION_SPECULATIVE 1u

/**
 * kdreg_cache_event.cause: its mapping changed.
 */
#define KDREG_CAUSE_CHANGED 1u

/**
 * kdreg_cache_event.cause: kdreg_cache_invalidate().
 */
#define KDREG_CAUSE_INVALIDATED 2u

/**
 * kdreg_cache_event.cause: room was needed.
 */
#define KDREG_CAUSE_EVICTED 3u

/**
 * kdreg_cache_event.cause: a larger registration took its place.
 */
#define KDREG_CAUSE_MERGED 4u

/**
 * kdreg_cache_event.cause: kdreg_cache_flush(), or the end of the cache.
 */
#define KDREG_CAUSE_FLUSHED 5u

/**
 * kdreg_cache_event.cause: kdreg_cache_drop().
 */
#define KDREG_CAUSE_DROPPED 6u

/**
 * kdreg_cache_event.cause: the backend stopped working. Of the whole cache: nothing
 * is found any more, and what is registered is uncached. Said once, when the cache
 * hears of it.
 */
#define KDREG_CAUSE_LOST 7u

/**
 * kdreg_cache_attr.flags: register just what is asked for, widened to the alignment.
 */
#define KDREG_CACHE_NO_MERGE 1u

/**
 * kdreg_cache_attr.flags: no thread of the library's releases anything;
 * callbacks run inside calls of the cache only, unless kdreg_cache_try_get() or
 * kdreg_cache_prefetch() is called, which begin a thread. Poll kdreg_cache_fd() and call
 * kdreg_cache_reap().
 */
#define KDREG_CACHE_NO_REAPER 2u

/**
 * kdreg_cache_attr.flags: while lookups only miss, register without keeping, all
 * but samples, down to one in 128: cheaper where no buffer is used twice. What is not kept is
 * deregistered at its last put, and kdreg_entry_valid() is false for it.
 */
#define KDREG_CACHE_BYPASS 4u

/**
 * kdreg_cache_prioritize(): never evicted.
 */
#define KDREG_PRIORITY_PINNED 255

/**
 * kdreg_entry_check(): the backend cannot tell, or not of this part alone.
 */
#define KDREG_ENTRY_UNKNOWN 0

/**
 * kdreg_entry_check(): the range maps what it did when it was registered.
 */
#define KDREG_ENTRY_UNCHANGED 1

/**
 * kdreg_entry_check(): the mapping of part of the range changed since, or the caller
 * said so by kdreg_cache_invalidate().
 */
#define KDREG_ENTRY_CHANGED 2

/**
 * kdreg_group_attr.flags: keep no more bytes registered than the process may lock
 * (RLIMIT_MEMLOCK, the soft limit, when the group is made), whatever `max_bytes` says.
 */
#define KDREG_GROUP_MEMLOCK 1u

/**
 * Log level: something failed that the caller asked for.
 */
#define KDREG_LOG_ERROR 1

/**
 * Log level: the library carries on with less than it could offer.
 */
#define KDREG_LOG_WARN 2

/**
 * Log level: decisions, such as which backend is used and why.
 */
#define KDREG_LOG_INFO 3

/**
 * Log level: every registration and release.
 */
#define KDREG_LOG_DEBUG 4

/**
 * kdreg_get_attr.flags: what is registered is not merged with others, neither now nor
 * later for others.
 */
#define KDREG_GET_NO_MERGE 1u

/**
 * The strongest backend that works here.
 */
#define KDREG_BACKEND_ANY 0

/**
 * The kernel module, /dev/kdreg, or a kdreg2-compatible device.
 */
#define KDREG_BACKEND_KERNEL 1

/**
 * userfaultfd: in any process, without privileges.
 */
#define KDREG_BACKEND_USERFAULTFD 2

/**
 * Watches nothing: correct and uncached.
 */
#define KDREG_BACKEND_NONE 3

/**
 * kdregd's BPF programs: kdreg_backends(7).
 */
#define KDREG_BACKEND_BPF 4

/**
 * Sees munmap, a MAP_FIXED mapping on top, brk shrink, the target of mremap(MREMAP_FIXED), what an mremap cuts off.
 */
#define KDREG_CAP_UNMAP (1ull << 0)

/**
 * Sees mremap: the old range.
 */
#define KDREG_CAP_REMAP (1ull << 1)

/**
 * Sees madvise and process_madvise: DONTNEED, DONTNEED_LOCKED, FREE, REMOVE.
 * With userfaultfd, not of pages that another thread asks for while they are
 * being discarded: kdreg_backends(7).
 */
#define KDREG_CAP_DISCARD (1ull << 2)

/**
 * Sees madvise(MADV_GUARD_INSTALL).
 */
#define KDREG_CAP_GUARD (1ull << 3)

/**
 * Sees mprotect and pkey_mprotect.
 */
#define KDREG_CAP_PROTECT (1ull << 4)

/**
 * Sees ftruncate and fallocate hole punching through a file descriptor.
 */
#define KDREG_CAP_FILE (1ull << 5)

/**
 * Sees shmdt and shmat(SHM_REMAP).
 */
#define KDREG_CAP_SYSV (1ull << 6)

/**
 * Sees UFFDIO_MOVE and remap_file_pages.
 */
#define KDREG_CAP_PAGES (1ull << 7)

/**
 * Sees what the kernel does by itself: migration, reclaim, KSM, huge page collapse.
 */
#define KDREG_CAP_MIGRATE (1ull << 8)

/**
 * Sees the same changes when another process makes them.
 */
#define KDREG_CAP_FOREIGN (1ull << 9)

/**
 * Changes are marked by the kernel before the call returns; no thread in between.
 */
#define KDREG_CAP_SYNC (1ull << 16)

/**
 * No window in which another thread can be handed an address before its change is known.
 */
#define KDREG_CAP_STRICT (1ull << 17)

/**
 * Watches any kind of memory, file-backed included.
 */
#define KDREG_CAP_ALL_MEMORY (1ull << 18)

/**
 * A fork() invalidates nothing in the parent.
 */
#define KDREG_CAP_FORK_WARM (1ull << 19)

/**
 * Why a region changed: the backend cannot tell.
 */
#define KDREG_REASON_UNKNOWN 0

/**
 * Why a region changed: unmapped, or another mapping took its place.
 */
#define KDREG_REASON_UNMAP 1

/**
 * Why a region changed: its pages were given up by madvise.
 */
#define KDREG_REASON_DISCARD 2

/**
 * Why a region changed: moved by mremap.
 */
#define KDREG_REASON_REMAP 3

/**
 * Why a region changed: access rights.
 */
#define KDREG_REASON_PROTECT 4

/**
 * Why a region changed: the kernel moved or reclaimed pages.
 */
#define KDREG_REASON_MIGRATE 5

/**
 * Why a region changed: the address space is going away.
 */
#define KDREG_REASON_RELEASE 6

/**
 * Why a region changed: the backend stopped working, so nothing is valid.
 */
#define KDREG_REASON_LOST 7

/**
 * kdreg_attr.flags: a backend of its own instead of the one the process shares.
 */
#define KDREG_OPEN_PRIVATE 1u

/**
 * kdreg_attr.flags: userfaultfd only: do not ask, at each check, whether a
 * change is in flight. Saves a system call per check, and leaves a window in
 * which another thread that is handed an address just unmapped still finds
 * the old region valid.
 */
#define KDREG_OPEN_RELAXED 2u

/**
 * kdreg_cache_info.flags: the backend has stopped working.
 */
#define KDREG_INFO_LOST 1u

/**
 * kdreg_cache_info.flags: changes in flight are not asked about: the monitor that the
 * cache was made on was opened with KDREG_OPEN_RELAXED, where that makes a difference.
 */
#define KDREG_INFO_RELAXED 2u

/**
 * kdreg_cache_info.flags: kdreg_cache_drain() was called.
 */
#define KDREG_INFO_DRAINING 4u

/**
 * A monitor handle: one subscriber with an event queue of its own.
 *
 * Made by kdreg_open(), ended by kdreg_close(). May be used by any number of
 * threads, but not while another thread closes it.
 */
struct kdreg;

/**
 * A pin-down cache.
 *
 * Made by kdreg_cache_create(), ended by kdreg_cache_destroy(). May be used by
 * any number of threads, but not while another thread destroys it.
 */
struct kdreg_cache;

/**
 * A registration in use: from kdreg_cache_get() or kdreg_cache_find() until
 * kdreg_cache_put().
 */
struct kdreg_entry;

/**
 * Limits that several caches share.
 *
 * Made by kdreg_group_create(), ended by kdreg_group_destroy(). May be used by any
 * number of threads, but not while another thread destroys it.
 */
struct kdreg_group;

/**
 * See `struct kdreg_cache`.
 */
typedef struct kdreg_cache kdreg_cache_t;

/**
 * What kdreg_cache_get_with() may say of the registration that it may have to make.
 * Zero everything but `size` and `access` for what kdreg_cache_get() does.
 */
struct kdreg_get_attr {
    /**
     * sizeof(struct kdreg_get_attr), set by the caller.
     */
    size_t size;
    /**
     * The rights, KDREG_ACCESS_*.
     */
    uint32_t access;
    /**
     * KDREG_GET_* flags.
     */
    uint32_t flags;
    /**
     * Reaches `reg_with` as kdreg_registration.arg: a kind of memory, a device, a
     * descriptor. What is found is found whatever it was registered with.
     */
    void *arg;
    /**
     * As kdreg_cache_attr.alignment, for this registration; 0: what that says.
     */
    size_t alignment;
};

/**
 * See `struct kdreg_entry`.
 */
typedef struct kdreg_entry kdreg_entry_t;

/**
 * Is given what kdreg_cache_prefetch() asked for: `status` is 0, and `entry` held, for the
 * caller to put at any time; or `status` is negative, as from kdreg_cache_get(), and
 * `entry` NULL. Called once, with no lock held, by the cache's own thread; in a
 * cache that is being drained, and has none, by one in kdreg_cache_drain() or
 * kdreg_cache_reap(), or by the reaper. May call the library, but not destroy the cache. It
 * need not return, as kdreg_register_fn says.
 */
typedef void (*kdreg_ready_fn)(void *arg, int status, kdreg_entry_t *entry);

/**
 * See `struct kdreg`.
 */
typedef struct kdreg kdreg_t;

/**
 * Registers `length` bytes at `addr` (widened and perhaps merged) for at least
 * the rights in `access`, and stores the caller's name for the registration in
 * `*handle`. Returns 0 or a negative errno; a positive number counts as the errno
 * of that number. -ENOMEM has the cache evict and ask again. Called with no lock held;
 * may call the library, but not destroy the cache. It need not return: a thread that ends
 * in it (pthread_exit(), pthread_cancel()) or a C++ exception that leaves it leaves the
 * call of the library, too, and nothing was registered.
 */
typedef int (*kdreg_register_fn)(void *ctx,
                                 void *addr,
                                 size_t length,
                                 uint32_t access,
                                 void **handle);

/**
 * Undoes a registration. Returns 0, or a negative errno, which is logged. Called
 * with no lock held, by whichever thread released the last use, or by the
 * library's reaper thread; may call the library, but not destroy the cache. It
 * need not return, as kdreg_register_fn says: the registration counts as undone,
 * and what else the call would have deregistered is left to the reaper or to the
 * next call. In the reaper, an exception ends there; when the thread ends, another
 * one follows. The reaper calls nothing once exit() has begun.
 */
typedef int (*kdreg_deregister_fn)(void *ctx, void *addr, size_t length, void *handle);

/**
 * What is to be registered, or undone. The library's; valid during the call only.
 */
struct kdreg_registration {
    /**
     * sizeof(struct kdreg_registration) in the library that runs: members beyond it are not
     * there.
     */
    size_t size;
    /**
     * The first byte of the range.
     */
    void *addr;
    /**
     * Its length in bytes.
     */
    size_t length;
    /**
     * The rights, KDREG_ACCESS_*.
     */
    uint32_t access;
    /**
     * KDREG_REGISTRATION_*.
     */
    uint32_t flags;
    /**
     * kdreg_get_attr.arg of the call that has it registered; NULL for other calls, and
     * when it is undone.
     */
    void *arg;
    /**
     * The caller's bytes in the entry, kdreg_cache_attr.entry_size of them, all zero when
     * it is registered; NULL where that is 0.
     */
    void *data;
    /**
     * The caller's name for the registration: NULL, for `reg_with` to fill in; for
     * `dereg_with`, what that stored.
     */
    void *handle;
};

/**
 * As kdreg_register_fn, in all that is said there; stores the caller's name for the
 * registration in `registration->handle`.
 */
typedef int (*kdreg_register_with_fn)(void *ctx, struct kdreg_registration *registration);

/**
 * As kdreg_deregister_fn, in all that is said there.
 */
typedef int (*kdreg_deregister_with_fn)(void *ctx, const struct kdreg_registration *registration);

/**
 * An entry that lookups do not find any more. The library's; valid during the call only.
 */
struct kdreg_cache_event {
    /**
     * sizeof(struct kdreg_cache_event) in the library that runs.
     */
    size_t size;
    /**
     * What it registers; NULL with KDREG_CAUSE_LOST.
     */
    void *addr;
    /**
     * Its length in bytes; 0 with KDREG_CAUSE_LOST.
     */
    size_t length;
    /**
     * Its rights.
     */
    uint32_t access;
    /**
     * KDREG_CAUSE_*.
     */
    uint32_t cause;
    /**
     * What the registering callback stored.
     */
    void *handle;
    /**
     * The caller's bytes in it.
     */
    void *data;
};

/**
 * Is told of an entry that lookups do not find any more: once, before it is
 * deregistered, by whichever thread found out, with no lock held. Others may still hold
 * it. May call the library, but not destroy the cache. It need not return, as
 * kdreg_register_fn says.
 */
typedef void (*kdreg_cache_event_fn)(void *ctx, const struct kdreg_cache_event *event);

/**
 * Describes an entry in dumps: writes up to `size` bytes of text without line ends to
 * `text`, and returns how many there are. The entry is held meanwhile. Called with
 * no lock held.
 */
typedef size_t (*kdreg_dump_fn)(void *ctx, const kdreg_entry_t *entry, char *text, size_t size);

/**
 * See `struct kdreg_group`.
 */
typedef struct kdreg_group kdreg_group_t;

/**
 * How to make a cache. Zero everything but `size`, `reg` and `dereg` for the
 * defaults.
 */
struct kdreg_cache_attr {
    /**
     * sizeof(struct kdreg_cache_attr), set by the caller.
     */
    size_t size;
    /**
     * Registers memory.
     */
    kdreg_register_fn reg;
    /**
     * Undoes a registration.
     */
    kdreg_deregister_fn dereg;
    /**
     * The first argument of both.
     */
    void *ctx;
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
     * below the page size; 0: the page size. With userfaultfd the wide range is
     * registered, and serves what was asked for of it: kdreg_backends(7).
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
     * 0.
     */
    uint32_t reserved;
    /**
     * Registers memory, and is told more than `reg`, which may be NULL then. Since 0.2,
     * as all that follows.
     */
    kdreg_register_with_fn reg_with;
    /**
     * Undoes a registration, and is told more than `dereg`, which may be NULL then.
     */
    kdreg_deregister_with_fn dereg_with;
    /**
     * Bytes of the caller's in each entry, 4,016 at most: kdreg_entry_data().
     */
    size_t entry_size;
    /**
     * A name for dumps and `kdreg_info --pid`: up to 31 printable characters without
     * blanks; copied. NULL: none.
     */
    const char *name;
    /**
     * Is told of entries that are not to be found any more, and why. NULL: nobody is.
     */
    kdreg_cache_event_fn event;
    /**
     * Describes an entry in dumps. NULL: nobody does.
     */
    kdreg_dump_fn dump;
    /**
     * A group whose limits the cache shares until it is destroyed. NULL: none.
     */
    kdreg_group_t *group;
};

/**
 * Says that something is done. Called once, with no lock held, by whichever thread
 * did it. May call the library, but not destroy the cache. It need not return, as
 * kdreg_register_fn says.
 */
typedef void (*kdreg_done_fn)(void *arg);

/**
 * What the caches of a group have together. Zero everything but `size` for no limits:
 * then they only make room for each other when a `reg` returns -ENOMEM.
 */
struct kdreg_group_attr {
    /**
     * sizeof(struct kdreg_group_attr), set by the caller.
     */
    size_t size;
    /**
     * The most entries kept in all caches together; 0: no limit.
     */
    size_t max_entries;
    /**
     * The most bytes kept registered by all caches together; 0: no limit.
     */
    size_t max_bytes;
    /**
     * KDREG_GROUP_* flags.
     */
    uint32_t flags;
    /**
     * 0.
     */
    uint32_t reserved;
};

/**
 * Receives the library's messages. Called by whichever thread has something to
 * say, with no lock of the library held, in the middle of anything; it may call the
 * library, but not destroy a cache, nor drain one with a NULL `done` (-EDEADLK).
 * `message` is valid during the call only. The thread is not cancelled meanwhile; an
 * exception that leaves it ends there, and a thread that ends in it ends when it
 * leaves the library.
 */
typedef void (*kdreg_log_fn)(void *ctx, int level, const char *message);

/**
 * How to open a monitor. Zero everything but `size` for the defaults.
 */
struct kdreg_attr {
    /**
     * sizeof(struct kdreg_attr), set by the caller.
     */
    size_t size;
    /**
     * KDREG_OPEN_* flags.
     */
    uint32_t flags;
    /**
     * KDREG_BACKEND_*. The environment variable KDREG_BACKEND (auto, kernel, bpf,
     * userfaultfd, none), where set, overrides it.
     */
    uint32_t backend;
    /**
     * The most regions held, with KDREG_OPEN_PRIVATE; 0: 1,048,576.
     */
    uint32_t max_regions;
    /**
     * 0.
     */
    uint32_t reserved;
};

/**
 * A monitored range. Filled by kdreg_monitor(); may be copied. Its members are
 * for kdreg_valid() and the library alone.
 */
struct kdreg_region {
    /**
     * The word that kdreg_valid() loads. Readable for ever, in a forked child too.
     */
    const uint32_t *word;
    /**
     * The value it has while the range is unchanged.
     */
    uint32_t generation;
    /**
     * The region's slot in its monitor.
     */
    uint32_t slot;
    /**
     * The monitor it belongs to.
     */
    uint64_t owner;
};

/**
 * A change to one region.
 */
struct kdreg_event {
    /**
     * What the caller gave to kdreg_monitor().
     */
    uint64_t cookie;
    /**
     * The region as it was registered.
     */
    const void *addr;
    /**
     * Its length in bytes.
     */
    size_t length;
    /**
     * KDREG_REASON_*.
     */
    uint32_t reason;
    /**
     * 0.
     */
    uint32_t reserved;
};

/**
 * What a backend could do here.
 */
struct kdreg_backend_info {
    /**
     * sizeof(struct kdreg_backend_info), set by the caller.
     */
    size_t size;
    /**
     * KDREG_BACKEND_*.
     */
    uint32_t backend;
    /**
     * 0 when it works here, else a negative errno.
     */
    int32_t error;
    /**
     * KDREG_CAP_*: what it sees here.
     */
    uint64_t caps;
    /**
     * Its name.
     */
    char name[32];
    /**
     * Why it does not work here, or what to expect of it.
     */
    char reason[192];
};

/**
 * What a cache did and holds. Counts begin at 0 when the cache is made.
 */
struct kdreg_cache_stats {
    /**
     * sizeof(struct kdreg_cache_stats), set by the caller.
     */
    size_t size;
    /**
     * Lookups that found a valid entry.
     */
    uint64_t hits;
    /**
     * Lookups by kdreg_cache_get() that had to register.
     */
    uint64_t misses;
    /**
     * Calls of `reg` that succeeded.
     */
    uint64_t registrations;
    /**
     * Calls of `reg` that failed, those tried again included.
     */
    uint64_t register_failures;
    /**
     * Calls of `dereg`.
     */
    uint64_t deregistrations;
    /**
     * Entries that a larger registration took the place of.
     */
    uint64_t merges;
    /**
     * Entries dropped to make room.
     */
    uint64_t evictions;
    /**
     * Entries dropped because their mapping changed, or on request.
     */
    uint64_t invalidations;
    /**
     * Registrations that were not kept: no room, or memory that cannot be watched.
     */
    uint64_t uncached;
    /**
     * Registrations that another thread turned out to have made at the same time.
     */
    uint64_t duplicates;
    /**
     * Entries cached now.
     */
    uint64_t entries;
    /**
     * Bytes cached now.
     */
    uint64_t bytes;
    /**
     * Entries in use now, cached or not.
     */
    uint64_t in_use;
    /**
     * Bytes dropped and idle, but not yet deregistered.
     */
    uint64_t unreleased_bytes;
};

/**
 * What a cache is.
 */
struct kdreg_cache_info {
    /**
     * sizeof(struct kdreg_cache_info), set by the caller.
     */
    size_t size;
    /**
     * KDREG_CAP_*: what its backend sees and promises.
     */
    uint64_t caps;
    /**
     * Its monitor's number, as `kdreg_info --pid` prints it; 0: it watches nothing.
     */
    uint64_t monitor;
    /**
     * KDREG_BACKEND_*.
     */
    uint32_t backend;
    /**
     * KDREG_INFO_*.
     */
    uint32_t flags;
    /**
     * Its name; empty: it has none.
     */
    char name[32];
};

/**
 * Is handed an entry, which is held meanwhile; 0 has the next one follow.
 */
typedef int (*kdreg_each_fn)(void *arg, kdreg_entry_t *entry);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * As kdreg_cache_get_with(), but never registers on this thread: where nothing is found,
 * a thread of the cache's own begins to register it, and a later call finds it. Call it
 * again from time to time, with the same arguments. What cannot be kept in the cache is
 * not registered.
 *
 * Returns 0 and the entry in `*out`; -EAGAIN when it is being registered, or waits for that.
 * Once, what became of it: what `reg` returned, -EFAULT, -ENOMEM; -ENOENT when it cannot be
 * kept, because of the limits, the backend or KDREG_CACHE_BYPASS, or since it changes all
 * the time; -ECANCELED when a callback did not return: then nothing waits any more, and the
 * next call begins anew. -ENOBUFS when 256 wait already; -ESHUTDOWN when the cache is being
 * drained or destroyed, or the process exits; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_cache_try_get(kdreg_cache_t *cache,
                        const void *addr,
                        size_t length,
                        const struct kdreg_get_attr *attr,
                        kdreg_entry_t **out);

/**
 * Has a thread of the cache's own do as kdreg_cache_get_with() does, and gives the entry to
 * `ready`, with `arg`: as long as that was not called, the memory must stay as it is, as
 * during a get. With `ready` NULL the entry is there for later lookups, if it can be
 * kept; what becomes of it kdreg_cache_try_get() tells.
 *
 * Returns 0, and then `ready` is called, even before this returns; -ENOBUFS when 256
 * wait already; -ENOMEM, also when no thread can be started; -ESHUTDOWN when the cache
 * is being drained or destroyed, or the process exits; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_cache_prefetch(kdreg_cache_t *cache,
                         const void *addr,
                         size_t length,
                         const struct kdreg_get_attr *attr,
                         kdreg_ready_fn ready,
                         void *arg);

/**
 * Makes a cache whose registrations are made by `attr->reg`. `monitor` tells
 * which backend to use (NULL: the shared default) and may be closed afterwards.
 *
 * Returns 0 and the cache in `*out`; -EINVAL for a bad `attr`; what
 * kdreg_open() returns; -EMFILE; -ENOMEM; -EBADF; -ECHILD.
 */
int kdreg_cache_create(kdreg_t *monitor, const struct kdreg_cache_attr *attr, kdreg_cache_t **out);

/**
 * Ends a cache and deregisters everything it holds; no callback runs once this
 * has returned 0. No other thread may be using the cache. When `dereg` does not
 * return there still is a cache, of which everything was dropped: destroy it again.
 *
 * What kdreg_cache_prefetch() or kdreg_cache_try_get() began it waits for, and what waits
 * for them is not done any more.
 *
 * Returns 0; -EBUSY while an entry is held, or a `ready` of kdreg_cache_prefetch()
 * is to be called, and nothing changes; -EDEADLK from
 * a callback of the cache or of its group, or a function of the log's; -EINVAL for a
 * null handle; -EBADF; -ECHILD.
 */
int kdreg_cache_destroy(kdreg_cache_t *cache);

/**
 * Drops every entry that overlaps `length` bytes at `addr`, as if its mapping
 * had changed. Entries in use are released at their last put. A registration
 * that another thread is being given this moment is that thread's alone, as
 * an uncached one is: once this has returned, nothing is found there that
 * began to be registered before it was called.
 *
 * Returns how many entries there were; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_cache_invalidate(kdreg_cache_t *cache, const void *addr, size_t length);

/**
 * Drops every entry. Entries in use are released at their last put, and what
 * is being registered this moment is treated as by kdreg_cache_invalidate().
 * What other threads had begun to deregister has been deregistered when this returns:
 * so what entries were registered in can go then, if nobody holds any, nor is inside
 * kdreg_cache_get() and its kin, kdreg_cache_put(), kdreg_cache_each() or
 * kdreg_cache_dump(). Called in a callback of any cache, or in a function of the log's, it
 * waits for nobody. What is being registered it does not wait for: kdreg_cache_drain() does.
 *
 * Returns how many entries there were; -EINVAL for a null handle; -EBADF;
 * -ECHILD.
 */
int kdreg_cache_flush(kdreg_cache_t *cache);

/**
 * Drops the entries whose mapping changed since, and deregisters everything
 * that waits for it. The reaper does the same by itself, unless the cache was
 * made with KDREG_CACHE_NO_REAPER.
 *
 * Returns how many entries were deregistered; -EINVAL for a null handle; -EBADF;
 * -ECHILD.
 */
int kdreg_cache_reap(kdreg_cache_t *cache);

/**
 * A descriptor that is readable (POLLIN) while there is something to reap. It
 * belongs to the cache: never read or close it. It may be readable when
 * kdreg_cache_reap() finds nothing.
 *
 * Returns the descriptor; -EINVAL for a null handle; -EBADF;
 * -ECHILD.
 */
int kdreg_cache_fd(kdreg_cache_t *cache);

/**
 * Ends a registration for all later lookups: none finds this entry any more. The caller
 * holds it, and puts it back as ever. When the last reference is gone and it has been
 * deregistered, `done` is called with `arg`; NULL: nothing is. An entry that was
 * dropped before, or is not cached, is fine, too; each call has its own `done`.
 *
 * Returns 0, and then `done` is called, be it before this returns (not while the caller
 * holds the entry); -EINVAL when it is not an entry of this cache or nobody holds it;
 * -ENOMEM; -EBADF; -ECHILD.
 */
int kdreg_cache_drop(kdreg_cache_t *cache, kdreg_entry_t *entry, kdreg_done_fn done, void *arg);

/**
 * Ends the cache's use: from now on calls that would register fail with -ESHUTDOWN,
 * and so do lookups that find nothing; all entries are dropped, and prefetches that were
 * not begun end with -ESHUTDOWN. When nothing is in
 * use any more, nor being registered or prefetched, and everything has been deregistered, `done` is
 * called with `arg`, and the cache can be destroyed once it has returned and no thread
 * is in a call. With `done` NULL this waits until then: for others to put what they
 * hold, so the caller must hold nothing. When it returns, another thread may still be on
 * its way out of the put that was waited for, or of any other call: the cache can be
 * destroyed when no thread is inside one.
 *
 * Returns 0; -EALREADY when another `done` is to be called; -EDEADLK when it would
 * wait for a callback, of the cache's or its group's, or a function of the log's, that it is
 * called in; -EINVAL for a null handle; -EBADF; -ECHILD.
 */
int kdreg_cache_drain(kdreg_cache_t *cache, kdreg_done_fn done, void *arg);

/**
 * Evicts entries that nobody holds, the least recently used first, until `bytes` bytes have
 * been deregistered or none is left: for who runs out of what registrations take, elsewhere than in `reg`.
 *
 * Returns how many entries there were; -EINVAL for a null handle; -EBADF; -ECHILD.
 */
int kdreg_cache_evict(kdreg_cache_t *cache,
                      size_t bytes);

/**
 * Has an entry, which the caller holds, evicted after all those of a smaller priority: 0 is
 * what each begins with, up to 254; KDREG_PRIORITY_PINNED never is, neither for the limits of
 * the cache or its group, nor where `reg` lacks memory, nor by kdreg_cache_evict(). It lasts
 * until the entry is not found any more, because its memory changes, or it is dropped; a
 * registration that takes its place has the largest priority of those whose place it takes.
 *
 * Returns 0; -ENOENT when the entry is not cached, or not any more; -EINVAL for another priority,
 * and when it is not an entry of this cache or nobody holds it; -EBADF; -ECHILD.
 */
int kdreg_cache_prioritize(kdreg_cache_t *cache, kdreg_entry_t *entry, uint32_t priority);

/**
 * Takes another reference on an entry that the caller holds, to be put back by a
 * kdreg_cache_put() of its own, in any thread. Looks nothing up and registers
 * nothing: it is the same registration, also when it has changed, or was
 * dropped, since. Does not fail while the entry is held.
 *
 * Returns 0; -EINVAL when it is not an entry of this cache or nobody holds it;
 * -EBADF; -ECHILD.
 */
int kdreg_cache_hold(kdreg_cache_t *cache, kdreg_entry_t *entry);

/**
 * The first address of what is registered: at or below what was asked for. The
 * caller holds the entry. NULL for NULL.
 */
void *kdreg_entry_base(const kdreg_entry_t *entry);

/**
 * How many bytes are registered from kdreg_entry_base() on. The caller holds the
 * entry. 0 for NULL.
 */
size_t kdreg_entry_length(const kdreg_entry_t *entry);

/**
 * The rights it is registered with: at least what was asked for. The caller
 * holds the entry. 0 for NULL.
 */
uint32_t kdreg_entry_access(const kdreg_entry_t *entry);

/**
 * What `reg` stored in `*handle`. The caller holds the entry. NULL for NULL.
 */
void *kdreg_entry_handle(const kdreg_entry_t *entry);

/**
 * The caller's bytes in an entry, kdreg_cache_attr.entry_size of them: behind the line
 * of memory that a hit reads, so that neither a second allocation is needed nor a
 * pointer to be followed. All zero when it is registered; written by the callbacks and
 * by whoever holds the entry, who must agree on it among themselves; the entry's until it is deregistered. The
 * caller holds the entry. NULL for NULL, and where that size is 0.
 */
void *kdreg_entry_data(const kdreg_entry_t *entry);

/**
 * What is known of `length` bytes at `addr`, which the entry covers and the
 * caller asked for: of these, whatever has happened to memory that was merged
 * with it or to the rest of the entry. A page that is copied at its first write,
 * after fork() or in the place of the zero page, is another page: that is a change,
 * and cannot be told from others where it was the registration that wrote. So write to
 * private memory before it is registered. May wait some milliseconds while changes are
 * in flight.
 *
 * Returns KDREG_ENTRY_UNCHANGED, KDREG_ENTRY_CHANGED or KDREG_ENTRY_UNKNOWN;
 * -EINVAL when the entry is not a held one of this cache or does not cover the
 * range; -EBADF; -ECHILD.
 */
int kdreg_entry_check(kdreg_cache_t *cache,
                      const kdreg_entry_t *entry,
                      const void *addr,
                      size_t length);

/**
 * Whether all that the entry registers, what was merged with it included, still
 * maps what it did, and none of it was invalidated. `false` also when the backend
 * cannot tell, as for an entry that is not cached, and for anything that is not a
 * held entry of this cache. Of the caller's own range kdreg_entry_check() tells more.
 */
bool kdreg_entry_valid(kdreg_cache_t *cache, const kdreg_entry_t *entry);

/**
 * Makes a group: caches that are made with it in `kdreg_cache_attr.group` share its
 * limits, besides their own. `attr` NULL: no limits. What one of them registers makes
 * room in all of them: within the limits, and when its `reg` returns -ENOMEM, entries
 * that nobody holds are evicted, the least recently used of all caches first (what was
 * used since one of them last registered something counts as used at one time, between
 * caches). What does not fit even so is registered uncached.
 *
 * So a call of one cache may call the `dereg` and the `event` of another, in its own
 * thread, with no lock held: what such a callback locks must not be held where any
 * cache of the group is called. From these callbacks no cache of the group can be
 * destroyed, nor be drained with a NULL `done`: -EDEADLK.
 *
 * Returns 0 and the group in `*out`; -EINVAL for a bad `attr`; -EMFILE; -ENOMEM.
 */
int kdreg_group_create(const struct kdreg_group_attr *attr, kdreg_group_t **out);

/**
 * Ends a group. No other thread may be using it.
 *
 * Returns 0; -EBUSY while there are caches in it, and nothing changes; -EINVAL for a null
 * handle; -EBADF; -ECHILD.
 */
int kdreg_group_destroy(kdreg_group_t *group);

/**
 * As kdreg_cache_evict(), of all caches of a group: evicts entries that nobody holds,
 * the least recently used of all first, until `bytes` bytes have been deregistered or none
 * is left.
 *
 * Returns how many entries there were; -EINVAL for a null handle; -EBADF; -ECHILD.
 */
int kdreg_group_evict(kdreg_group_t *group, size_t bytes);

/**
 * The version of the library that runs, as (major << 16) | (minor << 8) | patch.
 */
uint32_t kdreg_version(void);

/**
 * The version of the library that runs, "major.minor.patch". Static; never NULL.
 */
const char *kdreg_version_string(void);

/**
 * What an error means: `error` is what a function of this library returned
 * (negative), or an errno value (positive). Never NULL; valid for ever for
 * the errors that this library's documentation names, otherwise until the
 * calling thread asks again.
 */
const char *kdreg_strerror(int error);

/**
 * Sends messages up to `level` (KDREG_LOG_*) to `fn`, called with `ctx` from
 * any thread; NULL sends them to standard error. Until this is called the
 * environment variable KDREG_LOG (off, error, warn, info, debug) sets the
 * level, warn when unset. A message under way in another thread may still
 * reach the previous function.
 *
 * Returns 0; -EINVAL for an unknown level; -ENOMEM.
 */
int kdreg_set_log(kdreg_log_fn fn, void *ctx, int level);

/**
 * Sends messages up to `level` (KDREG_LOG_*) to `fn`, called with `ctx` from any thread,
 * besides whoever gets them already: for libraries, which take nothing from each other
 * so. Again for the same `fn` and `ctx`: another level.
 *
 * Returns 0; -EINVAL when `fn` is NULL or for an unknown level; -ENOMEM.
 */
int kdreg_add_log(kdreg_log_fn fn, void *ctx, int level);

/**
 * Ends what kdreg_add_log() began for this `fn` and `ctx`. A message under way in another
 * thread may still reach it.
 *
 * Returns 0; -ENOENT when it was not added; -EINVAL when `fn` is NULL.
 */
int kdreg_remove_log(kdreg_log_fn fn, void *ctx);

/**
 * An entry that covers `length` bytes at `addr` with at least the rights in
 * `access` (KDREG_ACCESS_*): found, or registered now. The caller holds it
 * until kdreg_cache_put().
 *
 * Returns 0 and the entry in `*out`; what `reg` returned; -EFAULT when part of
 * the range is not mapped; -EINVAL for length 0, a range that wraps around or
 * reaches into kernel addresses, or unknown access bits; -ENOMEM; -EBADF; -ECHILD.
 */
int kdreg_cache_get(kdreg_cache_t *cache,
                    const void *addr,
                    size_t length,
                    uint32_t access,
                    kdreg_entry_t **out);

/**
 * As kdreg_cache_get(), with more to say of what is registered when nothing is found.
 *
 * Returns what kdreg_cache_get() does, and -EINVAL for a bad `attr`.
 */
int kdreg_cache_get_with(kdreg_cache_t *cache,
                         const void *addr,
                         size_t length,
                         const struct kdreg_get_attr *attr,
                         kdreg_entry_t **out);

/**
 * As kdreg_cache_get(), but never registers: -ENOENT when no valid entry covers
 * the range.
 */
int kdreg_cache_find(kdreg_cache_t *cache,
                     const void *addr,
                     size_t length,
                     uint32_t access,
                     kdreg_entry_t **out);

/**
 * Puts back an entry from kdreg_cache_get() or kdreg_cache_find(). The last put
 * of an entry that is not cached any more deregisters it.
 *
 * Returns 0; -EINVAL when it is not an entry of this cache or nobody holds it;
 * -EBADF; -ECHILD.
 */
int kdreg_cache_put(kdreg_cache_t *cache, kdreg_entry_t *entry);

/**
 * Opens a monitor: the strongest backend that works here, unless `attr` (NULL:
 * the defaults) or the environment variable KDREG_BACKEND asks for one. All
 * handles of a process share one backend of each kind, unless opened with
 * KDREG_OPEN_PRIVATE; each has an event queue of its own.
 *
 * Returns 0 and the handle in `*out`; -ENODEV when the one backend asked for
 * does not work here (kdreg_probe() says why); -EINVAL for a bad `attr` or
 * environment; -EMFILE; -ENOMEM.
 */
int kdreg_open(const struct kdreg_attr *attr, kdreg_t **out);

/**
 * Closes a monitor. Its regions all become invalid; caches made on it carry on.
 * No other thread may be using the handle.
 *
 * Returns 0; -EBADF when it is not open; -ECHILD in a forked child.
 */
int kdreg_close(kdreg_t *monitor);

/**
 * Begins to watch `length` bytes at `addr`, to the byte; a change to any page
 * they touch counts. `cookie` comes back in the region's event and means
 * nothing to the library. Regions may overlap; each has its own event. With
 * userfaultfd no thread may be discarding (madvise) part of the range meanwhile:
 * kdreg_backends(7).
 *
 * Returns 0 and the region in `*out`; -EFAULT when part of the range is not
 * mapped; -EBUSY when another userfaultfd owns the memory; -EOPNOTSUPP when
 * this backend cannot watch it; -ENOSPC when the monitor is full, or the process
 * has nearly as many mappings as it may; -EAGAIN when they kept changing; -ENOMEM;
 * -ENXIO when the backend has stopped; -EINVAL for length 0 or a range that
 * wraps around or reaches into kernel addresses; -EBADF; -ECHILD.
 */
int kdreg_monitor(kdreg_t *monitor,
                  const void *addr,
                  size_t length,
                  uint64_t cookie,
                  struct kdreg_region *out);

/**
 * Ends the watch of a region of this monitor and clears `*region`, so that a
 * second call on it fails. No event follows, and copies of the region are not
 * valid any more.
 *
 * Returns 0, also when the region had changed already; -EINVAL when it is not
 * a region of this monitor, or was cleared; -EBADF; -ECHILD.
 */
int kdreg_unmonitor(kdreg_t *monitor, struct kdreg_region *region);

/**
 * The part of kdreg_valid() that is more than a load and a compare: asks the
 * backend whether the region is unchanged. `false` for NULL and for a region
 * whose monitor is closed.
 */
bool kdreg_valid_slow(const struct kdreg_region *region);

/**
 * Takes up to `max` events off the queue. A region whose event was taken is
 * gone: it needs no kdreg_unmonitor(). Events only tell the reason; that a
 * region changed is known to kdreg_valid() before.
 *
 * Returns how many were written to `events`; -EINVAL when `events` is NULL and
 * `max` is not 0; -EBADF; -ECHILD.
 */
int kdreg_check(kdreg_t *monitor, struct kdreg_event *events, size_t max);

/**
 * A descriptor that is readable (POLLIN) while events are queued, for poll,
 * epoll and the like. It belongs to the monitor: never read or close it. It may
 * be readable when kdreg_check() finds nothing.
 *
 * Returns the descriptor; -EINVAL for a null handle; -EBADF;
 * -ECHILD.
 */
int kdreg_fd(kdreg_t *monitor);

/**
 * The backend in use: "kernel", "bpf", "userfaultfd" or "none". Static; NULL when
 * the handle is not open.
 */
const char *kdreg_backend_name(kdreg_t *monitor);

/**
 * What the monitor sees and promises: KDREG_CAP_* bits; 0 when the handle is
 * not open. A change whose bit is not set may go unnoticed.
 */
uint64_t kdreg_caps(kdreg_t *monitor);

/**
 * Tries a backend (KDREG_BACKEND_KERNEL, _BPF, _USERFAULTFD or _NONE) and tells in
 * `*info`, whose `size` the caller has set, whether it works here, what it
 * would see, and if it does not work, why. Leaves nothing behind.
 *
 * Returns 0; -EINVAL.
 */
int kdreg_probe(uint32_t backend, struct kdreg_backend_info *info);

/**
 * Entries for the `count` ranges of a scatter list, each with at least the rights in
 * `access`: found, or registered now, as by kdreg_cache_get() for one after the other. The
 * caller holds each, and puts it back with kdreg_cache_putv() or kdreg_cache_put(); an entry
 * that serves several ranges is held as often.
 *
 * Returns 0 and the entries in `out[0]` to `out[count - 1]`, in the list's order; what
 * kdreg_cache_get() returns for one of them, and then none is held, and what is in `out` is
 * NULL or as it was, and what was registered until then is dropped again. -EINVAL also for a
 * list that is NULL, of more than 0 ranges.
 */
int kdreg_cache_getv(kdreg_cache_t *cache,
                     const struct iovec *iov,
                     size_t count,
                     uint32_t access,
                     kdreg_entry_t **out);

/**
 * Puts back `count` entries, as by kdreg_cache_put() for one after the other. NULLs are passed
 * over. All that can be put are put, whatever else is in the list, and when a `dereg` does not
 * return.
 *
 * Returns 0; -EINVAL for a list that is NULL, of more than 0 entries, and when one of them
 * is not an entry of this cache or nobody holds it; -EBADF; -ECHILD.
 */
int kdreg_cache_putv(kdreg_cache_t *cache, kdreg_entry_t *const *entries, size_t count);

/**
 * Fills `*stats`, whose `size` the caller has set.
 *
 * Returns 0; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_cache_stats(kdreg_cache_t *cache, struct kdreg_cache_stats *stats);

/**
 * Fills `*info`, whose `size` the caller has set.
 *
 * Returns 0; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_cache_info(kdreg_cache_t *cache, struct kdreg_cache_info *info);

/**
 * What the cache's backend sees and promises: KDREG_CAP_* bits; 0 when the handle is not
 * open.
 */
uint64_t kdreg_cache_caps(kdreg_cache_t *cache);

/**
 * Calls `fn` with `arg` and each entry that can be found, in no order, with no lock held.
 * `fn` may call the library, may kdreg_cache_hold() the entry to keep it, and need not
 * return, as kdreg_register_fn says. What comes or goes meanwhile may be among them or not.
 *
 * Returns 0 when `fn` was called with all, else what it returned first that was not 0;
 * -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_cache_each(kdreg_cache_t *cache, kdreg_each_fn fn, void *arg);

/**
 * Writes a table of the cache's limits, counts and entries to the file
 * descriptor `fd`.
 *
 * Returns 0; -EBADF, also for a bad `fd`; what writing failed with; -ECHILD.
 */
int kdreg_cache_dump(kdreg_cache_t *cache, int fd);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Each structure whose size the caller sets, with that and otherwise zero: in C and in C++,
 * struct kdreg_attr attr = KDREG_ATTR_INIT; */
#define KDREG_ATTR_INIT {sizeof(struct kdreg_attr), 0, 0, 0, 0}
#define KDREG_CACHE_ATTR_INIT \
    {sizeof(struct kdreg_cache_attr), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL}
#define KDREG_GROUP_ATTR_INIT {sizeof(struct kdreg_group_attr), 0, 0, 0, 0}
#define KDREG_GET_ATTR_INIT {sizeof(struct kdreg_get_attr), 0, 0, NULL, 0}
#define KDREG_CACHE_STATS_INIT {sizeof(struct kdreg_cache_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#define KDREG_CACHE_INFO_INIT {sizeof(struct kdreg_cache_info), 0, 0, 0, 0, {0}}
#define KDREG_BACKEND_INFO_INIT {sizeof(struct kdreg_backend_info), 0, 0, 0, {0}, {0}}

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Tells whether a region still maps what it did when it was monitored.
 *
 * Costs a load and a compare where the kernel keeps the state word current, and
 * calls kdreg_valid_slow() otherwise. Takes no lock. Safe from any thread at any
 * time once kdreg_monitor() has filled the region: after kdreg_unmonitor(), after
 * kdreg_close() and in a forked child the answer is false.
 */
static inline bool kdreg_valid(const struct kdreg_region *region)
{
    /* Acquire: what the caller reads after a true answer is not older than it. */
    if (__atomic_load_n(region->word, __ATOMIC_ACQUIRE) == region->generation)
        return true;
    return kdreg_valid_slow(region);
}

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* KDREG_H */
