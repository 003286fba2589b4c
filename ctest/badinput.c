/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every function against input that is wrong: a clear errno, nothing changed, no crash. */
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>

#include "check.h"

static size_t page;
static char *memory;          /* 16 mapped pages, the first 15 never touched */
static char *hole;            /* 3 pages, the middle one not mapped */
static int callbacks;

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

static const struct kdreg_cache_attr good_cache = {
    .size = sizeof good_cache, .reg = count_register, .dereg = count_deregister, .flags = KDREG_CACHE_NO_REAPER};

/* Memory that is readable and looks like nothing of the library's. */
static _Alignas(64) unsigned char wild[4096];
#define WILD(type) ((type *)(void *)wild)
#define ODD(type, pointer) ((type *)(void *)((char *)(pointer) + 1))

/* What cannot be a range; each is wrong in its own way. */
static const struct {
    const char *what;
    uintptr_t addr;
    size_t length;
} bad_ranges[] = {
    {"kernel address", (uintptr_t)0xffff888000000000u, 4096},
    {"wraps around", UINTPTR_MAX - 4095, 8192},
    {"ends at the top", UINTPTR_MAX, 1},
    {"length of all there is", 65536, SIZE_MAX},
    {"length of nearly all there is", 65536, SIZE_MAX - 65536},
    {"length over into the kernel's half", 65536, (size_t)1 << 63},
};
enum { BAD_RANGES = sizeof bad_ranges / sizeof *bad_ranges };

static void open_refuses(void)
{
    check_says("kdreg_open refuses bad attributes and leaves the result alone");
    kdreg_t *const untouched = WILD(kdreg_t);
    kdreg_t *out = untouched;
    const struct kdreg_attr good = {.size = sizeof good};
    CHECK_IS(kdreg_open(NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_open(&good, NULL), -EINVAL);
    CHECK_IS(kdreg_open(&good, ODD(kdreg_t *, &out)), -EINVAL);
    CHECK_IS(kdreg_open(ODD(struct kdreg_attr, wild), &out), -EINVAL);
    struct kdreg_attr attr = good;
    static const size_t sizes[] = {0, 1, sizeof good - 1, (size_t)1 << 40, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        attr.size = sizes[i];
        CHECK_IS(kdreg_open(&attr, &out), -EINVAL);
    }
    for (int bit = 2; bit < 32; bit++) {
        attr = good;
        attr.flags = 1u << bit;
        CHECK_IS(kdreg_open(&attr, &out), -EINVAL);
    }
    attr = good;
    attr.backend = 99;
    CHECK_IS(kdreg_open(&attr, &out), -EINVAL);
    attr = good;
    attr.reserved = 1;
    CHECK_IS(kdreg_open(&attr, &out), -EINVAL);
    char *backend = getenv("KDREG_BACKEND"), *saved = backend ? strdup(backend) : NULL;
    setenv("KDREG_BACKEND", "no such backend", 1);
    CHECK_IS(kdreg_open(&good, &out), -EINVAL);
    if (saved)
        setenv("KDREG_BACKEND", saved, 1);
    else
        unsetenv("KDREG_BACKEND");
    free(saved);
    CHECK(out == untouched, "a failing kdreg_open changed its result");
}

static void questions_refuse(void)
{
    check_says("kdreg_probe, kdreg_strerror, kdreg_set_log, version");
    struct kdreg_backend_info info = {.size = sizeof info};
    CHECK_IS(kdreg_probe(KDREG_BACKEND_USERFAULTFD, NULL), -EINVAL);
    CHECK_IS(kdreg_probe(KDREG_BACKEND_USERFAULTFD, ODD(struct kdreg_backend_info, wild)), -EINVAL);
    CHECK_IS(kdreg_probe(99, &info), -EINVAL);
    info.size = 8;
    CHECK_IS(kdreg_probe(KDREG_BACKEND_USERFAULTFD, &info), -EINVAL);
    static const int errors[] = {0, 1, -1, -EINVAL, EINVAL, 12345, -12345, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        const char *text = kdreg_strerror(errors[i]);
        CHECK(text && text[0], "kdreg_strerror(%d) says nothing", errors[i]);
    }
    CHECK(strcmp(kdreg_strerror(-ECHILD), kdreg_strerror(-EINVAL)) != 0, "kdreg_strerror tells two errors apart");
    CHECK_IS(kdreg_set_log(NULL, NULL, 99), -EINVAL);
    CHECK_IS(kdreg_set_log(NULL, NULL, -1), -EINVAL);
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    CHECK(kdreg_version() != 0 && kdreg_version_string() && kdreg_version_string()[0], "a version");
}

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

/* Every call on a handle that is none: all must say `error`. */
static void monitor_calls_say(kdreg_t *monitor, int error)
{
    struct kdreg_region region, before;
    memset(&region, 0, sizeof region);
    before = region;
    struct kdreg_event event;
    CHECK_IS(kdreg_monitor(monitor, memory, page, 1, &region), error);
    CHECK(memcmp(&region, &before, sizeof region) == 0, "a failing kdreg_monitor changed its result");
    CHECK_IS(kdreg_check(monitor, &event, 1), error);
    CHECK_IS(kdreg_check(monitor, NULL, 0), error);
    CHECK_IS(kdreg_fd(monitor), error);
    CHECK(kdreg_backend_name(monitor) == NULL, "kdreg_backend_name of a bad handle");
    CHECK_IS(kdreg_caps(monitor), 0);
    kdreg_cache_t *cache = NULL;
    if (monitor)   /* NULL means the shared default */
        CHECK_IS(kdreg_cache_create(monitor, &good_cache, &cache), error);
    CHECK(cache == NULL, "a failing kdreg_cache_create changed its result");
    CHECK_IS(kdreg_close(monitor), error);
}

static int never_called(void *argument, kdreg_entry_t *entry)
{
    CHECK(false, "called with %p and %p", argument, (void *)entry);
    return 0;
}

static void cache_calls_say(kdreg_cache_t *cache, kdreg_entry_t *entry, int error)
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

static void handles_refuse(kdreg_t *monitor, kdreg_cache_t *cache)
{
    check_says("null, misaligned and foreign handles");
    kdreg_entry_t *entry = NULL;
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    monitor_calls_say(NULL, -EINVAL);
    monitor_calls_say(ODD(kdreg_t, monitor), -EBADF);
    cache_calls_say(NULL, entry, -EINVAL);
    cache_calls_say(ODD(kdreg_cache_t, cache), entry, -EBADF);
    for (int fill = 0; fill < 3; fill++) {
        memset(wild, fill == 0 ? 0 : fill == 1 ? 0xff : 0x41, sizeof wild);
        monitor_calls_say(WILD(kdreg_t), -EBADF);
        cache_calls_say(WILD(kdreg_cache_t), entry, -EBADF);
    }
    memset(wild, 0, sizeof wild);
    /* One kind of handle for the other. */
    monitor_calls_say((kdreg_t *)(void *)cache, -EBADF);
    cache_calls_say((kdreg_cache_t *)(void *)monitor, entry, -EBADF);
    CHECK(kdreg_entry_valid(cache, entry), "the entry is still good");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
}

static void regions_refuse(kdreg_t *monitor)
{
    check_says("kdreg_monitor: ranges, results, unmapped memory");
    struct kdreg_region region, before;
    memset(&region, 0x5a, sizeof region);
    before = region;
    for (int i = 0; i < BAD_RANGES; i++) {
        int error = kdreg_monitor(monitor, (void *)bad_ranges[i].addr, bad_ranges[i].length, 1, &region);
        CHECK(error == -EINVAL, "kdreg_monitor of a range (%s): %d", bad_ranges[i].what, error);
    }
    CHECK_IS(kdreg_monitor(monitor, memory, 0, 1, &region), -EINVAL);
    CHECK_IS(kdreg_monitor(monitor, memory, page, 1, NULL), -EINVAL);
    CHECK_IS(kdreg_monitor(monitor, memory, page, 1, ODD(struct kdreg_region, wild)), -EINVAL);
    CHECK_IS(kdreg_monitor(monitor, hole, 3 * page, 1, &region), -EFAULT);
    CHECK_IS(kdreg_monitor(monitor, hole + page, page, 1, &region), -EFAULT);
    CHECK_IS(kdreg_monitor(monitor, hole, 2 * page, 1, &region), -EFAULT);
    CHECK_IS(kdreg_monitor(monitor, hole + page + 1, 2 * page - 1, 1, &region), -EFAULT);
    CHECK(memcmp(&region, &before, sizeof region) == 0, "a failing kdreg_monitor changed its result");

    check_says("kdreg_unmonitor: null, misaligned, empty, forged, twice, of another handle, an old copy");
    CHECK_IS(kdreg_unmonitor(monitor, NULL), -EINVAL);
    CHECK_IS(kdreg_unmonitor(monitor, ODD(struct kdreg_region, wild)), -EINVAL);
    memset(&region, 0, sizeof region);
    CHECK_IS(kdreg_unmonitor(monitor, &region), -EINVAL);
    CHECK(!kdreg_valid_slow(&region) && !kdreg_valid_slow(NULL), "an empty region counts as valid");
    REQUIRE(kdreg_monitor(monitor, memory, page, 1, &region) == 0, "kdreg_monitor");
    struct kdreg_region forged = region;
    forged.slot = UINT32_MAX;
    kdreg_unmonitor(monitor, &forged);   /* whatever it says: a slot that changed long ago looks the same */
    forged = region;
    forged.owner ^= 1;
    CHECK(kdreg_unmonitor(monitor, &forged) == -EINVAL, "a forged owner is refused");
    CHECK(kdreg_valid(&region), "the region is still good");
    struct kdreg_attr private_attr = {.size = sizeof private_attr, .flags = KDREG_OPEN_PRIVATE};
    kdreg_t *other = NULL;
    REQUIRE(kdreg_open(&private_attr, &other) == 0, "kdreg_open");
    forged = region;
    CHECK_IS(kdreg_unmonitor(other, &forged), -EINVAL);
    CHECK_IS(kdreg_close(other), 0);
    CHECK(kdreg_valid(&region), "the region is still good");
    struct kdreg_region copy = region, next;
    CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
    CHECK_IS(kdreg_unmonitor(monitor, &region), -EINVAL);
    CHECK(!kdreg_valid(&region) && !kdreg_valid(&copy), "an unmonitored region counts as valid");
    REQUIRE(kdreg_monitor(monitor, memory, page, 2, &next) == 0, "kdreg_monitor");
    kdreg_unmonitor(monitor, &copy);   /* whatever it says: it must not take the next one down */
    CHECK(kdreg_valid(&next), "an old copy of a region took a new one down");
    CHECK(!kdreg_valid(&copy), "an old copy came back to life");
    CHECK_IS(kdreg_unmonitor(monitor, &next), 0);

    check_says("kdreg_check: null, misaligned");
    CHECK_IS(kdreg_check(monitor, NULL, 1), -EINVAL);
    CHECK_IS(kdreg_check(monitor, ODD(struct kdreg_event, wild), 1), -EINVAL);
    CHECK_IS(kdreg_check(monitor, NULL, 0), 0);
    struct kdreg_event event;
    CHECK_IS(kdreg_check(monitor, &event, 0), 0);
    CHECK_IS(kdreg_check(monitor, &event, 1), 0);
}

static void cache_create_refuses(kdreg_t *monitor)
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
    struct kdreg_cache_stats now = {.size = sizeof now};
    CHECK_IS(kdreg_cache_stats(cache, &now), 0);
    CHECK(memcmp(&now, before, sizeof now) == 0, "calls with bad input changed the statistics");
}

static void lookups_refuse(kdreg_t *monitor, kdreg_cache_t *cache)
{
    check_says("kdreg_cache_get, find, put, invalidate, stats, dump");
    kdreg_entry_t *entry = NULL, *const untouched = WILD(kdreg_entry_t), *out = untouched;
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    struct kdreg_cache_stats before = {.size = sizeof before};
    REQUIRE(kdreg_cache_stats(cache, &before) == 0, "kdreg_cache_stats");
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
    kdreg_cache_t *other = NULL;
    kdreg_entry_t *theirs = NULL, *again = NULL;
    REQUIRE(kdreg_cache_create(monitor, &good_cache, &other) == 0, "kdreg_cache_create");
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
    REQUIRE(kdreg_cache_stats(cache, &before) == 0, "kdreg_cache_stats");
    calls = callbacks;
    CHECK_IS(kdreg_cache_get(cache, hole + page, page, KDREG_ACCESS_READ, &out), -EFAULT);
    CHECK_IS(kdreg_cache_get(cache, hole, 3 * page, KDREG_ACCESS_READ, &out), -EFAULT);
    CHECK(out == untouched && callbacks == calls, "registered what is not mapped");
    struct kdreg_cache_stats after = {.size = sizeof after};
    REQUIRE(kdreg_cache_stats(cache, &after) == 0, "kdreg_cache_stats");
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

static void destroy_in_callback(kdreg_t *monitor)
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

static void full_refuses(void)
{
    check_says("max_regions reached: -ENOSPC, and room again after kdreg_unmonitor");
    enum { LIMIT = 8 };
    struct kdreg_attr attr = {.size = sizeof attr, .flags = KDREG_OPEN_PRIVATE, .max_regions = LIMIT};
    kdreg_t *monitor = NULL;
    REQUIRE(kdreg_open(&attr, &monitor) == 0, "kdreg_open");
    struct kdreg_region regions[LIMIT], extra;
    /* Memory that no other monitor watches: two userfaultfds cannot share it. */
    char *fresh = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(fresh != MAP_FAILED, "mmap");
    for (int i = 0; i < LIMIT; i++)
        REQUIRE(kdreg_monitor(monitor, fresh + (size_t)i * page, page, (uint64_t)i, &regions[i]) == 0, "region %d of %d", i, LIMIT);
    CHECK_IS(kdreg_monitor(monitor, fresh + 9 * page, page, 9, &extra), -ENOSPC);
    for (int i = 0; i < LIMIT; i++)
        CHECK(kdreg_valid(&regions[i]), "region %d suffered from one too many", i);
    CHECK_IS(kdreg_unmonitor(monitor, &regions[3]), 0);
    CHECK_IS(kdreg_monitor(monitor, fresh + 9 * page, page, 9, &extra), 0);
    CHECK(kdreg_valid(&extra), "the region that found room");
    CHECK_IS(kdreg_close(monitor), 0);
    CHECK(!kdreg_valid(&extra) && !kdreg_valid(&regions[0]), "regions of a closed monitor count as valid");
}

/* In a child that did not open these handles. */
static void child_is_refused(kdreg_t *monitor, kdreg_cache_t *cache, kdreg_entry_t *entry, const struct kdreg_region *region)
{
    int calls = callbacks;
    monitor_calls_say(monitor, -ECHILD);
    cache_calls_say(cache, entry, -ECHILD);
    struct kdreg_region copy = *region;
    CHECK(!kdreg_valid(region), "a parent's region counts as valid in the child");
    CHECK_IS(kdreg_unmonitor(monitor, &copy), -ECHILD);
    CHECK(!kdreg_entry_valid(cache, entry), "a parent's entry counts as valid in the child");
    CHECK(callbacks == calls, "a callback in the child");
}

static void children_are_refused(kdreg_t *monitor, kdreg_cache_t *cache)
{
    struct kdreg_region region;
    kdreg_entry_t *entry = NULL;
    REQUIRE(kdreg_monitor(monitor, memory, page, 1, &region) == 0, "kdreg_monitor");
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    for (int raw = 0; raw < 2; raw++) {
        check_says("in a child by %s: -ECHILD everywhere", raw ? "raw clone, past every fork handler" : "fork");
        fflush(NULL);
#if defined(__x86_64__) || defined(__aarch64__)
        pid_t child = raw ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
#else
        pid_t child = fork();
#endif
        if (child == 0) {
            check_forget();
            alarm(100);
            child_is_refused(monitor, cache, entry, &region);
            check_leave();
        }
        CHECK(child > 0 && check_child_succeeded(child), "the child came through");
        CHECK(kdreg_valid(&region) && kdreg_entry_valid(cache, entry), "the parent's registrations are warm after the child's attempts");
    }
    CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
}

int main(void)
{
    check_watchdog(280);
    page = (size_t)sysconf(_SC_PAGESIZE);
    memory = check_space(16 * page);
    /* A page beside those that are watched: a child then shares pages with its parent, and the kernel announces it. */
    memory[15 * page] = 1;
    /* Low in the address space, where no mmap without an address fills the hole. */
    hole = mmap((void *)0x200000000000u, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    REQUIRE(hole != MAP_FAILED && munmap(hole + page, page) == 0, "memory");

    kdreg_t *monitor = check_open(0);
    kdreg_cache_t *cache = NULL;
    REQUIRE(kdreg_cache_create(monitor, &good_cache, &cache) == 0, "kdreg_cache_create");
    open_refuses();
    questions_refuse();
    handles_refuse(monitor, cache);
    regions_refuse(monitor);
    cache_create_refuses(monitor);
    lookups_refuse(monitor, cache);
    destroy_in_callback(monitor);
    full_refuses();
    children_are_refused(monitor, cache);

    check_says("after destroy and close: -EBADF everywhere");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    cache_calls_say(cache, WILD(kdreg_entry_t), -EBADF);
    CHECK_IS(kdreg_close(monitor), 0);
    monitor_calls_say(monitor, -EBADF);
    return check_result("badinput");
}
