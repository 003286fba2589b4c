/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What stands for the network card: something that must be told about memory
 * before it can move data from or to it, and that keeps using the physical
 * pages it was told about, whatever the application maps there since.
 *
 *   io_uring  registered buffers: real pinned pages, real transfers.
 *   mlock     where io_uring is refused: a second, locked mapping of the pages.
 *   none      the same without locking, where even that is refused.
 *
 * Threads: reg, post and finish belong to one thread, the transferring one.
 * dereg may be called from any thread, such as a cache's background release.
 */
#ifndef DEMO_DEVICE_H
#define DEMO_DEVICE_H

#include "memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DEVICE_SLOTS 1024    /* registrations a device can hold */
#define WINDOW_SLOTS 512     /* ... and those of io_uring besides, for others */
#define DEVICE_REQUESTS 16   /* transfers under way at once */

enum pin_kind { PIN_IO_URING, PIN_MLOCK, PIN_NONE, PIN_KINDS };

struct request {
    void *handle; /* of a registration that covers [addr, addr+length) */
    char *addr;
    size_t length;
    off_t offset; /* in the file */
    bool to_file;
};

struct device;

/* Slots of an io_uring's buffer table that the device leaves to others. */
struct ring_window {
    int ring_fd;
    unsigned first, count;
    uint64_t tag; /* user_data of the completion that tells of a release */
};

struct device_ops {
    /* 0 or a negative errno; -ENOMEM: too much is pinned, release something and try again. */
    int (*reg)(struct device *device, void *addr, size_t length, void **handle);
    int (*dereg)(struct device *device, void *handle);
    /* Starts a transfer; finish() waits for all of them. The request must stay until then. */
    int (*post)(struct device *device, struct request *request);
    int (*finish)(struct device *device);
    /* Once everything is deregistered: how many registrations, and how many
     * bytes, the kernel still holds. 0 and 0 is what it should be. */
    int (*settle)(struct device *device, uint64_t *registrations, size_t *bytes);
    /* Compares the frames the device would use with those the application
     * sees: pages that differ, or negative when that cannot be seen. */
    int (*frames)(struct device *device, const struct request *request);
    /*
     * NULL where there is no ring. Who registers in the window adds to
     * `registrations`; a handle of it is slot_handle() like any other.
     */
    void (*window)(struct device *device, struct ring_window *window);
    /* When pinning failed for -ENOMEM: false, or true after a release that was
     * under way, when it can be tried again. `held`: registrations meant to be there. */
    bool (*await_unpinning)(struct device *device, uint64_t held);
    void (*close)(struct device *device);
};

struct device {
    const struct device_ops *ops;
    uint64_t registrations; /* made so far; the transferring thread's */
};

const char *pin_kind_name(enum pin_kind kind);
/* Does this kind of pinning need memory_open(shared)? */
bool pin_kind_shared(enum pin_kind kind);
/* The file is what is transferred to and from. On failure `why` says what was refused. */
int device_open(enum pin_kind kind, struct memory *memory, int file, struct device **device, char *why,
                size_t why_size);

int device_ring_open(int file, struct device **device, char *why, size_t why_size);
int device_alias_open(bool lock, struct memory *memory, int file, struct device **device, char *why,
                      size_t why_size);

#endif
