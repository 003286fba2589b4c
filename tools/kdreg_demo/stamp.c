/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "stamp.h"

#include <string.h>

/* Keeps small numbers from looking like what programs leave in memory by themselves. */
#define DISGUISE 0x9e3779b97f4a7c15ull
#define POSITION_BITS 24
#define POSITION_MASK ((1ull << POSITION_BITS) - 1)

static uint64_t word_at(uint64_t transfer, uint64_t position)
{
    return (transfer << POSITION_BITS | (position & POSITION_MASK)) ^ DISGUISE;
}

void stamp_fill(void *buffer, size_t length, uint64_t transfer)
{
    char *to = buffer;
    size_t words = length / 8;
    uint64_t last = word_at(transfer, words);

    for (size_t i = 0; i < words; i++) {
        uint64_t word = word_at(transfer, i);
        memcpy(to + 8 * i, &word, 8); /* the buffer may start anywhere */
    }
    memcpy(to + 8 * words, &last, length % 8);
}

bool stamp_check(const void *buffer, size_t length, uint64_t transfer, struct stamp_difference *difference)
{
    const char *from = buffer;
    size_t words = length / 8;
    uint64_t last = word_at(transfer, words), word = 0, wrong = 0;

    for (size_t i = 0; i < words; i++) {
        memcpy(&word, from + 8 * i, 8);
        wrong |= word ^ word_at(transfer, i);
    }
    if (!wrong && !memcmp(from + 8 * words, &last, length % 8))
        return true;

    memset(difference, 0, sizeof(*difference));
    for (size_t i = 0; i < words; i++) {
        memcpy(&word, from + 8 * i, 8);
        if (word == word_at(transfer, i))
            continue;
        difference->offset = 8 * i;
        difference->zero = word == 0;
        difference->transfer = (word ^ DISGUISE) >> POSITION_BITS;
        difference->recognised = !difference->zero && difference->transfer < transfer;
        return false;
    }
    difference->offset = 8 * words; /* only the odd bytes at the end */
    return false;
}
