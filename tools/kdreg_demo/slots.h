/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The free slots of a device. Any thread may take and give back. */
#ifndef DEMO_SLOTS_H
#define DEMO_SLOTS_H

#include "device.h"

#include <pthread.h>

struct slots {
    pthread_mutex_t lock; /* protects free[] and count; held for a few instructions */
    unsigned count;
    uint16_t free[DEVICE_SLOTS];
};

void slots_init(struct slots *slots);
void slots_destroy(struct slots *slots);
int slots_take(struct slots *slots); /* -ENOMEM when all are in use */
unsigned slots_used(struct slots *slots);
void slots_give(struct slots *slots, unsigned slot);

/* A registration's handle is its slot, counted from 1 so that it is never NULL. */
static inline void *slot_handle(unsigned slot)
{
    return (void *)(uintptr_t)(slot + 1);
}

static inline unsigned handle_slot(const void *handle)
{
    return (unsigned)(uintptr_t)handle - 1;
}

#endif
