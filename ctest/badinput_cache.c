/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The cache's functions against input that is wrong. */
#include <sys/mman.h>

#include "badinput.h"
#include "caches.h"

size_t page;
char *memory, *hole;
int callbacks;

static int count_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)length;
    (void)access;
    callbacks++;
    *handle = addr;
    return 0;
}

static int count_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)addr;
    (void)length;
    (void)handle;
    callbacks++;
    return 0;
}

const struct kdreg_cache_attr good_cache = {
    .size = sizeof good_cache, .reg = count_register, .dereg = count_deregister, .flags = KDREG_CACHE_NO_REAPER};

/* A range that could be, where nothing is. */
static void nowhere(kdreg_t *monitor, kdreg_cache_t *cache, uintptr_t addr)
{
    void *pointer = (void *)addr;
    struct kdreg_region region;
    kdreg_entry_t *entry;
    int watch = kdreg_monitor(monitor, pointer, page, 1, &region), get = kdreg_cache_get(cache, pointer, page, KDREG_ACCESS_READ, &entry),
        find = kdreg_cache_find(cache, pointer, page, KDREG_ACCESS_READ, &entry), invalidate = kdreg_cache_invalidate(cache, pointer, page);
    CHECK(watch == -EFAULT || watch == -EINVAL, "kdreg_monitor at %#lx: %d", (unsigned long)addr, watch);
    CHECK(get == -EFAULT || get == -EINVAL, "kdreg_cache_get at %#lx: %d", (unsigned long)addr, get);
    CHECK(find == -ENOENT || find == -EINVAL, "kdreg_cache_find at %#lx: %d", (unsigned long)addr, find);
    CHECK(invalidate == 0 || invalidate == -EINVAL, "kdreg_cache_invalidate at %#lx: %d", (unsigned long)addr, invalidate);
}

static int never_called(void *argument, kdreg_entry_t *entry)
{
    CHECK(false, "called with %p and %p", argument, (void *)entry);
    return 0;
}

void cache_calls_say(kdreg_cache_t *cache, kdreg_entry_t *entry, int error)
{
    kdreg_entry_t *const untouched = WILD(kdreg_entry_t);
    kdreg_entry_t *out = untouched;
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    int before = callbacks;
    CHECK_IS(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &out), error);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &out), error);
    CHECK_IS(kdreg_cache_put(cache, entry), error);
    CHECK_IS(kdreg_cache_hold(cache, entry), error);
    CHECK_IS(kdreg_entry_check(cache, entry, memory, page), error);
    struct kdreg_get_attr with = {.size = sizeof with};
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &with, &out), error);
    CHECK_IS(kdreg_cache_drop(cache, entry, NULL, NULL), error);
    CHECK_IS(kdreg_cache_drain(cache, NULL, NULL), error);
    CHECK_IS(kdreg_cache_evict(cache, 1), error);
    struct kdreg_cache_info info = {.size = sizeof info};
    CHECK_IS(kdreg_cache_info(cache, &info), error);
    CHECK_IS(kdreg_cache_each(cache, never_called, NULL), error);
    CHECK_IS(kdreg_cache_caps(cache), 0);
    CHECK_IS(kdreg_cache_invalidate(cache, memory, page), error);
    CHECK_IS(kdreg_cache_flush(cache), error);
    CHECK_IS(kdreg_cache_reap(cache), error);
    CHECK_IS(kdreg_cache_fd(cache), error);
    CHECK_IS(kdreg_cache_stats(cache, &stats), error);
    CHECK_IS(kdreg_cache_dump(cache, 2), error);
    CHECK(!kdreg_entry_valid(cache, entry), "an entry of a bad cache counts as valid");
    CHECK_IS(kdreg_cache_destroy(cache), error);
    CHECK(out == untouched, "a failing lookup changed its result");
    CHECK(callbacks == before, "a failing call made a callback");
}

void cache_create_refuses(kdreg_t *monitor)
{
    check_says("kdreg_cache_create refuses bad attributes");
    kdreg_cache_t *const untouched = WILD(kdreg_cache_t);
    kdreg_cache_t *out = untouched;
    CHECK_IS(kdreg_cache_create(monitor, NULL, &out), -EINVAL);
    CHECK_IS(kdreg_cache_create(monitor, &good_cache, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_create(monitor, &good_cache, ODD(kdreg_cache_t *, &out)), -EINVAL);
    CHECK_IS(kdreg_cache_create(monitor, ODD(struct kdreg_cache_attr, wild), &out), -EINVAL);
    struct kdreg_cache_attr attr;
#define REFUSED(field, value)                                        \
    do {                                                             \
        attr = good_cache;                                           \
        attr.field = (value);                                        \
        int refused = kdreg_cache_create(monitor, &attr, &out);      \
        CHECK(refused == -EINVAL, #field " = " #value ": %d", refused); \
    } while (0)
    REFUSED(size, 0);
    REFUSED(size, offsetof(struct kdreg_cache_attr, reg_with) - 1); /* less than the first version had */
    REFUSED(size, SIZE_MAX);
    REFUSED(reg, NULL);
    REFUSED(dereg, NULL);
    REFUSED(alignment, 1);
    REFUSED(alignment, page / 2);
    REFUSED(alignment, page + 1);
    REFUSED(alignment, 3 * page);
    REFUSED(flags, KDREG_CACHE_BYPASS << 1);
    REFUSED(flags, 1u << 31);
    REFUSED(reserved, 1);
    CHECK(out == untouched, "a failing kdreg_cache_create changed its result");
}

static void same_stats(kdreg_cache_t *cache, const struct kdreg_cache_stats *before)
{
    struct kdreg_cache_stats now = stats_of(cache);
    CHECK(memcmp(&now, before, sizeof now) == 0, "calls with bad input changed the statistics");
}

void lookups_refuse(kdreg_t *monitor, kdreg_cache_t *cache)
{
    check_says("kdreg_cache_get, find, put, invalidate, stats, dump");
    kdreg_entry_t *entry = NULL, *const untouched = WILD(kdreg_entry_t), *out = untouched;
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    struct kdreg_cache_stats before = stats_of(cache);
    int calls = callbacks;
    for (int i = 0; i < BAD_RANGES; i++) {
        void *addr = (void *)bad_ranges[i].addr;
        size_t length = bad_ranges[i].length;
        int get = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &out), find = kdreg_cache_find(cache, addr, length, KDREG_ACCESS_READ, &out),
            invalidate = kdreg_cache_invalidate(cache, addr, length);
        CHECK(get == -EINVAL && find == -EINVAL && invalidate == -EINVAL, "range (%s): get %d, find %d, invalidate %d", bad_ranges[i].what, get, find, invalidate);
    }
    CHECK_IS(kdreg_cache_get(cache, memory, 0, KDREG_ACCESS_READ, &out), -EINVAL);
    CHECK_IS(kdreg_cache_find(cache, memory, 0, KDREG_ACCESS_READ, &out), -EINVAL);
    CHECK_IS(kdreg_cache_invalidate(cache, memory, 0), -EINVAL);
    CHECK_IS(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, ODD(kdreg_entry_t *, &out)), -EINVAL);
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, ODD(kdreg_entry_t *, &out)), -EINVAL);
    CHECK_IS(kdreg_cache_put(cache, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_put(cache, ODD(kdreg_entry_t, entry)), -EINVAL);
    CHECK_IS(kdreg_cache_put(cache, WILD(kdreg_entry_t)), -EINVAL);
    CHECK_IS(kdreg_cache_put(cache, (kdreg_entry_t *)(void *)monitor), -EINVAL);
    CHECK_IS(kdreg_cache_stats(cache, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_stats(cache, ODD(struct kdreg_cache_stats, wild)), -EINVAL);
    struct kdreg_cache_stats small = {.size = 8};
    CHECK_IS(kdreg_cache_stats(cache, &small), -EINVAL);
    CHECK(kdreg_cache_dump(cache, -1) < 0, "kdreg_cache_dump to no descriptor succeeds");
    CHECK(out == untouched && callbacks == calls, "a failing lookup changed its result or made a callback");
    same_stats(cache, &before);

    struct kdreg_get_attr with = {.size = sizeof with, .access = KDREG_ACCESS_READ};
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, NULL, &out), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, ODD(struct kdreg_get_attr, wild), &out), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &with, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, 0, &with, &out), -EINVAL);
    for (int i = 0; i < BAD_RANGES; i++)
        CHECK_IS(kdreg_cache_get_with(cache, (void *)bad_ranges[i].addr, bad_ranges[i].length, &with, &out), -EINVAL);
    for (size_t alignment = 1; alignment < page; alignment *= 2)
        CHECK_IS(kdreg_cache_get_with(cache, memory, page, &(struct kdreg_get_attr){.size = sizeof with, .alignment = alignment}, &out), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &(struct kdreg_get_attr){.size = sizeof with, .alignment = 3 * page}, &out), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &(struct kdreg_get_attr){.size = sizeof with, .flags = 1u << 31}, &out), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &(struct kdreg_get_attr){.size = sizeof with, .access = 1u << 5}, &out), -EINVAL);
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &(struct kdreg_get_attr){.size = sizeof with - 1}, &out), -EINVAL);
    CHECK(out == untouched && callbacks == calls, "a failing lookup changed its result or made a callback");
    same_stats(cache, &before);

    CHECK_IS(kdreg_cache_drop(cache, NULL, NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_drop(cache, WILD(kdreg_entry_t), NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_drop(cache, ODD(kdreg_entry_t, entry), NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_info(cache, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_info(cache, ODD(struct kdreg_cache_info, wild)), -EINVAL);
    CHECK_IS(kdreg_cache_info(cache, &(struct kdreg_cache_info){.size = sizeof(struct kdreg_cache_info) - 1}), -EINVAL);
    CHECK_IS(kdreg_cache_each(cache, NULL, NULL), -EINVAL);

    check_says("accessors of nothing");
    CHECK(kdreg_entry_data(NULL) == NULL && kdreg_entry_data(entry) == NULL, "the data of no entry, and of one without");
    CHECK(kdreg_entry_base(NULL) == NULL && kdreg_entry_length(NULL) == 0 && kdreg_entry_access(NULL) == 0 && kdreg_entry_handle(NULL) == NULL,
          "the accessors of a null entry");
    CHECK_IS(kdreg_cache_hold(NULL, entry), -EINVAL);
    CHECK_IS(kdreg_cache_hold(cache, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_hold(cache, ODD(kdreg_entry_t, entry)), -EINVAL);
    CHECK_IS(kdreg_cache_hold(cache, WILD(kdreg_entry_t)), -EINVAL);
    CHECK(!kdreg_entry_valid(cache, NULL) && !kdreg_entry_valid(NULL, entry), "nothing counts as valid");
    CHECK_IS(kdreg_entry_check(NULL, entry, memory, page), -EINVAL);
    CHECK_IS(kdreg_entry_check(cache, NULL, memory, page), -EINVAL);
    CHECK_IS(kdreg_entry_check(cache, WILD(kdreg_entry_t), memory, page), -EINVAL);
    CHECK_IS(kdreg_entry_check(cache, entry, memory, 0), -EINVAL);
    CHECK_IS(kdreg_entry_check(cache, entry, hole, page), -EINVAL);
    for (int i = 0; i < BAD_RANGES; i++)
        CHECK_IS(kdreg_entry_check(cache, entry, (void *)bad_ranges[i].addr, bad_ranges[i].length), -EINVAL);
    CHECK(!kdreg_entry_valid(cache, WILD(kdreg_entry_t)), "a wild entry counts as valid");

    check_says("put: of another cache's entry, twice, once too often");
    kdreg_cache_t *other = new_cache(monitor, &good_cache);
    kdreg_entry_t *theirs = NULL, *again = NULL;
    REQUIRE(kdreg_cache_get(other, memory, page, KDREG_ACCESS_READ, &theirs) == 0, "kdreg_cache_get");
    CHECK_IS(kdreg_cache_put(cache, theirs), -EINVAL);
    CHECK_IS(kdreg_cache_put(other, entry), -EINVAL);
    CHECK(!kdreg_entry_valid(cache, theirs), "another cache's entry counts as this one's");
    CHECK_IS(kdreg_cache_destroy(other), -EBUSY);
    CHECK(kdreg_entry_valid(other, theirs), "a refused destroy changed something");
    CHECK_IS(kdreg_cache_put(other, theirs), 0);
    CHECK_IS(kdreg_cache_put(other, theirs), -EINVAL);
    CHECK_IS(kdreg_cache_destroy(other), 0);
    cache_calls_say(other, theirs, -EBADF);
    REQUIRE(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &again) == 0, "kdreg_cache_find");
    CHECK(again == entry, "the same entry twice");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), -EINVAL);

    check_says("addresses where nothing is");
    nowhere(monitor, cache, 0);
    nowhere(monitor, cache, page);
    nowhere(monitor, cache, (uintptr_t)0x0000800000000000u);
    nowhere(monitor, cache, (uintptr_t)0x0000800000000000u - page);

    check_says("kdreg_cache_get of memory that is not mapped, or partly");
    before = stats_of(cache);
    calls = callbacks;
    CHECK_IS(kdreg_cache_get(cache, hole + page, page, KDREG_ACCESS_READ, &out), -EFAULT);
    CHECK_IS(kdreg_cache_get(cache, hole, 3 * page, KDREG_ACCESS_READ, &out), -EFAULT);
    CHECK(out == untouched && callbacks == calls, "registered what is not mapped");
    struct kdreg_cache_stats after = stats_of(cache);
    CHECK(after.registrations == before.registrations && after.entries == before.entries && after.bytes == before.bytes, "failed registrations stay counted");
}

static int destroy_from_inside(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)addr;
    (void)length;
    (void)access;
    *handle = NULL;
    kdreg_cache_t *cache = *(kdreg_cache_t **)context;
    CHECK_IS(kdreg_cache_destroy(cache), -EDEADLK);
    return 0;
}

void destroy_in_callback(kdreg_t *monitor)
{
    check_says("kdreg_cache_destroy from one of its own callbacks");
    kdreg_cache_t *cache = NULL;
    kdreg_entry_t *entry = NULL;
    struct kdreg_cache_attr attr = good_cache;
    attr.reg = destroy_from_inside;
    attr.ctx = &cache;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    CHECK_IS(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}
