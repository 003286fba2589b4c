/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "slots.h"

#include <errno.h>

void slots_init(struct slots *slots)
{
    pthread_mutex_init(&slots->lock, NULL);
    slots->count = 0;
    for (unsigned slot = DEVICE_SLOTS; slot > 0; slot--)
        slots->free[slots->count++] = (uint16_t)(slot - 1);
}

void slots_destroy(struct slots *slots)
{
    pthread_mutex_destroy(&slots->lock);
}

int slots_take(struct slots *slots)
{
    int slot = -ENOMEM;

    pthread_mutex_lock(&slots->lock);
    if (slots->count)
        slot = slots->free[--slots->count];
    pthread_mutex_unlock(&slots->lock);
    return slot;
}

void slots_give(struct slots *slots, unsigned slot)
{
    pthread_mutex_lock(&slots->lock);
    slots->free[slots->count++] = (uint16_t)slot;
    pthread_mutex_unlock(&slots->lock);
}

unsigned slots_used(struct slots *slots)
{
    unsigned used;

    pthread_mutex_lock(&slots->lock);
    used = DEVICE_SLOTS - slots->count;
    pthread_mutex_unlock(&slots->lock);
    return used;
}
