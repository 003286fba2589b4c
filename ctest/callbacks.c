/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Callbacks that fail, that call back into the library, and (callbacks_allocate.c) that allocate. */
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"
#include "callbacks.h"

static size_t page;

static kdreg_cache_t *create(kdreg_t *monitor, kdreg_register_fn reg, kdreg_deregister_fn dereg, void *context, uint32_t flags, size_t max_entries)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = reg, .dereg = dereg, .ctx = context, .flags = flags, .max_entries = max_entries};
    return new_cache(monitor, &attr);
}

static char *map(size_t pages)
{
    return check_space(pages * page);
}

/* A card that can pin so many regions, and fails the next ones as told. */
struct card {
    int pinned, capacity, failures_left, error, calls;
    size_t largest;   /* refuses longer ranges */
};

static int card_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct card *card = context;
    (void)access;
    card->calls++;
    if (card->largest && length > card->largest)
        return card->error;
    if (card->failures_left > 0) {
        card->failures_left--;
        return card->error;
    }
    if (card->pinned >= card->capacity)
        return -ENOMEM;
    card->pinned++;
    *handle = addr;
    return 0;
}

static int card_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct card *card = context;
    (void)length;
    CHECK(handle == addr, "deregister was given another registration's handle");
    card->pinned--;
    return 0;
}

static void no_memory_evicts(kdreg_t *monitor)
{
    check_says("register says -ENOMEM: idle entries are evicted, the oldest first, and it is tried again");
    struct card card = {.capacity = 4};
    kdreg_cache_t *cache = create(monitor, card_register, card_deregister, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 0);
    char *memory = map(40);
    for (size_t i = 0; i < 12; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    CHECK(card.pinned <= 4, "%d pinned on a card for 4", card.pinned);
    kdreg_entry_t *entry;
    CHECK_IS(kdreg_cache_find(cache, memory + 22 * page, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.evictions >= 8, "%llu evictions", (unsigned long long)stats.evictions);
    CHECK(stats.entries == (uint64_t)card.pinned, "%llu entries, %d pinned", (unsigned long long)stats.entries, card.pinned);

    check_says("register says -ENOMEM while everything is in use: the error comes back, nothing stays counted");
    kdreg_entry_t *held[4];
    for (size_t i = 0; i < 4; i++)
        REQUIRE(kdreg_cache_get(cache, memory + 2 * i * page, page, KDREG_ACCESS_READ, &held[i]) == 0, "kdreg_cache_get");
    kdreg_entry_t *const untouched = (kdreg_entry_t *)(void *)&card;
    entry = untouched;
    struct kdreg_cache_stats before = stats_of(cache);
    CHECK_IS(kdreg_cache_get(cache, memory + 30 * page, page, KDREG_ACCESS_READ, &entry), -ENOMEM);
    CHECK(entry == untouched, "a failing get changed its result");
    struct kdreg_cache_stats after = stats_of(cache);
    CHECK(after.entries == before.entries && after.bytes == before.bytes && after.registrations == before.registrations && after.in_use == before.in_use,
          "a failed registration stays counted: %llu entries, %llu bytes", (unsigned long long)after.entries, (unsigned long long)after.bytes);
    CHECK(after.register_failures > before.register_failures, "the failure is not counted");
    for (size_t i = 0; i < 4; i++)
        CHECK_IS(kdreg_cache_put(cache, held[i]), 0);

    check_says("other errors come back as they are, at once");
    card.failures_left = 1;
    card.error = -EPERM;
    card.calls = 0;
    CHECK_IS(get_put(cache, memory + 30 * page, page), -EPERM);
    CHECK(card.calls == 1, "tried %d times", card.calls);
    CHECK_IS(get_put(cache, memory + 30 * page, page), 0);

    check_says("register fails for ever: no endless loop");
    card.failures_left = 1000000000;
    card.error = -ENOMEM;
    CHECK_IS(get_put(cache, memory + 34 * page, page), -ENOMEM);
    card.failures_left = 0;
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(card.pinned, 0);
    munmap(memory, 40 * page);
}

static void merged_falls_back(kdreg_t *monitor)
{
    check_says("a merged range that register refuses: the bare range is registered");
    struct card card = {.capacity = 100, .largest = 2 * page, .error = -EINVAL};
    kdreg_cache_t *cache = create(monitor, card_register, card_deregister, &card, KDREG_CACHE_NO_REAPER, 0);
    char *memory = map(8);
    kdreg_entry_t *one, *two;
    REQUIRE(kdreg_cache_get(cache, memory + page, 2 * page, KDREG_ACCESS_READ, &one) == 0, "kdreg_cache_get");
    CHECK_IS(kdreg_cache_get(cache, memory + 2 * page, 2 * page, KDREG_ACCESS_READ, &two), 0);
    CHECK(kdreg_entry_base(two) == memory + 2 * page && kdreg_entry_length(two) == 2 * page, "registered %p+%zu", kdreg_entry_base(two), kdreg_entry_length(two));
    CHECK(kdreg_entry_valid(cache, one) && kdreg_entry_valid(cache, two), "both registrations stand");
    CHECK_IS(kdreg_cache_put(cache, one), 0);
    CHECK_IS(kdreg_cache_put(cache, two), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(card.pinned, 0);
    munmap(memory, 8 * page);

    check_says("a merged range with a hole in it: the bare range is registered");
    card = (struct card){.capacity = 100};
    cache = create(monitor, card_register, card_deregister, &card, KDREG_CACHE_NO_REAPER, 0);
    memory = map(6);
    CHECK_IS(get_put(cache, memory, 4 * page), 0);
    munmap(memory, page);
    CHECK_IS(get_put(cache, memory + 2 * page, 3 * page), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(card.pinned, 0);
    munmap(memory + page, 5 * page);
}

/* Callbacks that use the cache they are called from. */
struct reentrant {
    kdreg_cache_t *cache;
    char *memory;
    int depth, registered, released;
};

static int reentrant_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct reentrant *state = context;
    (void)length;
    (void)access;
    state->registered++;
    *handle = addr;
    if (state->depth++ == 0) {
        kdreg_entry_t *entry = NULL;
        CHECK_IS(kdreg_cache_get(state->cache, state->memory + 10 * page, page, KDREG_ACCESS_READ, &entry), 0);
        CHECK_IS(kdreg_cache_put(state->cache, entry), 0);
        CHECK_IS(kdreg_cache_find(state->cache, state->memory + 10 * page, page, KDREG_ACCESS_READ, &entry), 0);
        CHECK_IS(kdreg_cache_put(state->cache, entry), 0);
        CHECK(kdreg_cache_invalidate(state->cache, state->memory + 10 * page, page) == 1, "invalidate from inside register");
        CHECK(kdreg_cache_reap(state->cache) >= 0, "reap from inside register");
        CHECK(kdreg_cache_flush(state->cache) >= 0, "flush from inside register");
        stats_of(state->cache);
        CHECK_IS(kdreg_cache_destroy(state->cache), -EDEADLK);
    }
    state->depth--;
    return 0;
}

static int reentrant_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct reentrant *state = context;
    (void)addr;
    (void)length;
    (void)handle;
    state->released++;
    if (state->depth++ == 0) {
        kdreg_entry_t *entry = NULL;
        int found = kdreg_cache_find(state->cache, state->memory, page, KDREG_ACCESS_READ, &entry);
        CHECK(found == 0 || found == -ENOENT, "find from inside deregister: %d", found);
        if (found == 0)
            CHECK_IS(kdreg_cache_put(state->cache, entry), 0);
        CHECK(kdreg_cache_reap(state->cache) >= 0, "reap from inside deregister");
        CHECK_IS(kdreg_cache_destroy(state->cache), -EDEADLK);
    }
    state->depth--;
    return 0;
}

static void callbacks_reenter(kdreg_t *monitor)
{
    check_says("callbacks that get, find, put, invalidate, flush, reap and ask for statistics");
    struct reentrant state = {.memory = map(20)};
    state.cache = create(monitor, reentrant_register, reentrant_deregister, &state, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 3);
    for (size_t round = 0; round < 20; round++)
        CHECK_IS(get_put(state.cache, state.memory + (round % 5) * 2 * page, page), 0);
    madvise(state.memory, 4 * page, MADV_DONTNEED);
    CHECK(kdreg_cache_reap(state.cache) >= 0, "reap");
    CHECK(kdreg_cache_flush(state.cache) >= 0, "flush");
    CHECK_IS(kdreg_cache_destroy(state.cache), 0);
    CHECK(state.registered == state.released, "%d registered, %d released", state.registered, state.released);
    munmap(state.memory, 20 * page);
}

/* Never under a lock: while one callback sleeps, every other call must go through. */
struct sleeper {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int inside_register, inside_deregister;
    bool hold_register, hold_deregister;
};

static int sleepy(struct sleeper *state, int *inside, const bool *hold)
{
    pthread_mutex_lock(&state->lock);
    ++*inside;
    pthread_cond_broadcast(&state->changed);
    while (*hold)
        pthread_cond_wait(&state->changed, &state->lock);
    --*inside;
    pthread_mutex_unlock(&state->lock);
    return 0;
}

static int sleepy_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct sleeper *state = context;
    (void)length;
    (void)access;
    *handle = addr;
    return sleepy(state, &state->inside_register, &state->hold_register);
}

static int sleepy_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct sleeper *state = context;
    (void)addr;
    (void)length;
    (void)handle;
    return sleepy(state, &state->inside_deregister, &state->hold_deregister);
}

struct errand {
    kdreg_cache_t *cache;
    char *addr;
    bool flush;
    int result;
};

static void *run_errand(void *argument)
{
    struct errand *errand = argument;
    errand->result = errand->flush ? kdreg_cache_flush(errand->cache) : get_put(errand->cache, errand->addr, page);
    return NULL;
}

static void set(struct sleeper *state, bool *what, bool value)
{
    pthread_mutex_lock(&state->lock);
    *what = value;
    pthread_cond_broadcast(&state->changed);
    pthread_mutex_unlock(&state->lock);
}

static void wait_inside(struct sleeper *state, const int *inside)
{
    pthread_mutex_lock(&state->lock);
    while (!*inside)
        pthread_cond_wait(&state->changed, &state->lock);
    pthread_mutex_unlock(&state->lock);
}

static void nobody_waits_for_a_callback(kdreg_t *monitor)
{
    check_says("while register sleeps in one thread, others hit, miss elsewhere, reap and unmap");
    struct sleeper state = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    char *memory = map(20);
    kdreg_cache_t *cache = create(monitor, sleepy_register, sleepy_deregister, &state, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 0);
    CHECK_IS(get_put(cache, memory, page), 0);
    set(&state, &state.hold_register, true);
    struct errand errand = {.cache = cache, .addr = memory + 4 * page};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, run_errand, &errand) == 0, "pthread_create");
    wait_inside(&state, &state.inside_register);
    kdreg_entry_t *entry;
    for (int i = 0; i < 100; i++)
        CHECK_IS(get_put(cache, memory, page), 0);
    CHECK_IS(kdreg_cache_find(cache, memory + 8 * page, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    CHECK(kdreg_cache_reap(cache) >= 0, "reap");
    munmap(memory, page);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    munmap(memory + 4 * page, page);   /* what is being registered right now */
    set(&state, &state.hold_register, false);
    pthread_join(thread, NULL);
    CHECK(errand.result == 0 || errand.result == -EFAULT || errand.result == -EAGAIN, "get of memory unmapped while it was registered: %d", errand.result);
    CHECK_IS(kdreg_cache_find(cache, memory + 4 * page, page, KDREG_ACCESS_READ, &entry), -ENOENT);

    check_says("while deregister sleeps in one thread, others find, register and unmap");
    CHECK_IS(get_put(cache, memory + 8 * page, page), 0);
    set(&state, &state.hold_deregister, true);
    struct errand flushing = {.cache = cache, .flush = true};
    REQUIRE(pthread_create(&thread, NULL, run_errand, &flushing) == 0, "pthread_create");
    wait_inside(&state, &state.inside_deregister);
    CHECK_IS(get_put(cache, memory + 12 * page, page), 0);
    CHECK_IS(get_put(cache, memory + 8 * page, page), 0);
    munmap(memory + 8 * page, page);
    CHECK_IS(kdreg_cache_find(cache, memory + 8 * page, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    set(&state, &state.hold_deregister, false);
    pthread_join(thread, NULL);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 20 * page);
}

/* -EINVAL from a dead registration is the card's business: the cache goes on. */
static int failing_deregister(void *context, void *addr, size_t length, void *handle)
{
    card_deregister(context, addr, length, handle);
    return -EIO;
}

static void deregister_fails(kdreg_t *monitor)
{
    check_says("deregister that reports an error is called once per registration all the same");
    struct card card = {.capacity = 100};
    kdreg_cache_t *cache = create(monitor, card_register, failing_deregister, &card, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 2);
    char *memory = map(20);
    for (size_t i = 0; i < 10; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(card.pinned, 0);
    munmap(memory, 20 * page);
}

int main(void)
{
    check_watchdog(480);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    no_memory_evicts(monitor);
    merged_falls_back(monitor);
    callbacks_reenter(monitor);
    nobody_waits_for_a_callback(monitor);
    deregister_fails(monitor);
    callbacks_allocate(monitor, KDREG_CACHE_NO_REAPER);
    callbacks_allocate(monitor, 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("callbacks");
}
