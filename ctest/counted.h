/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Instructions, in a guest whose clock counts them: of the module's device, and of the library on BPF. */
#ifndef KDREG_CTEST_COUNTED_H
#define KDREG_CTEST_COUNTED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Nanoseconds, each of which is an instruction. */
static inline uint64_t now(void)
{
#ifdef __x86_64__
    return __builtin_ia32_rdtsc();
#else
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
#endif
}

static inline int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static inline uint64_t median(uint64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static uint64_t reading __attribute__((unused)); /* what it costs to look at the clock */

/* Is time made of instructions? A loop of two takes two per round. */
static inline bool counting(void)
{
    uint64_t values[9];

    for (unsigned i = 0; i < 9; i++) {
        uint64_t start = now();

        for (volatile unsigned n = 0; n < 1000; n++)
            ;
        values[i] = now() - start;
    }
    /* An interrupt or two may come in between. */
    uint64_t first = median(values, 9), spread = values[4] - values[0];

    for (unsigned i = 0; i < 9; i++) {
        uint64_t start = now();
        values[i] = now() - start;
    }
    reading = median(values, 9);
    /* 1,000 rounds of 3 to 8 instructions, depending on the compiler. */
    return first >= 3000 && first <= 8000 && spread < 20;
}

#endif
