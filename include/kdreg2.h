/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note OR MIT OR Apache-2.0 */
/*
 * The device interface of /dev/kdreg (and /dev/kdreg2), for C99 and C++.
 *
 * The first part is the kdreg2 interface: programs written for it compile and
 * run unchanged. The second part is this project's own and exists where
 * KDREG_IOCTL_FEATURES succeeds. libkdreg/src/uapi.rs says the same in Rust;
 * a test compares the two.
 *
 * A descriptor belongs to the process that opened it. In a forked child its
 * calls fail and no region is ever valid; the parent goes on undisturbed.
 *
 * Only for 64-bit processes.
 */
#ifndef KDREG2_H
#define KDREG2_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Clients count on it for ioctl(): libfabric's kdreg2 monitor includes nothing else that declares it. */
#include <sys/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------
 * The kdreg2 interface
 */

#define KDREG2_MODNAME "kdreg2"
#define KDREG2_DEVICE_NAME "/dev/" KDREG2_MODNAME
#define KDREG2_IOC_MAGIC 'k'

/* A client's name for a region; any value but the one that is refused. */
typedef uint64_t kdreg2_cookie_t;
#define KDREG2_BAD_COOKIE_VALUE ((kdreg2_cookie_t)-1)

/* `location` after a MONITOR that failed. */
#define KDREG2_LOCATION_NONE ((size_t)-1)

/* Names one monitoring of one region. */
struct kdreg2_monitoring_params {
    size_t location;     /* index of its state word */
    uint32_t generation; /* value of the word while the region is unchanged */
};

/* A state word. */
struct kdreg2_monitoring_state {
    union {
        uint32_t raw;
        struct {
            uint32_t val;
        } state;
        struct {
            uint32_t in_use : 1; /* the slot holds a monitored region */
            uint32_t data : 31;  /* its generation; in a free slot, the next one */
        } bits;
    } u;
};

struct kdreg2_counter {
    uint64_t val;
};

/* The page that CONFIG_DATA maps. Read-only. */
struct kdreg2_status_data {
    uint64_t version;
    size_t max_regions;                       /* number of state words */
    struct kdreg2_counter pending_events;     /* waiting to be read */
    struct kdreg2_counter total_events;       /* ever queued */
    struct kdreg2_counter num_active_regions; /* monitored now */
    const struct kdreg2_monitoring_state *monitoring_state_base;
};

struct kdreg2_config_data {
    size_t max_regions;                           /* in: regions at once */
    const struct kdreg2_status_data *status_data; /* out */
};

struct kdreg2_ioctl_monitor {
    const void *addr;                                  /* in */
    size_t length;                                     /* in: bytes, not 0 */
    kdreg2_cookie_t cookie;                            /* in */
    struct kdreg2_monitoring_params monitoring_params; /* out */
};

struct kdreg2_ioctl_unmonitor {
    kdreg2_cookie_t cookie;
    struct kdreg2_monitoring_params monitoring_params;
};

/* Say how many regions to hold, and map the status page. May be repeated while
 * no region is monitored and no event waits (else EBUSY); that makes another
 * mapping, and the previous one stays: it shows the same words. */
#define KDREG2_IOCTL_CONFIG_DATA _IOWR(KDREG2_IOC_MAGIC, 1, struct kdreg2_config_data)
/* Monitor a region. EBUSY: the cookie is in use for another one. ENOSPC: no
 * slot is free; read or flush events, unmonitor regions, or configure more. */
#define KDREG2_IOCTL_MONITOR _IOWR(KDREG2_IOC_MAGIC, 2, struct kdreg2_ioctl_monitor)
/* Stop monitoring a region. 0 also when it changed before. EBADSLT: the cookie
 * is in use with other parameters. */
#define KDREG2_IOCTL_UNMONITOR _IOW(KDREG2_IOC_MAGIC, 3, struct kdreg2_ioctl_unmonitor)
/* Stop monitoring all regions. */
#define KDREG2_IOCTL_UNMONITOR_ALL _IO(KDREG2_IOC_MAGIC, 4)
/* Discard the pending events. */
#define KDREG2_IOCTL_FLUSH _IO(KDREG2_IOC_MAGIC, 5)
/* Write statistics to the kernel log. */
#define KDREG2_IOCTL_DUMP_STATS _IO(KDREG2_IOC_MAGIC, 6)

#define KDREG2_EVENT_MAPPING_CHANGE 1

/* The region as it was given to MONITOR. */
struct kdreg2_mapping_change {
    const void *addr;
    size_t len;
    kdreg2_cookie_t cookie;
};

/* What read() returns, whole ones only. */
struct kdreg2_event {
    uint32_t type;
    /* 0, or for a region monitored with KDREG_MONITOR_REASON the one
     * KDREG_CHANGE_ bit that ended the monitoring. */
    uint32_t _alignment;
    union {
        struct kdreg2_mapping_change mapping_change;
    } u;
};

static inline uint64_t kdreg2_read_counter(const struct kdreg2_counter *counter)
{
    /* Who sees an event counted sees the state word changed before it. */
    return __atomic_load_n(&counter->val, __ATOMIC_ACQUIRE);
}

static inline bool kdreg2_mapping_changed(const struct kdreg2_status_data *status,
                                          const struct kdreg2_monitoring_params *params)
{
    /* Pairs with the release store of the kernel. */
    return __atomic_load_n(&status->monitoring_state_base[params->location].u.raw,
                           __ATOMIC_ACQUIRE) != params->generation;
}

/* ---------------------------------------------------------------------------
 * Extensions
 */

#define KDREG_DEVICE_NAME "/dev/kdreg"

#define KDREG_FEATURES_VERSION 1

#define KDREG_FEATURE_BATCH (1ULL << 0)       /* MONITOR_BATCH, UNMONITOR_BATCH */
#define KDREG_FEATURE_CHANGE_MASK (1ULL << 1) /* kdreg_monitor_entry.changes */
#define KDREG_FEATURE_REASON (1ULL << 2)      /* KDREG_MONITOR_REASON */
#define KDREG_FEATURE_SYNCHRONOUS (1ULL << 3) /* no word changes late, ever */
#define KDREG_FEATURE_NO_OVERFLOW (1ULL << 4) /* no event is ever lost */
#define KDREG_FEATURE_NEEDS (1ULL << 5)       /* KDREG_MONITOR_NEEDS_ flags */

struct kdreg_features {
    uint32_t version;         /* KDREG_FEATURES_VERSION */
    uint32_t max_batch;       /* most entries in one batch */
    uint64_t features;        /* KDREG_FEATURE_ bits */
    uint64_t max_regions;     /* most that CONFIG_DATA grants one descriptor */
    uint32_t changes;         /* KDREG_CHANGE_ bits that can be asked for */
    uint32_t default_changes; /* those that invalidate by default */
    uint64_t reserved[4];     /* 0 */
};

#define KDREG_CHANGE_UNMAP (1U << 0)         /* munmap, mmap over it, mremap, brk */
#define KDREG_CHANGE_CLEAR (1U << 1)         /* pages taken out: madvise, truncation, reclaim, ... */
#define KDREG_CHANGE_PROTECTION (1U << 2)    /* mprotect, NUMA balancing */
#define KDREG_CHANGE_WRITE_PROTECT (1U << 3) /* what fork does to all pages; pinned ones stay */
#define KDREG_CHANGE_SOFT_DIRTY (1U << 4)    /* soft-dirty tracking */
#define KDREG_CHANGE_MIGRATE (1U << 5)       /* to or from device memory */
#define KDREG_CHANGE_EXCLUSIVE (1U << 6)     /* made exclusive to a device */
#define KDREG_CHANGE_ALL ((1U << 7) - 1)
#define KDREG_CHANGE_DEFAULT \
    (KDREG_CHANGE_UNMAP | KDREG_CHANGE_CLEAR | KDREG_CHANGE_PROTECTION | KDREG_CHANGE_MIGRATE)

/* kdreg_monitor_entry.flags: put the reason into the region's event. */
#define KDREG_MONITOR_REASON (1U << 0)
/* kdreg_monitor_entry.flags: what the region needs. With one of them
 * KDREG_CHANGE_PROTECTION is only what takes that away, or may; with neither it
 * is any change, also one that takes nothing away (NUMA balancing). */
#define KDREG_MONITOR_NEEDS_READ (1U << 1)
#define KDREG_MONITOR_NEEDS_WRITE (1U << 2) /* to be read and written */

#define KDREG_MAX_BATCH 4096

struct kdreg_batch {
    uint64_t entries; /* in: address of an array of entries */
    uint32_t count;   /* in: its length, 1 to KDREG_MAX_BATCH */
    /* Out: entries handled; each has its own status. Equal to count when the
     * call succeeds; when it fails, the entries from here on were left alone. */
    uint32_t done;
};

struct kdreg_monitor_entry {
    uint64_t addr;          /* in */
    uint64_t length;        /* in */
    kdreg2_cookie_t cookie; /* in */
    uint64_t location;      /* out */
    uint32_t generation;    /* out */
    int32_t status;         /* out: 0 or a negative errno */
    uint32_t changes;       /* in: KDREG_CHANGE_ bits that invalidate; 0: default */
    uint32_t flags;         /* in: KDREG_MONITOR_ bits */
};

struct kdreg_unmonitor_entry {
    kdreg2_cookie_t cookie; /* in */
    uint64_t location;      /* in */
    uint32_t generation;    /* in */
    int32_t status;         /* out: 0 or a negative errno */
};

/* What can this device do beyond kdreg2? ENOTTY where the answer is nothing. */
#define KDREG_IOCTL_FEATURES _IOR(KDREG2_IOC_MAGIC, 32, struct kdreg_features)
/* Monitor several regions, of kdreg_monitor_entry. */
#define KDREG_IOCTL_MONITOR_BATCH _IOWR(KDREG2_IOC_MAGIC, 33, struct kdreg_batch)
/* Stop monitoring several regions, of kdreg_unmonitor_entry. */
#define KDREG_IOCTL_UNMONITOR_BATCH _IOWR(KDREG2_IOC_MAGIC, 34, struct kdreg_batch)

#ifdef __cplusplus
}
#endif

#endif /* KDREG2_H */
