/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What registration caches in the field get wrong, each as a test. */
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"
#include "peers.h"

static size_t page;

struct card {
    atomic_int pinned, registrations;
    atomic_long bytes;
    size_t largest;       /* refuses longer ranges with -EINVAL */
    atomic_bool hold;     /* register sleeps while set */
    atomic_int asleep;
    char *only;           /* where it sleeps */
};

static int card_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct card *card = context;
    (void)access;
    if (card->largest && length > card->largest)
        return -EINVAL;
    if (card->only == addr) {
        atomic_fetch_add(&card->asleep, 1);
        while (atomic_load(&card->hold))
            check_sleep_ms(1);
    }
    atomic_fetch_add(&card->pinned, 1);
    atomic_fetch_add(&card->registrations, 1);
    atomic_fetch_add(&card->bytes, (long)length);
    *handle = addr;
    return 0;
}

static int card_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct card *card = context;
    CHECK(handle == addr, "deregister was given another registration's handle");
    atomic_fetch_sub(&card->pinned, 1);
    atomic_fetch_sub(&card->bytes, (long)length);
    return 0;
}

static kdreg_cache_t *create(kdreg_t *monitor, struct card *card, uint32_t flags, size_t max_entries, size_t max_bytes)
{
    struct kdreg_cache_attr attr = {
        .size = sizeof attr, .reg = card_register, .dereg = card_deregister, .ctx = card, .flags = flags, .max_entries = max_entries, .max_bytes = max_bytes};
    return new_cache(monitor, &attr);
}

static void destroy(kdreg_cache_t *cache, struct card *card)
{
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK(atomic_load(&card->pinned) == 0 && atomic_load(&card->bytes) == 0, "%d pins and %ld bytes are left", atomic_load(&card->pinned), atomic_load(&card->bytes));
}

static char *map(size_t pages)
{
    return check_space(pages * page);
}

static void full_cache_hits(kdreg_t *monitor)
{
    enum { ENTRIES = 16, ROUNDS = 50 };
    check_says("a working set exactly as large as the cache always hits (no flush before the search)");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, ENTRIES, 0);
    char *memory = map(2 * ENTRIES);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < ENTRIES; i++)
            CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.hits == (ROUNDS - 1) * ENTRIES && stats.misses == ENTRIES && stats.evictions == 0, "%llu hits, %llu misses, %llu evictions",
          (unsigned long long)stats.hits, (unsigned long long)stats.misses, (unsigned long long)stats.evictions);
    destroy(cache, &card);

    check_says("the same with a limit in bytes");
    cache = create(monitor, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 0, ENTRIES * page);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < ENTRIES; i++)
            CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    stats = stats_of(cache);
    CHECK(stats.misses == ENTRIES && stats.evictions == 0 && stats.bytes == ENTRIES * page, "%llu misses, %llu evictions, %llu bytes",
          (unsigned long long)stats.misses, (unsigned long long)stats.evictions, (unsigned long long)stats.bytes);
    destroy(cache, &card);

    check_says("eviction takes the least recently used, and never one in use");
    cache = create(monitor, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 4, 0);
    kdreg_entry_t *held, *entry;
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &held) == 0, "kdreg_cache_get");
    for (size_t i = 1; i < 4; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    CHECK_IS(get_put(cache, memory + 2 * page, page), 0);         /* 1 is the youngest now */
    CHECK_IS(get_put(cache, memory + 2 * 10 * page, page), 0);    /* takes the place of 2 */
    static const struct {
        size_t place;
        int expected;
    } expected[] = {{0, 0}, {1, 0}, {2, -ENOENT}, {3, 0}, {10, 0}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int found = kdreg_cache_find(cache, memory + 2 * expected[i].place * page, page, KDREG_ACCESS_READ, &entry);
        CHECK(found == expected[i].expected, "place %zu: %d", expected[i].place, found);
        if (found == 0)
            CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
    CHECK_IS(kdreg_cache_put(cache, held), 0);
    destroy(cache, &card);
    munmap(memory, 2 * ENTRIES * page);
}

static atomic_bool stop;
struct sharing {
    kdreg_cache_t *cache;
    char *memory;
    size_t places;
    unsigned seed;
    long operations;
};

static void *share(void *argument)
{
    struct sharing *sharing = argument;
    while (!atomic_load(&stop)) {
        size_t place = (size_t)rand_r(&sharing->seed) % sharing->places;
        int error = get_put(sharing->cache, sharing->memory + 2 * place * page, page);
        CHECK(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
        sharing->operations++;
    }
    return NULL;
}

static void shared_regions_keep_the_list(kdreg_t *monitor)
{
    enum { THREADS = 4, PLACES = 12, LIMIT = 8 };
    check_says("threads that share regions of a cache too small for all keep its bookkeeping intact");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_MERGE, LIMIT, 0);
    char *memory = map(2 * PLACES);
    struct sharing sharing[THREADS];
    pthread_t threads[THREADS];
    atomic_store(&stop, false);
    for (unsigned i = 0; i < THREADS; i++) {
        sharing[i] = (struct sharing){cache, memory, PLACES, i + 1, 0};
        REQUIRE(pthread_create(&threads[i], NULL, share, &sharing[i]) == 0, "pthread_create");
    }
    check_sleep_ms(1500);
    atomic_store(&stop, true);
    long operations = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        operations += sharing[i].operations;
    }
    struct kdreg_cache_stats stats = stats_of(cache);
    printf("    %ld operations, %llu evictions\n", operations, (unsigned long long)stats.evictions);
    CHECK(stats.entries <= LIMIT && stats.in_use == 0 && stats.evictions > 0, "%llu entries, %llu in use", (unsigned long long)stats.entries, (unsigned long long)stats.in_use);
    CHECK_EVENTUALLY(stats_of(cache).entries == (uint64_t)atomic_load(&card.pinned), 60, "%llu entries, %d pinned", (unsigned long long)stats_of(cache).entries,
                     atomic_load(&card.pinned));
    destroy(cache, &card);
    munmap(memory, 2 * PLACES * page);
}

static void failures_are_not_counted(kdreg_t *monitor)
{
    check_says("failed registrations do not stay counted against the limits");
    struct card card = {.largest = page};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 4, 8 * page);
    char *memory = map(40);
    for (int i = 0; i < 50; i++)
        CHECK_IS(get_put(cache, memory + 20 * page, 2 * page), -EINVAL);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.entries == 0 && stats.bytes == 0 && stats.in_use == 0 && stats.registrations == 0 && stats.register_failures >= 50, "%llu entries, %llu bytes",
          (unsigned long long)stats.entries, (unsigned long long)stats.bytes);
    for (size_t i = 0; i < 4; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    stats = stats_of(cache);
    CHECK(stats.entries == 4 && stats.evictions == 0 && stats.uncached == 0, "%llu entries, %llu evictions, %llu uncached", (unsigned long long)stats.entries,
          (unsigned long long)stats.evictions, (unsigned long long)stats.uncached);
    destroy(cache, &card);
    munmap(memory, 40 * page);
}

static void adjacent_ranges_merge(kdreg_t *monitor)
{
    check_says("adjacent and overlapping ranges merge");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER, 0, 0);
    char *memory = map(64);
    kdreg_entry_t *entry;
    CHECK_IS(get_put(cache, memory + 8 * page, 2 * page), 0);
    CHECK_IS(get_put(cache, memory + 10 * page, 2 * page), 0);   /* adjacent, no larger */
    CHECK_IS(get_put(cache, memory + 11 * page, 3 * page), 0);   /* overlapping */
    REQUIRE(kdreg_cache_find(cache, memory + 8 * page, 6 * page, KDREG_ACCESS_READ, &entry) == 0, "the union of three ranges is not found");
    CHECK(kdreg_entry_base(entry) == memory + 8 * page && kdreg_entry_length(entry) == 6 * page, "%p+%zu", kdreg_entry_base(entry), kdreg_entry_length(entry));
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.entries == 1 && stats.merges >= 2 && stats.bytes == 6 * page, "%llu entries, %llu merges, %llu bytes", (unsigned long long)stats.entries,
          (unsigned long long)stats.merges, (unsigned long long)stats.bytes);
    CHECK(kdreg_cache_reap(cache) >= 0 && atomic_load(&card.pinned) == 1, "%d pinned", atomic_load(&card.pinned));

    check_says("a sequential sweep does not become one ever-growing registration that is made again at each step");
    CHECK(kdreg_cache_flush(cache) == 1, "flush");
    int registrations = atomic_load(&card.registrations);
    long largest = 0;
    for (size_t i = 0; i < 64; i++) {
        CHECK_IS(get_put(cache, memory + i * page, page), 0);
        largest = atomic_load(&card.bytes) > largest ? atomic_load(&card.bytes) : largest;
    }
    registrations = atomic_load(&card.registrations) - registrations;
    CHECK(registrations <= 64 && largest <= (long)(3 * 64 * page), "%d registrations, up to %ld bytes pinned", registrations, largest);

    check_says("access: a hit needs a superset; a mismatch registers the union");
    CHECK(kdreg_cache_flush(cache) >= 0, "flush");
    CHECK_IS(get_put(cache, memory, page), 0);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_WRITE, &entry), -ENOENT);
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_WRITE, &entry) == 0, "kdreg_cache_get");
    CHECK(kdreg_entry_access(entry) == (KDREG_ACCESS_READ | KDREG_ACCESS_WRITE), "access %#x", kdreg_entry_access(entry));
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    REQUIRE(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry) == 0, "the union is not found");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ | 1u << 31, &entry) == 0, "the caller's own bits");
    CHECK(kdreg_entry_access(entry) & 1u << 31, "the caller's own bits are lost");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    for (int bit = 5; bit < 16; bit++)
        CHECK_IS(kdreg_cache_get(cache, memory, page, 1u << bit, &entry), -EINVAL);
    destroy(cache, &card);
    munmap(memory, 64 * page);
}

static void *get_slowly(void *argument)
{
    struct sharing *sharing = argument;
    int error = get_put(sharing->cache, sharing->memory, page);
    CHECK(error == 0, "the slow registration: %s", kdreg_strerror(error));
    return NULL;
}

static void hits_do_not_wait(kdreg_t *monitor)
{
    check_says("hits, misses elsewhere and puts do not wait for another thread's registration");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_MERGE, 0, 0);
    char *memory = map(16);
    CHECK_IS(get_put(cache, memory + 4 * page, page), 0);
    card.only = memory;
    atomic_store(&card.hold, true);
    struct sharing slow = {.cache = cache, .memory = memory};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, get_slowly, &slow) == 0, "pthread_create");
    CHECK_EVENTUALLY(atomic_load(&card.asleep) == 1, 60, "the slow registration did not start");
    for (int i = 0; i < 1000; i++)
        CHECK_IS(get_put(cache, memory + 4 * page, page), 0);
    CHECK_IS(get_put(cache, memory + 8 * page, page), 0);
    CHECK(atomic_load(&card.hold) && atomic_load(&card.asleep) == 1, "the slow registration is still under way");
    atomic_store(&card.hold, false);
    pthread_join(thread, NULL);
    destroy(cache, &card);
    munmap(memory, 16 * page);
}

static void few_bytes_hit(kdreg_t *monitor)
{
    check_says("regions of a few bytes are rounded to pages and hit again, across neighbours on the page");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER, 0, 0);
    char *memory = map(4);
    CHECK_IS(get_put(cache, memory + page + 10, 7), 0);
    for (size_t offset = 0; offset < page; offset += 64)
        CHECK_IS(get_put(cache, memory + page + offset, 8), 0);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.registrations == 1 && stats.misses == 1, "%llu registrations", (unsigned long long)stats.registrations);
    CHECK_IS(get_put(cache, memory + 2 * page - 4, 8), 0);   /* over the page's end */
    CHECK_IS(get_put(cache, memory + 2 * page - 4, 8), 0);
    stats = stats_of(cache);
    CHECK(stats.registrations == 2 && stats.bytes % page == 0, "%llu registrations, %llu bytes", (unsigned long long)stats.registrations, (unsigned long long)stats.bytes);
    destroy(cache, &card);
    munmap(memory, 4 * page);
}

static void remap_target_is_seen(kdreg_t *monitor)
{
    check_says("mremap with MREMAP_FIXED: the mapping that it lands on is reported");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER, 0, 0);
    char *target = map(4), *source = map(4);
    memset(source, 1, page);
    kdreg_entry_t *entry;
    CHECK_IS(get_put(cache, target, 4 * page), 0);
    REQUIRE(mremap(source, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target, "mremap: %s", strerror(errno));
    CHECK_IS(kdreg_cache_find(cache, target, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    destroy(cache, &card);
    munmap(target, 4 * page);
    munmap(source + 2 * page, 2 * page);
}

static void stray_signals_do_no_harm(kdreg_t *monitor)
{
    check_says("a stray signal does not end the monitor's thread");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER, 0, 0);
    signal(SIGUSR1, SIG_IGN);
    for (int i = 0; i < 100; i++)
        kill(getpid(), i & 1 ? SIGUSR1 : SIGURG);
    char *memory = map(1);
    kdreg_entry_t *entry;
    CHECK_IS(get_put(cache, memory, page), 0);
    munmap(memory, page);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    destroy(cache, &card);
}

static void released_without_a_call(kdreg_t *monitor)
{
    check_says("what was unmapped does not stay pinned until the next call");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, 0, 0, 0);
    char *memory = map(8);
    CHECK_IS(get_put(cache, memory, 8 * page), 0);
    CHECK_IS(atomic_load(&card.pinned), 1);
    munmap(memory, 8 * page);
    CHECK_EVENTUALLY(atomic_load(&card.pinned) == 0, 60, "still pinned");
    destroy(cache, &card);
}

static void false_sharing_of_pages(kdreg_t *monitor)
{
    check_says("a change next door invalidates nothing here");
    struct card card = {.largest = 0};
    kdreg_cache_t *cache = create(monitor, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 0, 0);
    char *memory = map(3);
    kdreg_entry_t *entry = NULL;
    CHECK_IS(get_put(cache, memory + page, page), 0);
    madvise(memory, page, MADV_DONTNEED);
    munmap(memory + 2 * page, page);
    munmap(memory, page);
    /* A lookup gives up early where changes are still being taken in; what is lost stays lost. */
    CHECK_EVENTUALLY(kdreg_cache_find(cache, memory + page, page, KDREG_ACCESS_READ, &entry) == 0, 60, "lost to a change on the neighbouring page");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    destroy(cache, &card);
    munmap(memory + page, page);
}

int main(void)
{
    check_watchdog(580);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    full_cache_hits(monitor);
    shared_regions_keep_the_list(monitor);
    failures_are_not_counted(monitor);
    adjacent_ranges_merge(monitor);
    invalidation_does_not_search(monitor);
    hits_do_not_wait(monitor);
    few_bytes_hit(monitor);
    remap_target_is_seen(monitor);
    stray_signals_do_no_harm(monitor);
    released_without_a_call(monitor);
    false_sharing_of_pages(monitor);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("peers");
}
