/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* mremap in every form on memory of which a part is cached, in use, or was: it does what it does without the library, and no entry over what
 * moved is found. */
#include <malloc.h>

#include "harm.h"

static size_t page;
enum { LENGTH = 8 << 20, CACHED_AT = 1 << 20, CACHED = 64 << 10 };

enum state { IDLE, IN_USE, DISCARDED, FLUSHED, STATES };
static const char *const state_names[STATES] = {"cached", "in use", "discarded", "flushed"};

static char *space(size_t length)
{
    char *start = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(start != MAP_FAILED, "mmap: %s", strerror(errno));
    return start;
}

/* Memory with room above it, and its pages numbered. */
static char *numbered(int flags)
{
    char *start = space(2 * LENGTH + page);
    REQUIRE(mmap(start, LENGTH, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | flags, -1, 0) == start, "mmap: %s", strerror(errno));
    munmap(start + LENGTH, LENGTH);
    for (size_t i = 0; i < LENGTH / page; i++)
        *(uint32_t *)(start + i * page) = (uint32_t)i + 1;
    return start;
}

/* Pages `first` and up are at `start`; what was discarded reads as zero. */
static void check_numbers(const char *form, const char *start, size_t first, size_t length, bool discarded)
{
    size_t wrong = 0;
    for (size_t i = 0; i < length / page; i++) {
        uint32_t number = *(const uint32_t *)(start + i * page), expected = (uint32_t)(first + i) + 1;
        bool gone = discarded && (first + i) * page >= CACHED_AT && (first + i) * page < CACHED_AT + page;
        wrong += number != (gone ? 0 : expected);
    }
    CHECK(wrong == 0, "%s: %zu of %zu pages are not what they were", form, wrong, length / page);
}

/* A form: what it is done to, and where its pages are afterwards. */
struct form {
    const char *name;
    size_t start, length, new_length;
    int flags;
    bool fixed, shared, duplicates;
};
static const struct form forms[] = {
    {"shrink", 0, LENGTH, LENGTH / 2, 0, false, false, false},
    {"shrink through what is cached", 0, LENGTH, CACHED_AT + CACHED / 2, MREMAP_MAYMOVE, false, false, false},
    {"grow in place by a page", 0, LENGTH, LENGTH + 4096, 0, false, false, false},
    {"grow in place to twice", 0, LENGTH, 2 * LENGTH, 0, false, false, false},
    {"grow, may move", 0, LENGTH, 4 * LENGTH, MREMAP_MAYMOVE, false, false, false},
    {"move all", 0, LENGTH, LENGTH, MREMAP_MAYMOVE, true, false, false},
    {"move and grow", 0, LENGTH, 2 * LENGTH, MREMAP_MAYMOVE, true, false, false},
    {"move and shrink", 0, LENGTH, LENGTH / 4, MREMAP_MAYMOVE, true, false, false},
    {"move what is cached", CACHED_AT, CACHED, CACHED, MREMAP_MAYMOVE, true, false, false},
    {"move over its lower border", CACHED_AT - CACHED, 2 * CACHED, 2 * CACHED, MREMAP_MAYMOVE, true, false, false},
    {"move over its upper border", CACHED_AT + CACHED / 2, CACHED, CACHED, MREMAP_MAYMOVE, true, false, false},
    {"move what is beside it", LENGTH / 2, CACHED, CACHED, MREMAP_MAYMOVE, true, false, false},
    {"grow a part, may move", CACHED_AT, CACHED, 4 * CACHED, MREMAP_MAYMOVE, false, false, false},
    {"move, keeping the old", 0, LENGTH, LENGTH, MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */, true, false, false},
    {"move shared memory", 0, LENGTH, LENGTH, MREMAP_MAYMOVE, true, true, false},
    {"map shared memory again", 0, 0, LENGTH, MREMAP_MAYMOVE, true, true, true},
};

static bool overlaps(const struct form *form)
{
    size_t end = form->start + form->length;
    return form->start < CACHED_AT + CACHED && CACHED_AT < end;
}

static void run(kdreg_cache_t *cache, const struct form *form, enum state state)
{
    char *start = numbered(form->shared ? MAP_SHARED : MAP_PRIVATE), *watched = start + CACHED_AT;
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, watched, CACHED, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    if (state != IN_USE)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    if (state == DISCARDED)
        REQUIRE(madvise(watched, page, form->shared ? MADV_REMOVE : MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    if (state == FLUSHED)
        CHECK(kdreg_cache_flush(cache) >= 0, "kdreg_cache_flush");

    char *target = form->fixed ? space(form->new_length) : NULL;
    char *now = target ? mremap(start + form->start, form->length, form->new_length, form->flags | MREMAP_FIXED, target)
                       : mremap(start + form->start, form->length, form->new_length, form->flags);
    CHECK(now != MAP_FAILED, "%s, %s: mremap: %s", form->name, state_names[state], strerror(errno));
    if (now != MAP_FAILED) {
        size_t kept = form->duplicates || form->length > form->new_length ? form->new_length : form->length;
        check_numbers(form->name, now, form->start / page, kept, state == DISCARDED);
        if (form->new_length > form->length)
            now[form->new_length - 1] = 1;
        bool moved = now != start + form->start && !form->duplicates;
        bool cut_off = !moved && !form->duplicates && form->new_length < CACHED_AT + CACHED;
        if ((moved && overlaps(form)) || cut_off)
            CHECK(!harm_cached(cache, watched, CACHED), "STALE: %s, %s: an entry over what is not there any more was found", form->name, state_names[state]);
        /* The memory at its new place can be cached as any other. */
        harm_use(cache, now, page);
    }
    if (state == IN_USE)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    munmap(start, 2 * LENGTH + page);
    if (now != MAP_FAILED)
        munmap(now, form->new_length);
}

/* Blocks of malloc, large enough to be mappings of their own, which realloc moves with mremap. */
static void reallocate(kdreg_cache_t *cache)
{
    check_says("realloc of blocks of which a part is cached, up and down");
    for (int round = 0; round < 20; round++) {
        size_t length = LENGTH / 8;
        char *block = malloc(length);
        REQUIRE(block, "malloc");
        memset(block, 7, length);
        for (int step = 0; step < 8; step++) {
            harm_use(cache, block + 5000, 10000);
            size_t next = step < 5 ? 2 * length : length / 2;
            uintptr_t before = (uintptr_t)block;
            char *now = realloc(block, next);
            REQUIRE(now, "realloc of %zu to %zu bytes: %s", length, next, strerror(errno));
            CHECK(now[9999] == 7 && now[LENGTH / 8 - 1] == 7, "realloc lost what was there");
            if ((uintptr_t)now != before)
                CHECK(!harm_cached(cache, (void *)(before + 5000), 10000), "STALE: an entry over the block before realloc was found");
            block = now;
            length = next;
        }
        free(block);
    }
}

/* As a growing array: mapped in pieces, cached in pieces. */
static void grow_slowly(kdreg_cache_t *cache)
{
    check_says("memory that grows by mremap, each step cached");
    char *start = space(64 << 20), *here = start;
    REQUIRE(mmap(here, page, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == here, "mmap");
    munmap(here + page, (64 << 20) - page);
    long before = harm_mappings();
    for (size_t pages = 1; pages < 1000; pages++) {
        char *now = mremap(here, pages * page, (pages + 1) * page, MREMAP_MAYMOVE);
        REQUIRE(now != MAP_FAILED, "mremap of %zu pages: %s", pages, strerror(errno));
        here = now;
        here[pages * page] = 1;
        harm_use(cache, here + pages * page, page);
    }
    CHECK(harm_mappings() < before + 60, "%ld mappings, %ld before", harm_mappings(), before);
    munmap(here, 1000 * page);
}

int main(void)
{
    check_watchdog(500);
    page = (size_t)sysconf(_SC_PAGESIZE);
    (void)check_open(0);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    kdreg_cache_t *cache = harm_cache(0, 0);
    for (enum state state = 0; state < STATES; state++) {
        check_says("%zu forms of mremap, a part of the memory %s", sizeof forms / sizeof *forms, state_names[state]);
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
            run(cache, &forms[i], state);
    }
    reallocate(cache);
    grow_slowly(cache);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    return check_result("remaps");
}
