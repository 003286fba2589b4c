/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "load.h"

#include <malloc.h>
#include <pthread.h>

#include "../check.h"
#include "pages.h"

enum { THREADS = 4, GENERATIONS = 4, ROUNDS = 2400, OWN = 12, HANDED_OVER = 8, REST = 240, REPORTS = 10 };

struct buffer {
    char *at;
    size_t length;
};

static kdreg_cache_t *cache;
static _Atomic(struct buffer *) handed_over[HANDED_OVER]; /* whoever takes one out owns it */
static atomic_ulong looks, stale;
static pthread_barrier_t rest;

struct thread {
    uint64_t random;
    unsigned long looked;
    struct buffer *own[OWN];
};

static uint64_t below(struct thread *thread, uint64_t limit)
{
    thread->random ^= thread->random << 13;
    thread->random ^= thread->random >> 7;
    thread->random ^= thread->random << 17;
    return (thread->random >> 16) % limit;
}

/* Mostly a few pages; up to what any allocator maps by itself. */
static size_t some_length(struct thread *thread)
{
    static const size_t most[] = {8 << 10, 64 << 10, 256 << 10, 2 << 20};
    size_t limit = most[below(thread, 16) ? below(thread, 3) : 3];
    return 4096 + below(thread, limit);
}

static struct buffer *allocate(struct thread *thread)
{
    struct buffer *buffer = malloc(sizeof *buffer);
    REQUIRE(buffer, "malloc");
    bool zero = true;
    buffer->length = some_length(thread);
    switch (below(thread, 3)) {
    case 0:
        buffer->at = malloc(buffer->length);
        break;
    case 1:
        buffer->at = calloc(1, buffer->length);
        for (size_t i = 0; buffer->at && i < buffer->length; i += 512)
            zero &= buffer->at[i] == 0;
        CHECK(zero, "calloc gave memory that is not zero");
        break;
    default:
        if (posix_memalign((void **)&buffer->at, 4096, buffer->length))
            buffer->at = NULL;
    }
    REQUIRE(buffer->at, "no memory for %zu bytes", buffer->length);
    return buffer;
}

static void release(struct buffer *buffer)
{
    free(buffer->at);
    free(buffer);
}

/* Registers it, or finds it registered, and looks at the pages. */
static kdreg_entry_t *look(struct thread *thread, const struct buffer *buffer)
{
    size_t skip = below(thread, 2) ? below(thread, buffer->length / 2) : 0;
    char *at = buffer->at + skip;
    size_t length = buffer->length - skip;
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, at, length, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry);
    CHECK(error == 0, "kdreg_cache_get of %zu bytes at %p: %s", length, (void *)at, kdreg_strerror(error));
    if (error)
        return NULL;
    int differ = pages_differ(kdreg_entry_handle(entry), at, length, &thread->looked);
    if (differ && atomic_fetch_add(&stale, 1) < REPORTS)
        CHECK(false, "%d pages of %zu bytes at %p are not those that are registered", differ, length, (void *)at);
    return entry;
}

static void put(kdreg_entry_t *entry)
{
    if (entry)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
}

static void reallocate(struct thread *thread, struct buffer *buffer)
{
    /* What comes along is what was there. */
    size_t length = some_length(thread), kept = length < buffer->length ? length : buffer->length;
    unsigned char first = (unsigned char)below(thread, 256);
    buffer->at[0] = (char)first;
    buffer->at[kept - 1] = (char)(first + 1);
    char *moved = realloc(buffer->at, length);
    REQUIRE(moved, "realloc to %zu bytes", length);
    CHECK((unsigned char)moved[0] == first && (unsigned char)moved[kept - 1] == (unsigned char)(first + 1), "realloc lost what was there");
    buffer->at = moved;
    buffer->length = length;
}

static void step(struct thread *thread)
{
    struct buffer **place = &thread->own[below(thread, OWN)];
    if (!*place)
        *place = allocate(thread);
    uint64_t dice = below(thread, 100);
    if (dice < 55) {
        put(look(thread, *place));
    } else if (dice < 65) {
        reallocate(thread, *place);
        put(look(thread, *place));
    } else if (dice < 75) {
        /* Freed by another thread. */
        *place = atomic_exchange(&handed_over[below(thread, HANDED_OVER)], *place);
    } else if (dice < 80) {
        /* Freed while it is in use. */
        kdreg_entry_t *entry = look(thread, *place);
        release(*place);
        *place = NULL;
        put(entry);
    } else {
        release(*place);
        *place = NULL;
        if (dice == 99)
            malloc_trim(0);
    }
}

static void *work(void *argument)
{
    struct thread *thread = argument;
    for (int round = 1; round <= ROUNDS; round++) {
        step(thread);
        if (round % REST)
            continue;
        /* A range of which a part was discarded a moment ago is registered, and not kept: after a rest everything is, to be found later. */
        pthread_barrier_wait(&rest);
        check_sleep_ms(130);
        for (int i = 0; i < 2 * OWN; i++)
            if (thread->own[i % OWN])
                put(look(thread, thread->own[i % OWN]));
        pthread_barrier_wait(&rest);
    }
    for (int i = 0; i < OWN; i++)
        if (thread->own[i])
            release(thread->own[i]);
    atomic_fetch_add(&looks, thread->looked);
    return NULL;
}

int load_run(void)
{
    check_says("what is found for memory from malloc is of the pages that are behind it");
    /* Two descriptors for each, and what has been let go of is not yet closed. */
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = pages_register, .dereg = pages_deregister, .max_entries = 128};
    int error = kdreg_cache_create(check_open(0), &attr, &cache);
    REQUIRE(error == 0, "kdreg_cache_create: %s", kdreg_strerror(error));
    pthread_barrier_init(&rest, NULL, THREADS);
    for (uint64_t generation = 0; generation < GENERATIONS; generation++) {
        pthread_t threads[THREADS];
        static struct thread of[THREADS];
        memset(of, 0, sizeof of);
        for (uint64_t i = 0; i < THREADS; i++) {
            of[i].random = 0x9e3779b97f4a7c15ull * (generation * THREADS + i + 1);
            REQUIRE(pthread_create(&threads[i], NULL, work, &of[i]) == 0, "pthread_create");
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < HANDED_OVER; i++)
        if (handed_over[i])
            release(handed_over[i]);
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
    printf("  %lu pages looked at, %lu stale; %llu hits, %llu registrations, %llu invalidations, %llu evictions, %llu uncached\n", atomic_load(&looks),
           atomic_load(&stale), (unsigned long long)stats.hits, (unsigned long long)stats.registrations, (unsigned long long)stats.invalidations,
           (unsigned long long)stats.evictions, (unsigned long long)stats.uncached);
    CHECK(atomic_load(&looks) > 0 && stats.hits > 0 && stats.invalidations > 0, "nothing was found, or never invalidated: nothing is shown");
    CHECK_IS(stats.in_use, 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(pages_registrations(), 0);
    return check_result("allocators");
}
