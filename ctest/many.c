/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* many [--regions N]
 * 100,000 small regions in one malloc'ed heap, more than a process may have mappings (vm.max_map_count is 65,530 as a rule), and deeply
 * nested intervals. */
#include <malloc.h>
#include <sys/mman.h>

#include "harm.h"

static size_t page, count = 100000;

static atomic_long registered;

static int counting_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)length;
    (void)access;
    *handle = addr;
    atomic_fetch_add(&registered, 1);
    return 0;
}

static int counting_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)length;
    CHECK(handle == addr, "deregister was given another registration's handle");
    atomic_fetch_sub(&registered, 1);
    return 0;
}

/* The page of region i: every second one, in order or scattered (a prime multiplier). */
static size_t place(size_t i, bool scattered)
{
    return 2 * (scattered ? i * 7368787 % count : i);
}

static char *heap(kdreg_t *monitor)
{
    char *block = malloc((2 * count + 2) * page);
    REQUIRE(block, "malloc of %zu pages", 2 * count);
    char *pages = (char *)(((uintptr_t)block + page) & ~(page - 1));
    /* Small pages: where the kernel makes a huge page of them meanwhile, they are moved, and their regions rightly invalid. */
    (void)madvise(pages, 2 * count * page, MADV_NOHUGEPAGE);
    /* Some present, most not: both are watched. Where the kernel's moving of pages is seen, only pages between regions: regions over pages
     * that it moves meanwhile would rightly be invalid. */
    bool between = kdreg_caps(monitor) & KDREG_CAP_MIGRATE;
    for (size_t i = between; i < 2 * count; i += 64)
        pages[i * page] = 1;
    return block;
}

static char *first_page(char *block)
{
    return (char *)(((uintptr_t)block + page) & ~(page - 1));
}

static void through_the_monitor(kdreg_t *monitor, bool scattered)
{
    check_says("%zu regions of one page, every second page of one malloc'ed block, %s, through kdreg_monitor", count, scattered ? "scattered" : "in order");
    char *block = heap(monitor), *pages = first_page(block);
    struct kdreg_region *regions = calloc(count, sizeof *regions);
    struct kdreg_event *events = calloc(1024, sizeof *events);
    unsigned char *seen = calloc(count, 1);
    REQUIRE(regions && events && seen, "memory");
    double started = check_now();
    for (size_t i = 0; i < count; i++) {
        int error = kdreg_monitor(monitor, pages + place(i, scattered) * page, page, i, &regions[i]);
        REQUIRE(error == 0, "region %zu of %zu: %s (%ld mappings)", i, count, kdreg_strerror(error), harm_mappings());
    }
    double watched = check_now();
    size_t valid = 0;
    for (size_t i = 0; i < count; i++)
        valid += kdreg_valid(&regions[i]);
    CHECK(valid == count, "%zu of %zu valid", valid, count);
    printf("    %.2f s, %ld mappings now\n", watched - started, harm_mappings());

    check_says("a change to one of them leaves the %zu others", count - 1);
    madvise(pages + place(count / 2, scattered) * page, page, MADV_DONTNEED);
    valid = 0;
    for (size_t i = 0; i < count; i++)
        valid += kdreg_valid(&regions[i]);
    /* A kernel that has to split a huge page for the change announces all of it. */
    bool by_kernel = kdreg_caps(monitor) & KDREG_CAP_SYNC;
    size_t beside = by_kernel ? ((size_t)2 << 20) / page : 0;
    CHECK(valid + beside >= count - 1 && valid < count && !kdreg_valid(&regions[count / 2]), "%zu of %zu valid", valid, count - 1);

    check_says("free() of the block: every one is invalid when it returns, and has one event");
    double freeing = check_now();
    free(block);
    double freed = check_now();
    valid = 0;
    for (size_t i = 0; i < count; i++)
        valid += kdreg_valid(&regions[i]);
    CHECK(valid == 0, "STALE: %zu of %zu still valid", valid, count);
    size_t taken = 0;
    double until = check_now() + 60;
    while (taken < count && check_now() < until) {
        int got = kdreg_check(monitor, events, 1024);
        REQUIRE(got >= 0, "kdreg_check: %s", kdreg_strerror(got));
        for (int i = 0; i < got; i++) {
            REQUIRE(events[i].cookie < count, "an unknown cookie");
            CHECK(!seen[events[i].cookie]++, "region %llu has a second event", (unsigned long long)events[i].cookie);
        }
        taken += (size_t)got;
    }
    CHECK(taken == count && kdreg_check(monitor, events, 1) == 0, "%zu events for %zu regions", taken, count);
    for (size_t i = 0; i < count; i++)
        kdreg_unmonitor(monitor, &regions[i]);
    printf("    free() took %.3f s, %ld mappings now\n", freed - freeing, harm_mappings());
    free(seen);
    free(events);
    free(regions);
}

static void through_the_cache(kdreg_t *monitor, bool scattered)
{
    check_says("%zu registrations of one page in one malloc'ed block, %s, through a cache", count, scattered ? "scattered" : "in order");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = counting_register, .dereg = counting_deregister, .max_entries = count + 1000};
    kdreg_cache_t *cache = NULL;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    char *block = heap(monitor), *pages = first_page(block);
    kdreg_entry_t *entry;
    double started = check_now();
    for (size_t i = 0; i < count; i++) {
        int error = kdreg_cache_get(cache, pages + place(i, scattered) * page, page, KDREG_ACCESS_READ, &entry);
        REQUIRE(error == 0, "registration %zu of %zu: %s (%ld mappings)", i, count, kdreg_strerror(error), harm_mappings());
        REQUIRE(kdreg_cache_put(cache, entry) == 0, "kdreg_cache_put");
    }
    double filled = check_now();
    size_t missed = 0;
    for (size_t i = 0; i < count; i++) {
        if (kdreg_cache_find(cache, pages + place(i, scattered) * page + 100, 200, KDREG_ACCESS_READ, &entry) == 0)
            kdreg_cache_put(cache, entry);
        else
            missed++;
    }
    CHECK(missed == 0, "%zu of %zu lookups missed", missed, count);
    CHECK(atomic_load(&registered) == (long)count, "%ld registered", atomic_load(&registered));
    printf("    %.2f s to fill, %.2f s to find all, %ld mappings now\n", filled - started, check_now() - filled, harm_mappings());
    free(block);
    missed = 0;
    for (size_t i = 0; i < count; i += 97)
        missed += kdreg_cache_find(cache, pages + place(i, scattered) * page, page, KDREG_ACCESS_READ, &entry) == -ENOENT;
    CHECK(missed == (count + 96) / 97, "STALE: %zu of %zu lookups missed after free()", missed, (count + 96) / 97);
    CHECK_EVENTUALLY(atomic_load(&registered) == 0, 120, "%ld registrations are still pinned, and nobody calls the library", atomic_load(&registered));
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.entries == 0 && stats.bytes == 0 && stats.unreleased_bytes == 0, "%llu entries, %llu bytes, %llu unreleased are still counted",
          (unsigned long long)stats.entries, (unsigned long long)stats.bytes, (unsigned long long)stats.unreleased_bytes);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void nested(kdreg_t *monitor)
{
    enum { DEPTH = 2000 };
    check_says("%d intervals nested in each other, and %d that overlap like tiles: exactly those that a change touches are invalid", DEPTH, DEPTH);
    char *pages = mmap(NULL, 2 * DEPTH * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(pages != MAP_FAILED, "mmap");
    struct kdreg_region *onion = calloc(DEPTH, sizeof *onion), *tiles = calloc(DEPTH, sizeof *tiles);
    REQUIRE(onion && tiles, "memory");
    for (size_t i = 0; i < DEPTH; i++) {
        /* onion i: [i, 2*DEPTH - i); tile i: [i, i + 10) */
        int error = kdreg_monitor(monitor, pages + i * page, 2 * (DEPTH - i) * page, i, &onion[i]);
        REQUIRE(error == 0, "kdreg_monitor: %s", kdreg_strerror(error));
        error = kdreg_monitor(monitor, pages + i * page, 10 * page, DEPTH + i, &tiles[i]);
        REQUIRE(error == 0, "kdreg_monitor: %s", kdreg_strerror(error));
    }
    enum { AT = 500 };
    madvise(pages + AT * page, page, MADV_DONTNEED);
    int wrong = 0;
    for (size_t i = 0; i < DEPTH; i++) {
        wrong += kdreg_valid(&onion[i]) != (i > AT);
        wrong += kdreg_valid(&tiles[i]) != (i > AT || i + 10 <= AT);
    }
    CHECK(wrong == 0, "%d regions are valid that should not be, or the other way round", wrong);
    munmap(pages, 2 * DEPTH * page);
    wrong = 0;
    for (size_t i = 0; i < DEPTH; i++)
        wrong += kdreg_valid(&onion[i]) + kdreg_valid(&tiles[i]);
    CHECK(wrong == 0, "STALE: %d regions are valid after munmap of everything", wrong);
    int taken = 0, got;
    static struct kdreg_event events[256];
    double until = check_now() + 30;
    while (taken < 2 * DEPTH && check_now() < until && (got = kdreg_check(monitor, events, 256)) >= 0)
        taken += got;
    CHECK(taken == 2 * DEPTH, "%d events for %d regions", taken, 2 * DEPTH);
    for (size_t i = 0; i < DEPTH; i++) {
        kdreg_unmonitor(monitor, &onion[i]);
        kdreg_unmonitor(monitor, &tiles[i]);
    }
    free(onion);
    free(tiles);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--regions") == 0)
        count = strtoul(argv[2], NULL, 0);
    check_watchdog(550);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);   /* free() gives large blocks back at once */
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    nested(monitor);
    through_the_monitor(monitor, false);
    through_the_monitor(monitor, true);
    through_the_cache(monitor, false);
    through_the_cache(monitor, true);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("many");
}
