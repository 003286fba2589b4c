/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The application's transparent huge pages: registering parts of them takes none away, memory that is registered first and filled afterwards
 * gets them, and what was flushed can have them again. */
#include "harm.h"

enum { HUGE = 2 << 20, PAGES = 32 };
#define LENGTH ((size_t)PAGES * HUGE)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
static size_t page;

/* kB of [start, start + LENGTH) in huge pages. */
static long huge(const char *start)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    REQUIRE(file, "/proc/self/smaps: %s", strerror(errno));
    char line[512];
    long total = 0, kilobytes;
    bool inside = false;
    while (fgets(line, sizeof line, file)) {
        unsigned long low, high;
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
            inside = low < (uintptr_t)start + LENGTH && high > (uintptr_t)start;
        else if (inside && sscanf(line, "AnonHugePages: %ld", &kilobytes) == 1)
            total += kilobytes;
    }
    fclose(file);
    return total;
}

static char *aligned(void)
{
    char *start = mmap(NULL, LENGTH + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(start != MAP_FAILED, "mmap: %s", strerror(errno));
    start = (char *)(((uintptr_t)start + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    REQUIRE(madvise(start, LENGTH, MADV_HUGEPAGE) == 0, "madvise: %s", strerror(errno));
    return start;
}

static void fill(char *start)
{
    for (size_t offset = 0; offset < LENGTH; offset += page)
        start[offset] = 1;
}

/* Ways to register parts of it. */
static void one_page(kdreg_cache_t *cache, char *start) { harm_use(cache, start + 7 * page, page); }
static void over_a_border(kdreg_cache_t *cache, char *start) { harm_use(cache, start + HUGE - 3 * page, 6 * page); }
static void whole(kdreg_cache_t *cache, char *start) { harm_use(cache, start, LENGTH); }
static void page_of_each(kdreg_cache_t *cache, char *start)
{
    for (int i = 0; i < PAGES; i++)
        harm_use(cache, start + (size_t)i * HUGE + 7 * page, page);
}
static void many_of_each(kdreg_cache_t *cache, char *start)
{
    for (int i = 0; i < PAGES; i++)
        for (int j = 0; j < 16; j++)
            harm_use(cache, start + (size_t)i * HUGE + (size_t)(32 * j + 1) * page, page);
}

static const struct way {
    const char *name;
    void (*watch)(kdreg_cache_t *cache, char *start);
} ways[] = {{"one page", one_page}, {"over a border of huge pages", over_a_border}, {"all of it", whole}, {"a page of each", page_of_each}, {"16 pages of each", many_of_each}};

/* How many kB the same program has in huge pages, without the library and with it. */
static void compare(kdreg_cache_t *cache, const struct way *way)
{
    check_says("%s registered: memory that is there", way->name);
    char *start = aligned();
    fill(start);
    long before = huge(start);
    way->watch(cache, start);
    /* The kernel may move or split what it likes: more than a page or two is not its doing. */
    CHECK(huge(start) >= before - 2 * HUGE / 1024, "%ld kB in huge pages, %ld before it was registered", huge(start), before);
    CHECK(kdreg_cache_flush(cache) >= 0, "kdreg_cache_flush");
    CHECK(huge(start) >= before - 2 * HUGE / 1024, "%ld kB in huge pages once it is flushed, %ld before", huge(start), before);
    munmap(start, LENGTH);

    check_says("%s registered: memory that is filled afterwards", way->name);
    start = aligned();
    way->watch(cache, start);
    fill(start);
    CHECK(huge(start) >= before - 2 * HUGE / 1024, "%ld kB in huge pages, %ld where it was not registered", huge(start), before);

    check_says("%s registered: discarded and filled again", way->name);
    REQUIRE(madvise(start, LENGTH, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    fill(start);
    CHECK(huge(start) >= before - 2 * HUGE / 1024, "%ld kB in huge pages, %ld where it was not registered", huge(start), before);
    munmap(start, LENGTH);
}

/* How many of them the kernel makes huge when it is asked to. */
static int collapsed(kdreg_cache_t *cache)
{
    char *start = aligned();
    REQUIRE(madvise(start, LENGTH, MADV_NOHUGEPAGE) == 0, "madvise: %s", strerror(errno));
    fill(start);
    REQUIRE(madvise(start, LENGTH, MADV_HUGEPAGE) == 0, "madvise: %s", strerror(errno));
    if (cache)
        page_of_each(cache, start);
    int count = 0;
    for (int i = 0; i < PAGES; i++) {
        int error = -1;
        /* A page can be in somebody's hands for a moment. */
        for (int try = 0; try < 200 && error; try++) {
            error = madvise(start + (size_t)i * HUGE, HUGE, MADV_COLLAPSE);
            if (error && errno == EINVAL)
                break;
            if (error)
                check_sleep_ms(5);
        }
        count += error == 0;
    }
    munmap(start, LENGTH);
    return count;
}

static void collapse(kdreg_cache_t *cache)
{
    check_says("small pages become huge ones by MADV_COLLAPSE while parts are registered");
    int without = collapsed(NULL), with = collapsed(cache);
    CHECK(with >= without - 2, "%d of %d were made huge, %d where nothing was registered", with, PAGES, without);
}

int main(void)
{
    check_watchdog(280);
    page = (size_t)sysconf(_SC_PAGESIZE);
    char *probe = aligned();
    fill(probe);
    long most = huge(probe);
    munmap(probe, LENGTH);
    if (most < (long)(LENGTH / 1024)) {
        printf("skipped: of %zu kB, this machine puts %ld in huge pages\n", LENGTH / 1024, most);
        return CHECK_SKIPPED;
    }
    (void)check_open(0);
    kdreg_cache_t *cache = harm_cache(0, KDREG_CACHE_NO_MERGE);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        compare(cache, &ways[i]);
    collapse(cache);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    return check_result("hugepages");
}
