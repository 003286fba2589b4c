/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is not cached any more is not watched any more, wherever the application has carried it: the kernel's own list of mappings (VmFlags in
   smaps) says which ones a userfaultfd watches. And what is cached is watched as a whole. */
#include "check.h"
#include "plain.h"

enum { LARGE = 64 << 20, SMALL = 256 << 10 };

static size_t page;
static kdreg_cache_t *cache;
static kdreg_t *monitor;

/* How many mappings that touch [from, to) are watched; and in *holds whether one of them holds all of it. */
static int watched(const char *from, const char *to, bool *holds)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    REQUIRE(file, "smaps");
    char line[512];
    unsigned long start = 0, end = 0;
    int count = 0;
    if (holds)
        *holds = false;
    while (fgets(line, sizeof line, file)) {
        unsigned long first, last;
        if (sscanf(line, "%lx-%lx ", &first, &last) == 2)
            start = first, end = last;
        else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " uw") && start < (unsigned long)to && (unsigned long)from < end) {
            count++;
            if (holds && start <= (unsigned long)from && (unsigned long)to <= end)
                *holds = true;
        }
    }
    fclose(file);
    return count;
}

static int watched_anywhere(void)
{
    return watched(NULL, (char *)(~0ul >> 1), NULL);
}

/* Waits: letting go takes its time. Only a watch that never ends reaches the limit. */
static void expect_nothing_watched(const char *after)
{
    time_t limit = time(NULL) + 60;
    int left;
    while ((left = watched_anywhere()) && time(NULL) < limit)
        usleep(5000);
    CHECK(!left, "%s: %d mappings are still watched", after, left);
}

static char *map(size_t length)
{
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED, "memory");
    madvise(memory, length, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < length; at += 64 * page)
        memory[at] = 1;
    return memory;
}

static void cached(char *memory)
{
    kdreg_entry_t *entry;
    REQUIRE(!kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) && !kdreg_cache_put(cache, entry), "an entry");
}

typedef char *change(char *memory, size_t length);

static char *unmaps_all(char *memory, size_t length)
{
    munmap(memory, length);
    return NULL;
}
static char *unmaps_around(char *memory, size_t length)
{
    munmap(memory, length / 4);
    munmap(memory + length / 2 + page, length / 4);
    kdreg_cache_flush(cache);
    return memory;
}
static char *unmaps_the_region(char *memory, size_t length)
{
    munmap(memory + length / 2, page);
    return memory;
}
static char *maps_over_the_region(char *memory, size_t length)
{
    void *made = mmap(memory + length / 2, 4 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(made == memory + length / 2, "mmap: %s", strerror(errno));
    return memory;
}
static char *discards(char *memory, size_t length)
{
    madvise(memory + length / 2, page, MADV_DONTNEED);
    return memory;
}
static char *moves(char *memory, size_t length)
{
    char *moved = mremap(memory, length, 2 * length, MREMAP_MAYMOVE);
    REQUIRE(moved != MAP_FAILED, "mremap: %s", strerror(errno));
    munmap(moved + length, length);
    return moved;
}
static char *moves_leaving_it_mapped(char *memory, size_t length)
{
    char *moved = mremap(memory, length, length, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    if (moved != MAP_FAILED)
        munmap(moved, length);
    else
        kdreg_cache_flush(cache); /* before 5.7 */
    return memory;
}
static char *moves_a_half(char *memory, size_t length)
{
    char *room = mmap(NULL, length / 2, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *half = mremap(memory + length / 2, length / 2, length / 2, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    REQUIRE(half == room, "mremap: %s", strerror(errno));
    munmap(half + length / 4, length / 8);
    return memory;
}
static char *protects_parts(char *memory, size_t length)
{
    for (size_t at = 0; at < length; at += length / 8)
        mprotect(memory + at, page, PROT_READ);
    kdreg_cache_flush(cache);
    return memory;
}
static char *invalidates(char *memory, size_t length)
{
    kdreg_cache_invalidate(cache, memory, length);
    return memory;
}
static char *flushes(char *memory, size_t length)
{
    (void)length;
    kdreg_cache_flush(cache);
    return memory;
}

static const struct {
    const char *name;
    change *change;
} changes[] = {
    {"all of it unmapped", unmaps_all},
    {"unmapped around the region, and flushed", unmaps_around},
    {"the region unmapped", unmaps_the_region},
    {"another mapping over the region", maps_over_the_region},
    {"the region discarded", discards},
    {"moved", moves},
    {"moved, the old place left mapped", moves_leaving_it_mapped},
    {"a half moved, and cut", moves_a_half},
    {"protected in parts, and flushed", protects_parts},
    {"invalidated", invalidates},
    {"flushed", flushes},
};

static void nothing_cached_nothing_watched(size_t length)
{
    check_says("in a mapping of %zu KiB: watched whole while cached, and not at all once nothing is", length >> 10);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *memory = map(length);
        bool whole;
        cached(memory + length / 2);
        CHECK_IS(watched(memory, memory + length, &whole), 1);
        CHECK(whole, "%s: the mapping is watched in parts", changes[i].name);
        char *left = changes[i].change(memory, length);
        expect_nothing_watched(changes[i].name);
        if (left)
            munmap(left, length);
        kdreg_cache_flush(cache);
    }
}

static void while_another_is_cached(void)
{
    check_says("it stays watched while another region in it is cached");
    char *memory = map(LARGE);
    bool whole;
    cached(memory);
    cached(memory + LARGE / 2);
    kdreg_cache_invalidate(cache, memory, page);
    usleep(200000);
    CHECK_IS(watched(memory, memory + LARGE, &whole), 1);
    CHECK(whole, "the mapping is watched in parts");
    kdreg_entry_t *entry;
    CHECK_IS(kdreg_cache_find(cache, memory + LARGE / 2, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    madvise(memory + LARGE / 2, page, MADV_DONTNEED);
    CHECK_IS(kdreg_cache_find(cache, memory + LARGE / 2, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    expect_nothing_watched("the other discarded");
    munmap(memory, LARGE);
}

static void evicted(void)
{
    check_says("what is evicted is not watched");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister,
                                    .max_entries = 2, .flags = KDREG_CACHE_NO_MERGE};
    kdreg_cache_t *two, *all = cache;
    REQUIRE(!kdreg_cache_create(monitor, &attr, &two), "a cache");
    char *memory[6];
    cache = two;
    for (int i = 0; i < 6; i++) {
        memory[i] = map(SMALL << (i % 2 ? 5 : 0));
        /* A page of another kind between, so that each is a mapping of its own. */
        mmap(NULL, page, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cached(memory[i]);
    }
    cache = all;
    time_t limit = time(NULL) + 60;
    while (watched_anywhere() > 2 && time(NULL) < limit)
        usleep(5000);
    CHECK_IS(watched_anywhere(), 2);
    CHECK_IS(kdreg_cache_destroy(two), 0);
    expect_nothing_watched("the cache destroyed");
    for (int i = 0; i < 6; i++)
        munmap(memory[i], SMALL << (i % 2 ? 5 : 0));
}

static void monitored(void)
{
    check_says("what is monitored by hand is watched until it is unmonitored, its event taken, or the monitor closed");
    char *memory = map(SMALL);
    struct kdreg_region region;
    struct kdreg_event event;
    REQUIRE(!kdreg_monitor(monitor, memory + page, page, 1, &region), "a region");
    CHECK_IS(watched(memory, memory + SMALL, NULL), 1);
    CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
    expect_nothing_watched("unmonitored");
    REQUIRE(!kdreg_monitor(monitor, memory + page, page, 1, &region), "a region");
    madvise(memory + page, page, MADV_DONTNEED);
    CHECK_IS(kdreg_check(monitor, &event, 1), 1);
    expect_nothing_watched("its event taken");
    kdreg_t *second;
    REQUIRE(!kdreg_open(NULL, &second) && !kdreg_monitor(second, memory, SMALL, 1, &region), "a region of another monitor");
    CHECK_IS(kdreg_close(second), 0);
    expect_nothing_watched("the monitor closed");
    munmap(memory, SMALL);
}

int main(void)
{
    check_watchdog(280);
    page = (size_t)sysconf(_SC_PAGESIZE);
    REQUIRE(!kdreg_open(NULL, &monitor), "a monitor");
    if (strcmp(kdreg_backend_name(monitor), "userfaultfd")) {
        puts("skipped: this backend watches no mappings");
        return CHECK_SKIPPED;
    }
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    REQUIRE(!kdreg_cache_create(monitor, &attr, &cache), "a cache");
    char *probe = map(SMALL);
    cached(probe);
    if (!watched_anywhere()) {
        puts("skipped: smaps does not tell what is watched here");
        return CHECK_SKIPPED;
    }
    kdreg_cache_flush(cache);
    munmap(probe, SMALL);
    expect_nothing_watched("at the beginning");

    nothing_cached_nothing_watched(SMALL);
    nothing_cached_nothing_watched(LARGE);
    while_another_is_cached();
    evicted();
    monitored();
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("watched");
}
