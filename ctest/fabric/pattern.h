/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contents that tell one transfer from every other, in each 8 bytes. */
#ifndef KDREG_TEST_PATTERN_H
#define KDREG_TEST_PATTERN_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t pattern_word(uint64_t seed, size_t index)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + index * 0xd1b54a32d192ed03u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

/* `length` is a multiple of 8. */
static inline void pattern_fill(void *memory, size_t length, uint64_t seed)
{
    uint64_t *words = memory;
    for (size_t i = 0; i < length / 8; i++)
        words[i] = pattern_word(seed, i);
}

/* How many bytes are not what they should be. */
static inline size_t pattern_wrong(const void *memory, size_t length, uint64_t seed)
{
    const uint64_t *words = memory;
    size_t wrong = 0;
    for (size_t i = 0; i < length / 8; i++) {
        uint64_t difference = words[i] ^ pattern_word(seed, i);
        for (; difference; difference >>= 8)
            wrong += (difference & 0xff) != 0;
    }
    return wrong;
}

#endif
