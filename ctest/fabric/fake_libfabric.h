/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The ABI of libfabric that a memory monitor meets, and a cache to exercise it with. */
#ifndef KDREG_TEST_FAKE_LIBFABRIC_H
#define KDREG_TEST_FAKE_LIBFABRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))
#define FAKE_CLASS_MEM_MONITOR 23
/* Domains, each with a cache of its own. */
#define FAKE_CACHES 2

struct fid;
struct fi_ops {
    size_t size;
    int (*close)(struct fid *fid);
    int (*bind)(struct fid *fid, struct fid *with, uint64_t flags);
};
struct fid {
    size_t fclass;
    void *context;
    struct fi_ops *ops;
};
struct fid_mem_monitor;
struct fi_ops_mem_monitor {
    size_t size;
    int (*start)(struct fid_mem_monitor *monitor);
    void (*stop)(struct fid_mem_monitor *monitor);
    int (*subscribe)(struct fid_mem_monitor *monitor, const void *addr, size_t length);
    void (*unsubscribe)(struct fid_mem_monitor *monitor, const void *addr, size_t length);
    bool (*valid)(struct fid_mem_monitor *monitor, const void *addr, size_t length);
};
struct fi_ops_mem_notify {
    size_t size;
    void (*notify)(struct fid_mem_monitor *monitor, const void *addr, size_t length);
};
struct fid_mem_monitor {
    struct fid fid;
    struct fi_ops_mem_monitor *export_ops;
    struct fi_ops_mem_notify *import_ops;
};

uint32_t fi_version(void);
int fi_open(uint32_t version, const char *name, void *attr, size_t attr_len, uint64_t flags, struct fid **fid, void *context);

/* The first opening starts the monitor, the last closing stops it. */
int fake_open(void);
void fake_close(void);
/* Registers the 8 bytes at `addr`, or finds their registration: what they were when they were registered. */
uint64_t fake_lookup(int cache, const void *addr, size_t length, int *hit);
size_t fake_entries(int cache);
/* Notifications that came while no cache was open. */
int fake_notified_early(void);

#endif
