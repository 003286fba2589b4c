/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An application that has nearly as many mappings as a process may (vm.max_map_count): all of its own are made as without the library, which
 * leaves it a quarter, stops caching instead, and says so once. */
#include "harm.h"

static size_t page;

/* Mappings that the kernel keeps apart: neighbours have other rights. */
static char *own_mapping(long i)
{
    return mmap(NULL, page, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long map_all(long count)
{
    long made = 0;
    for (long i = 0; i < count; i++)
        made += own_mapping(i) != MAP_FAILED;
    return made;
}

static atomic_int warnings;
static char last_warning[256];

static void note(void *context, int level, const char *message)
{
    (void)context;
    if (level > KDREG_LOG_WARN)
        return;
    atomic_fetch_add(&warnings, 1);
    snprintf(last_warning, sizeof last_warning, "%s", message);
}

/* Many small registrations in one buffer, beside mappings of the application's own. */
static void small_registrations(long limit)
{
    long own = limit - limit / 4, more = 2000, pieces = 20000;
    check_says("%ld mappings of the application, then %ld registrations in one buffer, then %ld more mappings", own, pieces, more);
    REQUIRE(map_all(own) == own, "the application's first mappings: %s", strerror(errno));
    char *buffer = check_space(2 * (size_t)pieces * page);
    kdreg_cache_t *cache = harm_cache(0, KDREG_CACHE_NO_MERGE);
    for (long i = 0; i < pieces; i++)
        harm_use(cache, buffer + 2 * (size_t)i * page, page);
    CHECK_IS(map_all(more), more);
    harm_application_lives("beside many small registrations");
    printf("    %ld mappings, %llu entries cached\n", harm_mappings(), (unsigned long long)stats_of(cache).entries);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

/* Each mapping of its own registered: more than may be watched. */
static void every_mapping(long limit)
{
    long count = limit - 1500;
    check_says("%ld mappings, each of them registered", count);
    atomic_store(&warnings, 0);
    CHECK_IS(kdreg_set_log(note, NULL, KDREG_LOG_WARN), 0);
    char **mappings = calloc((size_t)count, sizeof *mappings);
    REQUIRE(mappings, "memory");
    kdreg_cache_t *cache = harm_cache((size_t)count, KDREG_CACHE_NO_MERGE);
    for (long i = 0; i < count; i++) {
        mappings[i] = own_mapping(i);
        REQUIRE(mappings[i] != MAP_FAILED, "mapping %ld of the application's own: %s", i, strerror(errno));
        kdreg_entry_t *entry;
        int error = kdreg_cache_get(cache, mappings[i], page, KDREG_ACCESS_READ, &entry);
        REQUIRE(error == 0, "kdreg_cache_get %ld: %s", i, kdreg_strerror(error));
        REQUIRE(kdreg_cache_put(cache, entry) == 0, "kdreg_cache_put");
    }
    struct kdreg_cache_stats stats = stats_of(cache);
    printf("    %ld mappings, %llu entries, %llu registered uncached, %d warnings: %s\n", harm_mappings(), (unsigned long long)stats.entries,
           (unsigned long long)stats.uncached, atomic_load(&warnings), last_warning);
    CHECK(atomic_load(&warnings) <= 1, "%d warnings, the last: %s", atomic_load(&warnings), last_warning);
    /* A backend that makes no mappings and splits none may cache them all; one that stops caching says why. */
    CHECK(stats.uncached == 0 || atomic_load(&warnings) == 1, "%llu registrations are not cached, and nobody was told", (unsigned long long)stats.uncached);
    CHECK(map_all(200) == 200, "the application's last mappings: %s", strerror(errno));
    harm_application_lives("with every mapping registered");

    check_says("once mappings are gone, there is room again");
    for (long i = 0; i < count; i++)
        munmap(mappings[i], page);
    CHECK(kdreg_cache_reap(cache) >= 0, "kdreg_cache_reap");
    char *buffer = check_space(16 * page);
    harm_use(cache, buffer, page);
    CHECK(harm_cached(cache, buffer, page), "nothing is cached any more, with %ld mappings", harm_mappings());
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    free(mappings);
}

static void in_a_child(void (*part)(long), long limit)
{
    pid_t child = check_fork();
    if (child == 0) {
        check_watchdog(500);
        part(limit);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "a part failed");
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    long limit = harm_limit();
    if (limit > 200000) {
        printf("skipped: vm.max_map_count is %ld, and this test needs nearly as many mappings\n", limit);
        return CHECK_SKIPPED;
    }
    /* Before the children, which have one of their own. */
    CHECK_IS(kdreg_close(check_open(0)), 0);
    in_a_child(small_registrations, limit);
    in_a_child(every_mapping, limit);
    return check_result("crowded");
}
