/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* mappings [--rounds N]
 * What is cached, and what is not any more, leaves the program its mappings: after any number of rounds of registering memory and changing
 * it there are as many as in the same program without the library, but for a constant. */
#include <malloc.h>

#include "harm.h"

static size_t page, rounds = 4000;
enum { SAMPLES = 8, SPARE = 60 };   /* the library's own: threads' stacks, states, descriptors */

/* One round on the pages at q, of a buffer of which every second page is never touched by it. */
struct way {
    const char *name;
    void (*change)(kdreg_cache_t *cache, char *q);
    size_t max_entries;
};

static void discard(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    REQUIRE(madvise(q, page, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
}

static void let_go(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    REQUIRE(madvise(q, page, MADV_FREE) == 0, "madvise: %s", strerror(errno));
}

static void unmap(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    REQUIRE(munmap(q, page) == 0, "munmap: %s", strerror(errno));
}

static void map_over(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    char *now = mmap(q, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    REQUIRE(now == q, "mmap: %s", strerror(errno));
}

/* Away and back. */
static void move(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    char *away = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(away != MAP_FAILED, "mmap: %s", strerror(errno));
    away = mremap(q, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, away);
    REQUIRE(away != MAP_FAILED, "mremap: %s", strerror(errno));
    REQUIRE(mremap(away, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q, "mremap back: %s", strerror(errno));
}

static void protect(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    REQUIRE(mprotect(q, page, PROT_READ) == 0 && mprotect(q, page, PROT_READ | PROT_WRITE) == 0, "mprotect: %s", strerror(errno));
}

static void flush(kdreg_cache_t *cache, char *q)
{
    (void)q;
    if (cache)
        REQUIRE(kdreg_cache_flush(cache) >= 0, "kdreg_cache_flush");
}

static void invalidate(kdreg_cache_t *cache, char *q)
{
    if (cache)
        REQUIRE(kdreg_cache_invalidate(cache, q, page) >= 0, "kdreg_cache_invalidate");
}

static void keep(kdreg_cache_t *cache, char *q)
{
    (void)cache;
    (void)q;
}

/* A cache that lives for one transfer. */
static void another_cache(kdreg_cache_t *cache, char *q)
{
    if (!cache)
        return;
    kdreg_cache_t *brief = harm_cache(0, KDREG_CACHE_NO_REAPER);
    harm_use(brief, q, page);
    REQUIRE(kdreg_cache_destroy(brief) == 0, "kdreg_cache_destroy");
}

static const struct way ways[] = {
    {"discarded", discard, 0},     {"given up lazily", let_go, 0},
    {"unmapped", unmap, 0},        {"mapped over", map_over, 0},
    {"moved and back", move, 0},   {"protected and back", protect, 0},
    {"flushed", flush, 0},         {"invalidated", invalidate, 0},
    {"kept", keep, 0},             {"evicted", keep, 16},
    {"in a cache of its own", another_cache, 0},
};

/* Sample by sample: how many mappings the program has. `samples` is shared with the parent. */
static void program(const struct way *way, bool with, long *samples)
{
    size_t length = 2 * rounds * page;
    kdreg_cache_t *cache = with ? harm_cache(way->max_entries, 0) : NULL;
    char *buffer = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(buffer != MAP_FAILED, "mmap: %s", strerror(errno));
    for (size_t i = 0; i < rounds; i++) {
        char *q = buffer + 2 * i * page;
        *q = 1;
        harm_use(cache, q, page);
        way->change(cache, q);
        if ((i + 1) % (rounds / SAMPLES) == 0 && (i + 1) / (rounds / SAMPLES) <= SAMPLES)
            samples[(i + 1) / (rounds / SAMPLES) - 1] = harm_mappings();
    }
    harm_application_lives(way->name);
    /* Once nothing is cached, at once. */
    if (cache)
        REQUIRE(kdreg_cache_flush(cache) >= 0 && kdreg_cache_reap(cache) >= 0, "kdreg_cache_flush");
    samples[SAMPLES] = harm_mappings();
    /* Of holes that it left, something else may have been given the addresses by now. */
    if (way->change == unmap)
        for (size_t i = 0; i < rounds; i++)
            REQUIRE(munmap(buffer + (2 * i + 1) * page, page) == 0, "munmap: %s", strerror(errno));
    else
        REQUIRE(munmap(buffer, length) == 0, "munmap: %s", strerror(errno));
    if (cache)
        REQUIRE(kdreg_cache_destroy(cache) == 0, "kdreg_cache_destroy");
    samples[SAMPLES + 1] = harm_mappings();
}

static void compare(const struct way *way)
{
    check_says("%zu rounds, the memory %s", rounds, way->name);
    long(*samples)[SAMPLES + 2] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(samples != MAP_FAILED, "mmap: %s", strerror(errno));
    for (int with = 0; with < 2; with++) {
        pid_t child = check_fork();
        if (child == 0) {
            check_watchdog(300);
            program(way, with, samples[with]);
            check_leave();
        }
        CHECK(check_child_succeeded(child), "%s: the program %s the library failed", way->name, with ? "with" : "without");
    }
    for (int i = 0; i < SAMPLES + 2; i++)
        CHECK(samples[1][i] <= samples[0][i] + SPARE, "%s, sample %d: %ld mappings, without the library %ld", way->name, i, samples[1][i], samples[0][i]);
    printf("    %ld mappings without the library, %ld with it; in the end %ld and %ld\n", samples[0][SAMPLES - 1], samples[1][SAMPLES - 1],
           samples[0][SAMPLES + 1], samples[1][SAMPLES + 1]);
    munmap(samples, 4096);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--rounds") == 0)
        rounds = strtoul(argv[2], NULL, 0);
    page = (size_t)sysconf(_SC_PAGESIZE);
    REQUIRE(rounds >= SAMPLES, "at least %d rounds", SAMPLES);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        compare(&ways[i]);
    return check_result("mappings");
}
