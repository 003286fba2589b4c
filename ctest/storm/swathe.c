/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Hundreds of regions changed by one call. The thread that made it may run on long before the last of them has been marked, if nothing
 * holds its lookups back: this is what catches a missing guard. */
#include <sys/mman.h>

#include "../../tools/newer/newer.h"
#include "storm.h"

enum { REGIONS = 400 };

void swathe_step(struct worker *worker)
{
    size_t size = file_page_size(), length = REGIONS * size;
    char *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(addr != MAP_FAILED, "mmap: %s", strerror(errno));
    bool discards = worker_random(worker, 2);
    /* A discard where there are no pages takes nothing away, and the bpf backend's mode flush is not told of it. */
    if ((discards && check_is_bpf(storm.monitor)) || worker_random(worker, 2))
        for (size_t i = 0; i < REGIONS; i++)
            ((volatile char *)addr)[i * size] = 1;
    static _Thread_local struct kdreg_region regions[REGIONS];
    int watched = 0;
    while (watched < REGIONS && kdreg_monitor(storm.monitor, addr + (size_t)watched * size, size, (uint64_t)watched, &regions[watched]) == 0)
        watched++;
    if (discards) {
        REQUIRE(madvise(addr, length, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    } else {
        REQUIRE(munmap(addr, length) == 0, "munmap: %s", strerror(errno));
        addr = NULL;
    }
    worker->changes++;
    int valid = 0, which = 0;
    /* From both ends: whatever order they are marked in, one of the first looks is at the last marked. */
    for (int i = 0; i < watched; i++) {
        int at = i & 1 ? watched - 1 - i / 2 : i / 2;
        if (kdreg_valid(&regions[at])) {
            valid++;
            which = at;
        }
    }
    worker->operations += (uint64_t)watched;
    if (valid) {
        atomic_fetch_add(&storm.stale, 1);
        report(worker, "STALE: regions of a swathe read valid after the call that changed all of them (last index, count)", addr, (uint64_t)which, (uint64_t)valid, NULL);
    }
    for (int i = 0; i < watched; i++)
        if (kdreg_unmonitor(storm.monitor, &regions[i]))
            report(worker, "kdreg_unmonitor failed", addr, 0, (uint64_t)i, NULL);
    if (addr)
        munmap(addr, length);
}
