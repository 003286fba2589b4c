/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The device for machines that refuse io_uring. Registering maps the pages a
 * second time, at an address of the device's own, and locks them there;
 * transfers go through that second mapping. Like a network card's, it keeps
 * using the same pages until it is deregistered, whatever the application
 * does with its addresses meanwhile.
 */
#define _GNU_SOURCE
#include "device.h"
#include "frames.h"
#include "slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Address space per slot, reserved in advance: the device's mappings must not
 * take addresses that the application has freed. */
#define WINDOW ((size_t)4 << 20)

struct alias {
    char *base; /* the application's address */
    size_t length;
};

struct alias_device {
    struct device device;
    struct memory *memory;
    int file, pagemap;
    bool lock;
    size_t page;
    char *windows;
    struct slots slots;
    /* An entry belongs to whoever holds its slot: written by reg before the
     * handle is given out, read by dereg before the slot is given back. */
    struct alias aliases[DEVICE_SLOTS];
};

static struct alias_device *from(struct device *device)
{
    return (struct alias_device *)device;
}

static char *window(struct alias_device *ad, unsigned slot)
{
    return ad->windows + slot * WINDOW;
}

static int clear_window(struct alias_device *ad, unsigned slot, size_t length)
{
    void *cleared = mmap(window(ad, slot), length, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return cleared == MAP_FAILED ? -errno : 0;
}

/* Maps the pages that are at addr now: a run of neighbours in the memfd at a time. */
static int map_pages(struct alias_device *ad, char *target, const char *addr, size_t length)
{
    for (size_t at = 0, run; at < length; at += run) {
        off_t offset = memory_offset(ad->memory, addr + at);
        if (offset < 0)
            return -EFAULT;
        run = ad->page;
        while (at + run < length && memory_offset(ad->memory, addr + at + run) == offset + (off_t)run)
            run += ad->page;
        if (mmap(target + at, run, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ad->memory->fd, offset) ==
            MAP_FAILED)
            return -errno;
    }
    if (ad->lock && mlock(target, length) < 0)
        return errno == EAGAIN ? -ENOMEM : -errno;
    return 0;
}

static int alias_reg(struct device *device, void *addr, size_t length, void **handle)
{
    struct alias_device *ad = from(device);
    int slot, ret;

    if (length > WINDOW || (uintptr_t)addr % ad->page || length % ad->page)
        return -EINVAL;
    slot = slots_take(&ad->slots);
    if (slot < 0)
        return slot;
    ret = map_pages(ad, window(ad, (unsigned)slot), addr, length);
    if (ret < 0) {
        clear_window(ad, (unsigned)slot, length);
        slots_give(&ad->slots, (unsigned)slot);
        return ret;
    }
    ad->aliases[slot] = (struct alias){ addr, length };
    device->registrations++;
    *handle = slot_handle((unsigned)slot);
    return 0;
}

static int alias_dereg(struct device *device, void *handle)
{
    struct alias_device *ad = from(device);
    unsigned slot = handle_slot(handle);
    int ret = clear_window(ad, slot, ad->aliases[slot].length);

    if (!ret)
        slots_give(&ad->slots, slot);
    return ret;
}

/* Where the device finds what the application has at this request's address. */
static char *device_side(struct alias_device *ad, const struct request *request)
{
    unsigned slot = handle_slot(request->handle);
    return window(ad, slot) + (request->addr - ad->aliases[slot].base);
}

static int alias_post(struct device *device, struct request *request)
{
    struct alias_device *ad = from(device);
    char *buffer = device_side(ad, request);

    for (size_t done = 0; done < request->length;) {
        size_t left = request->length - done;
        off_t offset = request->offset + (off_t)done;
        ssize_t ret = request->to_file ? pwrite(ad->file, buffer + done, left, offset)
                                       : pread(ad->file, buffer + done, left, offset);
        if (ret < 0 && errno == EINTR)
            continue;
        if (ret <= 0)
            return ret < 0 ? -errno : -EIO;
        done += (size_t)ret;
    }
    return 0;
}

static int alias_finish(struct device *device)
{
    (void)device;
    return 0; /* post() has done it all */
}

static int alias_settle(struct device *device, uint64_t *registrations, size_t *bytes)
{
    struct alias_device *ad = from(device);

    *registrations = slots_used(&ad->slots);
    *bytes = 0;
    for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++) {
        unsigned char resident;
        /* A window that was given back maps nothing of the memfd: its first page is not resident. */
        if (mincore(window(ad, slot), ad->page, &resident) == 0 && (resident & 1))
            *bytes += ad->page;
    }
    return 0;
}

static int alias_frames(struct device *device, const struct request *request)
{
    struct alias_device *ad = from(device);
    size_t skip = (uintptr_t)request->addr % ad->page;
    size_t pages = (skip + request->length + ad->page - 1) / ad->page;

    if (ad->pagemap < 0)
        return -EOPNOTSUPP;
    return frames_differ(ad->pagemap, request->addr - skip, device_side(ad, request) - skip, pages);
}

static void alias_device_close(struct device *device)
{
    struct alias_device *ad = from(device);

    munmap(ad->windows, DEVICE_SLOTS * WINDOW);
    if (ad->pagemap >= 0)
        close(ad->pagemap);
    slots_destroy(&ad->slots);
    free(ad);
}

static const struct device_ops alias_ops = {
    .reg = alias_reg,
    .dereg = alias_dereg,
    .post = alias_post,
    .finish = alias_finish,
    .settle = alias_settle,
    .frames = alias_frames,
    .close = alias_device_close,
};

int device_alias_open(bool lock, struct memory *memory, int file, struct device **device, char *why,
                      size_t why_size)
{
    struct alias_device *ad = calloc(1, sizeof(*ad));

    if (!ad) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    ad->windows = mmap(NULL, DEVICE_SLOTS * WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ad->windows == MAP_FAILED) {
        int error = -errno;
        snprintf(why, why_size, "reserving address space: %s (RLIMIT_AS?)", strerror(errno));
        free(ad);
        return error;
    }
    ad->device.ops = &alias_ops;
    ad->memory = memory;
    ad->file = file;
    ad->lock = lock;
    ad->page = memory->page;
    ad->pagemap = frames_open();
    slots_init(&ad->slots);
    *device = &ad->device;
    return 0;
}
