/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from libkdreg/src/adaptors/fabric by `make header`: change it there. */

#ifndef KDREG_FABRIC_H
#define KDREG_FABRIC_H

#include <kdreg.h>
#include <stddef.h>
#include <stdint.h>

/* As KDREG_ATTR_INIT. */
#define KDREG_FABRIC_ATTR_INIT {sizeof(struct kdreg_fabric_attr), NULL, NULL, 0, 0}
#define KDREG_FABRIC_STATS_INIT {sizeof(struct kdreg_fabric_stats), 0, 0, 0, 0, 0, 0, 0}

/**
 * kdreg_fabric_attr.flags: import although the environment variable
 * FI_MR_CACHE_MONITOR names one of libfabric's own monitors.
 */
#define KDREG_FABRIC_OVERRIDE 1u

/**
 * libkdreg, imported into libfabric as the monitor of its registration caches.
 *
 * Made by kdreg_fabric_import(), ended by kdreg_fabric_release(). There is at most
 * one in a process. May be used by any number of threads, but not while another
 * thread releases it.
 */
struct kdreg_fabric;

/**
 * How to import. Zero everything but `size` for the defaults.
 */
struct kdreg_fabric_attr {
    /**
     * sizeof(struct kdreg_fabric_attr), set by the caller.
     */
    size_t size;
    /**
     * The monitor whose backend watches; NULL: the shared default, as
     * kdreg_open() opens it. It may be closed afterwards.
     */
    kdreg_t *monitor;
    /**
     * File name of libfabric; NULL: "libfabric.so.1", which is the one that the
     * process has already, if it has one. Used during the call only.
     */
    const char *library;
    /**
     * KDREG_FABRIC_* flags.
     */
    uint32_t flags;
    /**
     * 0.
     */
    uint32_t reserved;
};

/**
 * See `struct kdreg_fabric`.
 */
typedef struct kdreg_fabric kdreg_fabric_t;

/**
 * What an import did. Counts begin at 0 with the import.
 */
struct kdreg_fabric_stats {
    /**
     * sizeof(struct kdreg_fabric_stats), set by the caller.
     */
    size_t size;
    /**
     * How often libfabric has started the monitor. 0: no provider in this
     * process has set up a registration cache (verbs does for each domain; tcp,
     * udp, shm and sockets have none).
     */
    uint64_t starts;
    /**
     * Registrations that entered one of libfabric's caches.
     */
    uint64_t subscriptions;
    /**
     * Those among them whose memory cannot be watched: they are never valid.
     */
    uint64_t unwatched;
    /**
     * Lookups that found a registration, and were told that it is valid.
     */
    uint64_t hits;
    /**
     * Lookups that found a registration, and were told that it is stale: each
     * would have been a transfer with the wrong memory.
     */
    uint64_t stale;
    /**
     * Ranges that libfabric was told to drop before it asked about them.
     */
    uint64_t notifications;
    /**
     * Ranges watched now.
     */
    uint64_t ranges;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes libkdreg the monitor of libfabric's registration caches, of all
 * providers and domains of this process: a registration whose memory was
 * unmapped, moved or discarded is not found any more, and is released. Call it
 * once, after fi_getinfo() and before the first domain is opened; `attr` may
 * be NULL. Unmodified programs get the same from libkdreg-fabric.so, by
 * LD_PRELOAD.
 *
 * libfabric is opened at run time, 1.13 or newer. What the backend does not see
 * (kdreg_caps()) stays unseen. When no backend works, every transfer registers
 * anew: correct, uncached.
 *
 * Returns 0 and the import in `*out`; a failure is logged with what to do about
 * it, and leaves libfabric as it was. -EBUSY when another monitor was imported
 * before (Open MPI does so: run it with `--mca memory ^patcher`), or a domain
 * with a cache is open; -ECANCELED when the environment variable
 * FI_MR_CACHE_MONITOR names another monitor; -ELIBACC when libfabric cannot be
 * opened; -EPROTONOSUPPORT when it is older than 1.13; what kdreg_open()
 * returns; what libfabric returns; -EINVAL for a bad `attr`; -EMFILE; -ENOMEM;
 * -EBADF and -ECHILD for a bad `attr->monitor`.
 */
int kdreg_fabric_import(const struct kdreg_fabric_attr *attr, kdreg_fabric_t **out);

/**
 * Takes libkdreg out of libfabric. Close every domain before; no other thread
 * may be opening one. libfabric does not go back to its own monitor: domains
 * opened later have no registration cache. A program that ends need not call this.
 *
 * Returns 0; -EBUSY while a domain with a cache is open, and nothing changes;
 * -EBADF; -ECHILD in a forked child.
 */
int kdreg_fabric_release(kdreg_fabric_t *import);

/**
 * Fills `*stats`, whose `size` the caller has set.
 *
 * Returns 0; -EINVAL; -EBADF; -ECHILD.
 */
int kdreg_fabric_stats(kdreg_fabric_t *import, struct kdreg_fabric_stats *stats);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KDREG_FABRIC_H */
