/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg_entry_check: what became of the caller's own range, whatever was merged with it. On every backend; on none the answer is that it is
 * not known, but for what was invalidated. */
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"
#include "plain.h"

static size_t page;
static bool watches;
static int unchanged, changed; /* what this backend says of what has not changed, and of what has */

static kdreg_cache_t *create(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    return new_cache(NULL, &attr);
}

static kdreg_entry_t *get(kdreg_cache_t *cache, char *addr, size_t length)
{
    kdreg_entry_t *entry = NULL;
    int error = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    return entry;
}

/* While the handler is kept from running, it may be that nothing is known; but never the opposite. */
static void comes_to(kdreg_cache_t *cache, const kdreg_entry_t *entry, const char *addr, size_t length, int expected)
{
    int answer;
    CHECK_EVENTUALLY((answer = kdreg_entry_check(cache, entry, addr, length)) != KDREG_ENTRY_UNKNOWN || expected == KDREG_ENTRY_UNKNOWN, 60,
                     "nothing comes to be known of %p", (const void *)addr);
    CHECK_IS(answer, expected);
}

static void fill(kdreg_cache_t *cache, char *memory, size_t count)
{
    for (size_t i = 0; i < count; i++)
        CHECK_IS(kdreg_cache_put(cache, get(cache, memory + i * page, page)), 0);
}

static void neighbours(void)
{
    check_says("a neighbour that was merged in changes: of one's own range it makes no difference");
    kdreg_cache_t *cache = create();
    char *memory = check_space(8 * page);
    fill(cache, memory, 4);
    kdreg_entry_t *entries[4];
    for (size_t i = 0; i < 4; i++)
        entries[i] = get(cache, memory + i * page, page);
    for (size_t i = 0; i < 4; i++)
        comes_to(cache, entries[i], memory + i * page, page, unchanged);
    munmap(memory + 2 * page, page);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 4; i++)
            comes_to(cache, entries[i], memory + i * page + 10, 100, i == 2 ? changed : unchanged);
        CHECK(kdreg_cache_reap(cache) >= 0, "reap");
    }
    CHECK(!kdreg_entry_valid(cache, entries[2]), "what was unmapped counts as valid");
    munmap(memory, page);
    comes_to(cache, entries[0], memory, page, changed);
    comes_to(cache, entries[1], memory + page, page, unchanged);
    for (size_t i = 0; i < 4; i++)
        CHECK_IS(kdreg_cache_put(cache, entries[i]), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory + page, page);
    munmap(memory + 3 * page, 5 * page);
}

static void merged_while_used(void)
{
    check_says("a range is in use while it is merged with what comes after it: both who hold it know of it");
    kdreg_cache_t *cache = create();
    char *memory = check_space(8 * page);
    kdreg_entry_t *first = get(cache, memory, page), *second = get(cache, memory + page, page), *again = get(cache, memory, page);
    CHECK((first == again) == false || !watches, "the second range was not merged with the first");
    munmap(memory + page, page);
    comes_to(cache, first, memory, page, unchanged);
    comes_to(cache, again, memory, page, unchanged);
    comes_to(cache, second, memory + page, page, changed);
    CHECK_IS(kdreg_cache_put(cache, first), 0);
    comes_to(cache, again, memory, page, unchanged);
    munmap(memory, page);
    comes_to(cache, again, memory, page, changed);
    CHECK_IS(kdreg_cache_put(cache, again), 0);
    CHECK_IS(kdreg_cache_put(cache, second), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory + 2 * page, 6 * page);
}

static void invalidated(void)
{
    check_says("what was invalidated counts as changed, on every backend, and nothing else does");
    kdreg_cache_t *cache = create();
    char *memory = check_space(8 * page);
    fill(cache, memory, 4);
    kdreg_entry_t *entry = get(cache, memory, 4 * page);
    CHECK(kdreg_cache_invalidate(cache, memory + page, page) >= 0, "invalidate");
    comes_to(cache, entry, memory + page, page, KDREG_ENTRY_CHANGED);
    comes_to(cache, entry, memory, 4 * page, KDREG_ENTRY_CHANGED);
    comes_to(cache, entry, memory, page, unchanged);
    comes_to(cache, entry, memory + 2 * page, 2 * page, unchanged);
    CHECK(!kdreg_entry_valid(cache, entry), "an entry is valid after its range was invalidated");
    /* It is not cached any more, and still it is told. */
    CHECK(kdreg_cache_invalidate(cache, memory + 3 * page, page) >= 0, "invalidate");
    comes_to(cache, entry, memory + 3 * page, page, KDREG_ENTRY_CHANGED);
    comes_to(cache, entry, memory + 2 * page, page, unchanged);
    kdreg_entry_t *anew = get(cache, memory, 4 * page);
    comes_to(cache, anew, memory, 4 * page, unchanged);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, anew), 0);
    /* The same slot, another entry. */
    CHECK(kdreg_cache_flush(cache) >= 0, "flush");
    entry = get(cache, memory, 4 * page);
    comes_to(cache, entry, memory, 4 * page, unchanged);
    CHECK(kdreg_cache_flush(cache) >= 0, "flush");
    comes_to(cache, entry, memory, 4 * page, unchanged);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 8 * page);
}

static void parts(void)
{
    check_says("ranges across what was merged; a part of what was asked for; what is not covered");
    kdreg_cache_t *cache = create();
    char *memory = check_space(16 * page);
    fill(cache, memory, 8);
    kdreg_entry_t *entry = get(cache, memory, 8 * page);
    munmap(memory + 5 * page, page);
    comes_to(cache, entry, memory, 5 * page, unchanged);
    comes_to(cache, entry, memory + 6 * page, 2 * page, unchanged);
    comes_to(cache, entry, memory + 4 * page, 3 * page, changed);
    CHECK_IS(kdreg_entry_check(cache, entry, memory + 8 * page, page), -EINVAL);
    CHECK_IS(kdreg_entry_check(cache, entry, memory, 0), -EINVAL);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_entry_check(cache, entry, memory, page), -EINVAL);
    entry = get(cache, memory + 8 * page, 4 * page);
    munmap(memory + 9 * page, page);
    int answer = kdreg_entry_check(cache, entry, memory + 10 * page, page);
    CHECK(answer == unchanged || answer == KDREG_ENTRY_UNKNOWN, "a part of what was asked for has not changed: %d", answer);
    comes_to(cache, entry, memory + 8 * page, 4 * page, changed);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 5 * page);
    munmap(memory + 6 * page, 3 * page);
    munmap(memory + 10 * page, 6 * page);
}

/* Transfers over memory that nobody touches, while its neighbours come and go. */
enum { TRANSFERS = 6000, BUFFERS = 8 };

struct disturbance {
    char *memory;
    kdreg_cache_t *cache;
    atomic_bool over;
};

static void *disturb(void *argument)
{
    struct disturbance *it = argument;
    for (size_t i = 0; !it->over; i++) {
        char *neighbour = it->memory + (2 * (i % BUFFERS) + 1) * page;
        kdreg_entry_t *entry;
        if (kdreg_cache_get(it->cache, neighbour, page, KDREG_ACCESS_READ, &entry) == 0)
            CHECK_IS(kdreg_cache_put(it->cache, entry), 0);
        REQUIRE(mmap(neighbour, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == neighbour, "mmap");
    }
    return NULL;
}

static void transfers(void)
{
    check_says("%d transfers over untouched memory whose neighbours are unmapped meanwhile", TRANSFERS);
    struct disturbance it = {.memory = check_space((2 * BUFFERS + 1) * page), .cache = create()};
    pthread_t other;
    REQUIRE(pthread_create(&other, NULL, disturb, &it) == 0, "pthread_create");
    int answers[3] = {0};
    for (size_t i = 0; i < TRANSFERS; i++) {
        char *buffer = it.memory + 2 * (i % BUFFERS) * page;
        kdreg_entry_t *entry = get(it.cache, buffer, page);
        sched_yield();
        int answer = kdreg_entry_check(it.cache, entry, buffer, page);
        REQUIRE(answer >= 0 && answer <= 2, "kdreg_entry_check: %d", answer);
        answers[answer]++;
        CHECK_IS(kdreg_cache_put(it.cache, entry), 0);
    }
    it.over = true;
    pthread_join(other, NULL);
    printf("  unknown %d, unchanged %d, changed %d\n", answers[KDREG_ENTRY_UNKNOWN], answers[KDREG_ENTRY_UNCHANGED], answers[KDREG_ENTRY_CHANGED]);
    CHECK_IS(answers[KDREG_ENTRY_CHANGED], 0);
    CHECK(!watches || answers[KDREG_ENTRY_UNCHANGED] > TRANSFERS / 2, "%d of %d are known to be unchanged", answers[KDREG_ENTRY_UNCHANGED], TRANSFERS);
    CHECK_IS(kdreg_cache_destroy(it.cache), 0);
    munmap(it.memory, (2 * BUFFERS + 1) * page);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    kdreg_t *monitor = check_open_any(&watches);
    unchanged = watches ? KDREG_ENTRY_UNCHANGED : KDREG_ENTRY_UNKNOWN;
    changed = watches ? KDREG_ENTRY_CHANGED : KDREG_ENTRY_UNKNOWN;
    neighbours();
    merged_while_used();
    invalidated();
    parts();
    transfers();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("answers");
}
