/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What an invalidation costs, which caches in the field search lists for. */
#include <sys/mman.h>

#include "caches.h"
#include "peers.h"
#include "plain.h"

/* Processor time of all threads: how long others kept the processor does not enter. */
static double processor_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cost_of_invalidations(kdreg_t *monitor, size_t entries)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct kdreg_cache_attr attr = {
        .size = sizeof attr, .reg = plain_register, .dereg = plain_deregister, .flags = KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, .max_entries = 2 * entries};
    kdreg_cache_t *cache = new_cache(monitor, &attr);
    char *memory = check_space(2 * entries * page);
    kdreg_entry_t *entry;
    for (size_t i = 0; i < entries; i++)
        REQUIRE(get_put(cache, memory + 2 * i * page, page) == 0, "kdreg_cache_get");
    double started = processor_now();
    for (size_t i = 0; i < entries; i++) {
        madvise(memory + 2 * i * page, page, MADV_DONTNEED);
        CHECK_IS(kdreg_cache_find(cache, memory + 2 * i * page, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    }
    CHECK(kdreg_cache_reap(cache) >= 0, "reap");
    double took = processor_now() - started;
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.deregistrations == stats.registrations, "%llu of %llu were released", (unsigned long long)stats.deregistrations,
          (unsigned long long)stats.registrations);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 2 * entries * page);
    return took / (double)entries;
}

void invalidation_does_not_search(kdreg_t *monitor)
{
    enum { TRIES = 5 };
    check_says("an invalidation costs the same however many registrations are kept or wait for release (no list is searched)");
    cost_of_invalidations(monitor, 500);
    double few = 0, many = 0;
    bool constant = false;
    /* A search would make it 16 times as dear, each time; a busy machine makes one of the two dear now and then. */
    for (int i = 0; i < TRIES && !constant; i++) {
        few = cost_of_invalidations(monitor, 1000);
        many = cost_of_invalidations(monitor, 16000);
        printf("    %.2f us each with 1,000 registrations, %.2f us each with 16,000 (processor time)\n", few * 1e6, many * 1e6);
        constant = many < 8 * few + 5e-6;
    }
    CHECK(constant, "16 times the registrations make one invalidation %.1f times as dear, %d times in a row", many / few, TRIES);
}
