/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is evicted last, and what never: by the limits, for want of memory, on demand; until it changes. On every backend. */
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"

enum { MOST = 64, LATER = 1000 };

static size_t page;
static bool watches, doubts;
static char *memory;

struct device {
    int live, most, refused;
};

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)length, (void)access;
    if (__atomic_add_fetch(&device->live, 1, __ATOMIC_RELAXED) > device->most && device->most) {
        __atomic_sub_fetch(&device->live, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&device->refused, 1, __ATOMIC_RELAXED);
        return -ENOMEM;
    }
    *handle = addr;
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    (void)addr, (void)length, (void)handle;
    __atomic_sub_fetch(&device->live, 1, __ATOMIC_RELAXED);
    return 0;
}

static kdreg_cache_t *create(struct device *device, uint64_t max_entries, kdreg_group_t *group)
{
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = device_register;
    attr.dereg = device_deregister;
    attr.ctx = device;
    attr.max_entries = max_entries;
    attr.group = group;
    return new_cache(NULL, &attr);
}

static char *region(int index)
{
    return memory + 2 * (size_t)index * page;
}

static kdreg_entry_t *get(kdreg_cache_t *cache, int index)
{
    kdreg_entry_t *entry = NULL;
    int error = kdreg_cache_get(cache, region(index), page, KDREG_ACCESS_READ, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    return entry;
}

/* Whether to look again, of at most so many times: a backend that can be in doubt finds and keeps nothing while it is. */
static bool again(int *tries)
{
    if (!doubts || ++*tries == 100)
        return false;
    check_sleep_ms(1);
    return true;
}

static bool has(kdreg_cache_t *cache, int index)
{
    kdreg_entry_t *entry = NULL;
    int tries = 0, error;
    do
        error = kdreg_cache_find(cache, region(index), page, KDREG_ACCESS_READ, &entry);
    while (error == -ENOENT && again(&tries));
    if (error == 0)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    else
        CHECK_IS(error, -ENOENT);
    return error == 0;
}

static void use(kdreg_cache_t *cache, int index)
{
    int tries = 0;
    do
        CHECK_IS(kdreg_cache_put(cache, get(cache, index)), 0);
    while (doubts && !has(cache, index) && again(&tries));
}

/* Registers it ahead of use. */
static void prepare(kdreg_cache_t *cache, int index, uint32_t priority)
{
    int tries = 0, error;
    do {
        kdreg_entry_t *entry = get(cache, index);
        error = kdreg_cache_prioritize(cache, entry, priority);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    } while (error == -ENOENT && again(&tries));
    CHECK_IS(error, 0);
}

static void destroy(kdreg_cache_t *cache, struct device *device)
{
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device->live, 0);
}

static void limits(void)
{
    check_says("what is pinned stays while everything else comes and goes, within the limits");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 16, NULL);
    for (int i = 0; i < 8; i++)
        prepare(cache, i, KDREG_PRIORITY_PINNED);
    for (int i = 8; i < LATER; i++) {
        use(cache, i);
        CHECK(device.live <= 17, "%d are registered, of 16", device.live);
    }
    for (int i = 0; i < 8; i++)
        CHECK(has(cache, i), "pinned entry %d is gone", i);
    check_says("a smaller priority goes first, whatever was used last");
    prepare(cache, 20, 200);
    prepare(cache, 21, 1);
    for (int i = 100; i < 106; i++)
        use(cache, i);
    use(cache, 107);
    CHECK(has(cache, 20) && has(cache, 21), "what has a priority went before what has none");
    CHECK_IS(kdreg_cache_evict(cache, 6 * page), 6);
    CHECK(has(cache, 20) && has(cache, 21), "what has a priority went before what has none");
    CHECK_IS(kdreg_cache_evict(cache, page), 1);
    CHECK(has(cache, 20) && !has(cache, 21), "the larger priority went first");
    CHECK_IS(kdreg_cache_evict(cache, SIZE_MAX), 1);
    CHECK_IS(kdreg_cache_evict(cache, SIZE_MAX), 0);
    check_says("when all are pinned the rest is uncached, and has no priority");
    for (int i = 8; i < 16; i++)
        prepare(cache, i, KDREG_PRIORITY_PINNED);
    kdreg_entry_t *beyond = get(cache, 200);
    CHECK_IS(kdreg_cache_prioritize(cache, beyond, 1), -ENOENT);
    CHECK_IS(kdreg_cache_put(cache, beyond), 0);
    CHECK(!has(cache, 200), "more is kept than the limits say");
    check_says("a pin is taken off");
    prepare(cache, 3, 0);
    use(cache, 200);
    CHECK(has(cache, 200) && !has(cache, 3), "what is pinned no more was not evicted");
    check_says("a flush is no eviction");
    CHECK_IS(kdreg_cache_flush(cache), 16);
    destroy(cache, &device);
}

static void scarce(void)
{
    check_says("a device without room has what is not pinned evicted, and no more");
    struct device device = {.most = 8};
    kdreg_cache_t *cache = create(&device, 0, NULL);
    for (int i = 0; i < 4; i++)
        prepare(cache, i, KDREG_PRIORITY_PINNED);
    for (int i = 4; i < MOST; i++)
        use(cache, i);
    CHECK(device.refused > 0, "nothing was refused");
    for (int i = 4; i < 8; i++)
        prepare(cache, i, KDREG_PRIORITY_PINNED);
    kdreg_entry_t *entry = NULL;
    CHECK_IS(kdreg_cache_get(cache, region(9), page, KDREG_ACCESS_READ, &entry), -ENOMEM);
    for (int i = 0; i < 8; i++)
        CHECK(has(cache, i), "pinned entry %d is gone", i);
    destroy(cache, &device);
}

static void ends(void)
{
    check_says("what changes, is dropped or superseded: the pin keeps nothing that is not valid");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 8, NULL);
    prepare(cache, 0, KDREG_PRIORITY_PINNED);
    REQUIRE(mmap(region(0), page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == region(0), "mmap");
    CHECK(!has(cache, 0), "a pinned entry is found after its memory changed");
    prepare(cache, 1, KDREG_PRIORITY_PINNED);
    CHECK_IS(kdreg_cache_invalidate(cache, region(1), page), 1);
    CHECK(!has(cache, 1), "a pinned entry is found after it was invalidated");
    prepare(cache, 2, KDREG_PRIORITY_PINNED);
    kdreg_entry_t *entry = get(cache, 2);
    CHECK_IS(kdreg_cache_drop(cache, entry, NULL, NULL), 0);
    CHECK_IS(kdreg_cache_prioritize(cache, entry, 0), -ENOENT);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    prepare(cache, 3, KDREG_PRIORITY_PINNED);
    CHECK_IS(kdreg_cache_get(cache, region(3), 2 * page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    for (int i = 10; i < 40; i++)
        use(cache, i);
    CHECK(has(cache, 3), "what took the place of a pinned entry is not pinned");
    /* What came after those that are gone is as any other. */
    CHECK_IS(kdreg_cache_evict(cache, SIZE_MAX), 7);
    destroy(cache, &device);
}

static void groups(void)
{
    check_says("over the caches of a group");
    struct device devices[2] = {{0}};
    kdreg_group_t *group = NULL;
    struct kdreg_group_attr attr = KDREG_GROUP_ATTR_INIT;
    attr.max_entries = 8;
    REQUIRE(kdreg_group_create(&attr, &group) == 0, "kdreg_group_create");
    kdreg_cache_t *caches[2] = {create(&devices[0], 0, group), create(&devices[1], 0, group)};
    prepare(caches[0], 0, KDREG_PRIORITY_PINNED);
    prepare(caches[0], 1, 1);
    prepare(caches[1], 2, 2);
    for (int i = 3; i < MOST; i++)
        use(caches[i % 2], i);
    CHECK(has(caches[0], 0) && has(caches[0], 1) && has(caches[1], 2), "what has a priority went before what has none");
    CHECK_IS(kdreg_group_evict(group, 5 * page), 5);
    CHECK(has(caches[0], 0) && has(caches[0], 1) && has(caches[1], 2), "what has a priority went before what has none");
    CHECK_IS(kdreg_group_evict(group, page), 1);
    CHECK(has(caches[0], 0) && !has(caches[0], 1) && has(caches[1], 2), "the larger priority went first");
    CHECK_IS(kdreg_group_evict(group, SIZE_MAX), 1);
    CHECK(has(caches[0], 0) && !has(caches[1], 2), "not all but the pinned went");
    destroy(caches[0], &devices[0]);
    destroy(caches[1], &devices[1]);
    CHECK_IS(kdreg_group_destroy(group), 0);
}

enum { PINS = 6 };

/* What was pinned in crowded_group stays so: it goes when the cache ends. */
static void goes(void *context, const struct kdreg_cache_event *event)
{
    (void)context;
    CHECK(event->cause != KDREG_CAUSE_EVICTED || (char *)event->addr >= region(PINS), "pinned entry %td was evicted", ((char *)event->addr - memory) / (2 * (ptrdiff_t)page));
}

static kdreg_cache_t *create_telling(struct device *device, kdreg_group_t *group)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister, .ctx = device, .event = goes, .group = group};
    return new_cache(NULL, &attr);
}

static kdreg_cache_t *sharing[2];
static kdreg_group_t *shared_by;

static void *crowded_group(void *argument)
{
    (void)argument;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();
    for (int round = 0; round < 2000; round++) {
        kdreg_cache_t *cache = sharing[rand_r(&seed) % 2];
        int index = PINS + rand_r(&seed) % MOST;
        kdreg_entry_t *entry = NULL;
        int error = kdreg_cache_get(cache, region(index), page, KDREG_ACCESS_READ, &entry);
        CHECK(error == 0 || error == -ENOMEM, "kdreg_cache_get: %s", kdreg_strerror(error));
        if (error == 0) {
            error = kdreg_cache_prioritize(cache, entry, (uint32_t)rand_r(&seed) % 3);
            CHECK(error == 0 || error == -ENOENT, "kdreg_cache_prioritize: %d", error);
            CHECK_IS(kdreg_cache_put(cache, entry), 0);
        }
        if (round % 16 == 0)
            CHECK(kdreg_group_evict(shared_by, 3 * page) >= 0, "kdreg_group_evict");
        if (round % 24 == 0)
            CHECK(kdreg_cache_evict(cache, SIZE_MAX) >= 0, "kdreg_cache_evict");
    }
    return NULL;
}

static void scarce_group(void)
{
    check_says("a device without room that the caches of a group share: what is pinned in either stays");
    struct device device = {.most = 8};
    REQUIRE(kdreg_group_create(NULL, &shared_by) == 0, "kdreg_group_create");
    for (int i = 0; i < 2; i++)
        sharing[i] = create_telling(&device, shared_by);
    for (int i = 0; i < PINS; i++)
        prepare(sharing[i % 2], i, KDREG_PRIORITY_PINNED);
    for (int i = PINS; i < MOST; i++)
        use(sharing[i / 2 % 2], i);
    CHECK(device.refused > 0, "nothing was refused");
    for (int i = 0; i < PINS; i++)
        CHECK(has(sharing[i % 2], i), "pinned entry %d is gone", i);
    check_says("also what would be superseded");
    kdreg_entry_t *held[2], *larger = NULL;
    for (int i = 0; i < 2; i++)
        held[i] = get(sharing[i], MOST);
    CHECK_IS(kdreg_cache_get(sharing[0], region(0), 2 * page, KDREG_ACCESS_READ, &larger), -ENOMEM);
    CHECK_IS(kdreg_cache_get(sharing[0], region(0), page, KDREG_ACCESS_WRITE, &larger), -ENOMEM);
    CHECK(has(sharing[0], 0), "a pinned entry is gone for what could not take its place");
    for (int i = 0; i < 2; i++)
        CHECK_IS(kdreg_cache_put(sharing[i], held[i]), 0);

    check_says("while threads register, evict and lack room in both");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, crowded_group, NULL) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PINS; i++)
        CHECK(has(sharing[i % 2], i), "pinned entry %d is gone", i);
    CHECK(kdreg_group_evict(shared_by, SIZE_MAX) <= 2, "more than what is not pinned went");
    CHECK_IS(device.live, PINS);
    for (int i = 0; i < 2; i++)
        CHECK_IS(kdreg_cache_destroy(sharing[i]), 0);
    CHECK_IS(device.live, 0);
    CHECK_IS(kdreg_group_destroy(shared_by), 0);
}

static void bad_input(void)
{
    check_says("what is no entry, and what is no priority");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 0, NULL), *other = create(&device, 0, NULL);
    kdreg_entry_t *entry = get(cache, 0);
    int well = watches ? 0 : -ENOENT;
    for (uint32_t priority = 0; priority <= KDREG_PRIORITY_PINNED; priority++)
        CHECK_IS(kdreg_cache_prioritize(cache, entry, priority), well);
    CHECK_IS(kdreg_cache_prioritize(cache, entry, KDREG_PRIORITY_PINNED + 1), -EINVAL);
    CHECK_IS(kdreg_cache_prioritize(cache, entry, UINT32_MAX), -EINVAL);
    CHECK_IS(kdreg_cache_prioritize(NULL, entry, 1), -EINVAL);
    CHECK_IS(kdreg_cache_prioritize(cache, NULL, 1), -EINVAL);
    CHECK_IS(kdreg_cache_prioritize(other, entry, 1), -EINVAL);
    CHECK_IS(kdreg_cache_prioritize(cache, (kdreg_entry_t *)(void *)((char *)entry + 1), 1), -EINVAL);
    CHECK_IS(kdreg_cache_prioritize(cache, (kdreg_entry_t *)(void *)memory, 1), -EINVAL);
    pid_t child = check_fork();
    if (child == 0) {
        CHECK_IS(kdreg_cache_prioritize(cache, entry, 1), -ECHILD);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "in a child it is not -ECHILD");
    if (watches)
        CHECK_IS(kdreg_cache_evict(cache, SIZE_MAX), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_prioritize(cache, entry, 1), -EINVAL);
    if (watches)
        CHECK(has(cache, 0), "a failing call changed something");
    CHECK_IS(kdreg_cache_destroy(other), 0);
    destroy(cache, &device);
    CHECK_IS(kdreg_cache_prioritize(cache, entry, 1), -EBADF);
}

/* Threads that pin and let go what others evict, drop and find. */
static void *crowded(void *argument)
{
    kdreg_cache_t *cache = argument;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();
    for (int round = 0; round < 3000; round++) {
        int index = rand_r(&seed) % MOST;
        kdreg_entry_t *entry = get(cache, index);
        uint32_t priority = rand_r(&seed) % 5 == 0 ? KDREG_PRIORITY_PINNED : (uint32_t)rand_r(&seed) % 3;
        int error = kdreg_cache_prioritize(cache, entry, priority);
        CHECK(error == 0 || error == -ENOENT, "kdreg_cache_prioritize: %d", error);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
        if (round % 16 == 0)
            CHECK(kdreg_cache_evict(cache, page) >= 0, "kdreg_cache_evict");
        if (round % 50 == 0)
            CHECK(kdreg_cache_invalidate(cache, region(rand_r(&seed) % MOST), 8 * page) >= 0, "kdreg_cache_invalidate");
    }
    return NULL;
}

static void together(void)
{
    check_says("threads that pin, let go, evict and invalidate");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 24, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, crowded, cache) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK_IS(stats.in_use, 0);
    CHECK(stats.entries <= 24, "%llu entries, of 24", (unsigned long long)stats.entries);
    CHECK_IS(kdreg_cache_invalidate(cache, memory, 2 * LATER * page), (int)stats.entries);
    destroy(cache, &device);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    kdreg_t *monitor = check_open_any(&watches);
    doubts = check_is_bpf(monitor);
    memory = check_space(2 * LATER * page);
    if (watches) {
        limits();
        scarce();
        ends();
        groups();
        scarce_group();
    }
    bad_input();
    together();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("priorities");
}
