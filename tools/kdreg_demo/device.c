/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device.h"

const char *pin_kind_name(enum pin_kind kind)
{
    static const char *const names[PIN_KINDS] = { "io_uring", "mlock", "none" };
    return names[kind];
}

bool pin_kind_shared(enum pin_kind kind)
{
    return kind != PIN_IO_URING;
}

int device_open(enum pin_kind kind, struct memory *memory, int file, struct device **device, char *why,
                size_t why_size)
{
    if (kind == PIN_IO_URING)
        return device_ring_open(file, device, why, why_size);
    return device_alias_open(kind == PIN_MLOCK, memory, file, device, why, why_size);
}
