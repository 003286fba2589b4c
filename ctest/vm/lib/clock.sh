# SPDX-License-Identifier: MIT OR Apache-2.0
# How fast the emulated processor's time stamp counter is: as fast as this one's. A
# guest that boots while the machine is busy would measure it wrongly, and its clock
# would be several times too fast: all its limits would be too short. Sourced.

# tsc_parameter: a kernel parameter that says it, or nothing where it cannot be told.
tsc_parameter() {
    local memo khz
    [ "$arch" = amd64 ] && [ "$accel" = tcg ] && [ -z "$icount" ] && [ "$(uname -m)" = x86_64 ] || return 0
    memo=$STATE/tsc-$(cat /proc/sys/kernel/random/boot_id)
    if [ ! -s "$memo" ]; then
        rm -f "$STATE"/tsc-*
        measure_tsc >"$scratch/tsc" 2>/dev/null || return 0
        cp "$scratch/tsc" "$memo"
    fi
    khz=$(cat "$memo")
    [[ ! $khz =~ ^[1-9][0-9]+$ ]] || echo "tsc_early_khz=$khz"
}

# In kHz. Of many readings that one counts in which the two clocks were nearest.
measure_tsc() {
    cc -O1 -o "$scratch/measure" -x c - <<'C' && "$scratch/measure"
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static unsigned long long nearest(double *ns)
{
    unsigned long long best = ~0ULL, counter = 0;
    for (int i = 0; i < 2000; i++) {
        struct timespec now;
        unsigned long long before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        unsigned long long after = __rdtsc();
        if (after - before < best)
            best = after - before, counter = before + best / 2, *ns = now.tv_sec * 1e9 + now.tv_nsec;
    }
    return counter;
}

int main(void)
{
    double start, end;
    unsigned long long from = nearest(&start);
    nanosleep(&(struct timespec){0, 200000000}, NULL);
    unsigned long long to = nearest(&end);
    printf("%.0f\n", (to - from) / (end - start) * 1e6);
    return 0;
}
C
}
