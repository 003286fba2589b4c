/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Addresses for memory that comes and goes. Unmapping leaves a hole, which nobody else may be given in the meantime: so they lie
 * far below where the kernel, which looks from the top down, places mappings that ask for no address.
 */
#ifndef KDREG_TEST_STATIONS_H
#define KDREG_TEST_STATIONS_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STATION_AREA 0x200000000000ul
#define STATION_STRIDE 0x1000000ul /* no station's mapping touches the next */

static inline void *station_address(size_t number)
{
    return (void *)(STATION_AREA + number * STATION_STRIDE);
}

/* Fresh memory at a station, in the place of what is there if `replace`. */
static inline void *station_map(void *at, size_t length, int replace)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (replace ? MAP_FIXED : MAP_FIXED_NOREPLACE);
    void *memory = mmap(at, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory != at) {
        perror("mmap of a station");
        abort();
    }
    return memory;
}

#endif
