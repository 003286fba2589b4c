/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Numbers that look random, and are the same for the same seed. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>

/* The seed, of each thread. */
static _Thread_local uint64_t state;

static uint64_t any(void)
{
    /* splitmix64 */
    uint64_t z = state += 0x9e3779b97f4a7c15ULL;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t n)
{
    return any() % n;
}

/* Any number; often one at the edge of what there is. */
static uint64_t number(void)
{
    static const uint64_t special[] = {
        0, 1, 2, 31, 32, 33, 4095, 4096, 4097, 1u << 20, 0x7fffffff, 0x80000000, 0xffffffff,
        1ULL << 32, 1ULL << 47, INT64_MAX, 1ULL << 63, UINT64_MAX - 1, UINT64_MAX,
    };

    switch (below(4)) {
    case 0: return special[below(sizeof special / sizeof *special)];
    case 1: return below(64);
    case 2: return any() >> below(64);
    default: return below(5000);
    }
}

#endif
