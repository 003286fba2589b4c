/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* References on entries: more of them, and what ends them. On every backend, with and without a reaper. */
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"

static size_t page;

struct counts {
    atomic_int registered, deregistered;
};

static int counting_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct counts *counts = context;
    (void)length;
    (void)access;
    atomic_fetch_add(&counts->registered, 1);
    *handle = addr;
    return 0;
}

static int counting_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct counts *counts = context;
    (void)addr;
    (void)length;
    (void)handle;
    atomic_fetch_add(&counts->deregistered, 1);
    return 0;
}

static kdreg_cache_t *create(struct counts *counts, uint32_t flags)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = counting_register, .dereg = counting_deregister, .ctx = counts, .flags = flags};
    return new_cache(NULL, &attr);
}

static kdreg_entry_t *get(kdreg_cache_t *cache, char *addr, size_t length)
{
    kdreg_entry_t *entry = NULL;
    int error = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    return entry;
}

static void held_again(uint32_t flags)
{
    check_says("hold: never registers, also of what was invalidated, and each reference is put by itself (flags %u)", flags);
    struct counts counts = {0};
    kdreg_cache_t *cache = create(&counts, flags);
    char *memory = check_space(4 * page);
    kdreg_entry_t *entry = get(cache, memory, page);
    CHECK_IS(kdreg_cache_hold(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
    CHECK(kdreg_cache_invalidate(cache, memory, page) >= 0, "invalidate");
    for (int i = 0; i < 100; i++)
        CHECK_IS(kdreg_cache_hold(cache, entry), 0);
    CHECK(kdreg_entry_base(entry) == memory && kdreg_entry_length(entry) == page, "the entry is what it was");
    CHECK_IS(counts.registered, 1);
    for (int i = 0; i < 100; i++)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(counts.deregistered, 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(counts.deregistered, 1);
    CHECK_IS(kdreg_cache_put(cache, entry), -EINVAL);
    CHECK_IS(kdreg_cache_hold(cache, entry), -EINVAL);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 4 * page);
}

static void idle_is_not_held(void)
{
    check_says("hold refuses an entry that is cached and that nobody holds");
    struct counts counts = {0};
    kdreg_cache_t *cache = create(&counts, KDREG_CACHE_NO_REAPER);
    char *memory = check_space(page);
    kdreg_entry_t *entry = get(cache, memory, page);
    for (int i = 0; i < 10; i++) {
        CHECK_IS(kdreg_cache_hold(cache, entry), 0);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_hold(cache, entry), -EINVAL);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, page);
}

/* Threads that hold, and hand what they hold to each other, while the entry is dropped over and over. */
enum { HOLDERS = 4, ROUNDS = 20000 };

struct crowd {
    kdreg_cache_t *cache;
    char *memory;
    atomic_bool over;
    atomic_int done, dropped;
};

static void *holder(void *argument)
{
    struct crowd *crowd = argument;
    for (int round = 0; round < ROUNDS; round++) {
        kdreg_entry_t *entry = get(crowd->cache, crowd->memory, page);
        CHECK_IS(kdreg_cache_hold(crowd->cache, entry), 0);
        CHECK_IS(kdreg_cache_put(crowd->cache, entry), 0);
        CHECK(kdreg_entry_base(entry) == crowd->memory, "a held entry became another one");
        CHECK_IS(kdreg_cache_put(crowd->cache, entry), 0);
    }
    return NULL;
}

static void *dropper(void *argument)
{
    struct crowd *crowd = argument;
    while (!crowd->over)
        CHECK(kdreg_cache_invalidate(crowd->cache, crowd->memory, page) >= 0, "invalidate");
    return NULL;
}

static void held_while_dropped(void)
{
    check_says("hold against invalidate: %d threads, %d rounds each", HOLDERS, ROUNDS);
    struct counts counts = {0};
    struct crowd crowd = {.cache = create(&counts, 0), .memory = check_space(page)};
    pthread_t holders[HOLDERS], other;
    REQUIRE(pthread_create(&other, NULL, dropper, &crowd) == 0, "pthread_create");
    for (int i = 0; i < HOLDERS; i++)
        REQUIRE(pthread_create(&holders[i], NULL, holder, &crowd) == 0, "pthread_create");
    for (int i = 0; i < HOLDERS; i++)
        pthread_join(holders[i], NULL);
    crowd.over = true;
    pthread_join(other, NULL);
    CHECK_IS(kdreg_cache_destroy(crowd.cache), 0);
    CHECK(counts.registered == counts.deregistered, "%d registered, %d deregistered", counts.registered, counts.deregistered);
    munmap(crowd.memory, page);
}

static void set_flag(void *argument)
{
    atomic_fetch_add((atomic_int *)argument, 1);
}

static void dropped(uint32_t flags)
{
    check_says("drop: no lookup finds it; called back when it is deregistered, after the last put (flags %u)", flags);
    struct counts counts = {0};
    kdreg_cache_t *cache = create(&counts, flags);
    char *memory = check_space(4 * page);
    atomic_int first = 0, second = 0;
    kdreg_entry_t *entry = get(cache, memory, page), *found = NULL;
    CHECK_IS(kdreg_cache_hold(cache, entry), 0);
    CHECK_IS(kdreg_cache_drop(cache, entry, set_flag, &first), 0);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &found), -ENOENT);
    CHECK_IS(kdreg_cache_drop(cache, entry, set_flag, &second), 0);
    CHECK_IS(kdreg_cache_drop(cache, entry, NULL, NULL), 0);
    kdreg_entry_t *anew = get(cache, memory, page);
    CHECK(anew != entry, "a dropped entry was found");
    CHECK_IS(counts.registered, 2);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK(first == 0 && second == 0 && counts.deregistered == 0, "it is still held");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK(first == 1 && second == 1 && counts.deregistered == 1, "called %d and %d times, %d deregistered", first, second, counts.deregistered);
    CHECK_IS(kdreg_cache_put(cache, anew), 0);
    CHECK_IS(kdreg_cache_drop(cache, entry, set_flag, &first), -EINVAL);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK(first == 1 && second == 1, "called again");
    munmap(memory, 4 * page);
}

static void drained_and_called(uint32_t flags)
{
    check_says("drain: nothing new, and called back when the last one is put (flags %u)", flags);
    struct counts counts = {0};
    kdreg_cache_t *cache = create(&counts, flags);
    char *memory = check_space(64 * page);
    for (size_t i = 0; i < 20; i++)
        CHECK_IS(kdreg_cache_put(cache, get(cache, memory + 2 * i * page, page)), 0);
    kdreg_entry_t *entry = get(cache, memory, page), *other = get(cache, memory + 50 * page, page), *out = NULL;
    atomic_int over = 0;
    CHECK_IS(kdreg_cache_drain(cache, set_flag, &over), 0);
    CHECK_IS(kdreg_cache_drain(cache, set_flag, &over), -EALREADY);
    CHECK_IS(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &out), -ESHUTDOWN);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &out), -ESHUTDOWN);
    struct kdreg_cache_info info = {.size = sizeof info};
    CHECK_IS(kdreg_cache_info(cache, &info), 0);
    CHECK(info.flags & KDREG_INFO_DRAINING, "flags %u", info.flags);
    CHECK_IS(kdreg_cache_hold(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, other), 0);
    CHECK(over == 0, "one is still held");
    CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_EVENTUALLY(over == 1, 60, "it was not called");
    CHECK(counts.registered == counts.deregistered, "%d registered, %d deregistered", counts.registered, counts.deregistered);
    CHECK_IS(kdreg_cache_drain(cache, NULL, NULL), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(over, 1);

    check_says("drain of an empty cache; from a callback");
    cache = create(&counts, flags);
    over = 0;
    CHECK_IS(kdreg_cache_drain(cache, set_flag, &over), 0);
    CHECK_IS(over, 1);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 64 * page);
}

/* Threads that get and put until the cache is drained under them. */
static void *user(void *argument)
{
    struct crowd *crowd = argument;
    for (size_t round = 0;; round++) {
        kdreg_entry_t *entry = NULL;
        int error = kdreg_cache_get(crowd->cache, crowd->memory + round % 64 * page, page, KDREG_ACCESS_READ, &entry);
        if (error) {
            CHECK_IS(error, -ESHUTDOWN);
            return NULL;
        }
        if (round % 3 == 0)
            CHECK_IS(kdreg_cache_drop(crowd->cache, entry, set_flag, &crowd->dropped), 0);
        CHECK_IS(kdreg_cache_put(crowd->cache, entry), 0);
        atomic_fetch_add(&crowd->done, 1);
    }
}

static void drained_while_used(uint32_t flags, int rounds)
{
    check_says("drain against get, %d times (flags %u)", rounds, flags);
    char *memory = check_space(64 * page);
    for (int round = 0; round < rounds; round++) {
        struct counts counts = {0};
        struct crowd crowd = {.cache = create(&counts, flags), .memory = memory};
        pthread_t users[HOLDERS];
        for (int i = 0; i < HOLDERS; i++)
            REQUIRE(pthread_create(&users[i], NULL, user, &crowd) == 0, "pthread_create");
        while (crowd.done < 1 + round)
            sched_yield();
        CHECK_IS(kdreg_cache_drain(crowd.cache, NULL, NULL), 0);
        CHECK(counts.registered == counts.deregistered, "drained: %d registered, %d deregistered", counts.registered, counts.deregistered);
        for (int i = 0; i < HOLDERS; i++)
            pthread_join(users[i], NULL);
        CHECK(counts.registered == counts.deregistered, "%d registered, %d deregistered", counts.registered, counts.deregistered);
        CHECK_IS(kdreg_cache_destroy(crowd.cache), 0);
    }
    munmap(memory, 64 * page);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    held_again(0);
    held_again(KDREG_CACHE_NO_REAPER);
    idle_is_not_held();
    held_while_dropped();
    dropped(0);
    dropped(KDREG_CACHE_NO_REAPER);
    drained_and_called(0);
    drained_and_called(KDREG_CACHE_NO_REAPER);
    drained_while_used(0, 100);
    drained_while_used(KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 100);
    return check_result("references");
}
