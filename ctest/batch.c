/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Scatter lists: all or none, whatever is found, near each other, refused, changed or limited. On every backend. */
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "batch.h"

static bool watches;

/* The library's, too: how often many regions can have been monitored (the 33rd request of the device's). */
static int monitored;
int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (_IOC_TYPE(request) == 'k' && _IOC_NR(request) == 33)
        __atomic_add_fetch(&monitored, 1, __ATOMIC_RELAXED);
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

enum { MOST = 300 };
static struct iovec list[MOST];
static kdreg_entry_t *entries[MOST];

/* `count` ranges, one page each, `apart` pages from one to the next. */
static void scatter(char *memory, size_t count, size_t apart)
{
    for (size_t i = 0; i < count; i++)
        list[i] = (struct iovec){memory + i * apart * page, page};
}

/* Each is served, and cached unless it need not be. */
static void served(kdreg_cache_t *cache, size_t count, bool cached)
{
    for (size_t i = 0; i < count; i++) {
        REQUIRE(entries[i], "no entry for range %zu of %zu", i, count);
        char *base = kdreg_entry_base(entries[i]);
        CHECK(base <= (char *)list[i].iov_base && base + kdreg_entry_length(entries[i]) >= (char *)list[i].iov_base + list[i].iov_len, "entry %zu is another's", i);
        CHECK(kdreg_entry_handle(entries[i]) == base + kdreg_entry_length(entries[i]), "the handle of entry %zu is another's", i);
        if (watches && cached)
            CHECK(kdreg_entry_valid(cache, entries[i]), "entry %zu is not valid", i);
    }
}

static void none_held(kdreg_cache_t *cache, size_t count)
{
    for (size_t i = 0; i < count; i++)
        CHECK(entries[i] == NULL, "an entry is left in place %zu", i);
    CHECK_IS(stats_of(cache).in_use, 0);
}

static void rounds(struct kdreg_cache_attr attr, size_t apart)
{
    bool unlimited = attr.max_entries == 0 && attr.max_bytes == 0;
    for (size_t count = 1; count <= MOST; count += count < 40 ? 13 : 87) {
        struct device device = {0};
        kdreg_cache_t *cache = create(&device, attr);
        char *memory = check_space(MOST * apart * page);
        scatter(memory, count, apart);
        for (int round = 0; round < 3; round++) {
            memset(entries, 0x5a, sizeof entries);
            CHECK_IS(kdreg_cache_getv(cache, list, count, KDREG_ACCESS_READ, entries), 0);
            served(cache, count, unlimited);
            CHECK(stats_of(cache).in_use >= 1, "none is in use");
            CHECK_IS(kdreg_cache_putv(cache, entries, count), 0);
            struct kdreg_cache_stats stats = stats_of(cache);
            CHECK_IS(stats.in_use, 0);
            CHECK(!attr.max_entries || stats.entries <= attr.max_entries, "%llu entries", (unsigned long long)stats.entries);
            CHECK(!attr.max_bytes || stats.bytes <= attr.max_bytes, "%llu bytes", (unsigned long long)stats.bytes);
            if (round == 0)
                device.calls = 0;
        }
        if (watches && unlimited)
            CHECK_IS(device.calls, 0);
        /* Of some the memory changed; more is asked for than before. */
        REQUIRE(mmap(memory + count / 2 * apart * page, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED, "mmap");
        CHECK_IS(kdreg_cache_getv(cache, list, count, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, entries), 0);
        served(cache, count, false);
        CHECK_IS(kdreg_cache_putv(cache, entries, count), 0);
        CHECK_IS(kdreg_cache_destroy(cache), 0);
        CHECK_IS(device.live, 0);
        munmap(memory, MOST * apart * page);
    }
}

static void repeated(void)
{
    check_says("a range that is there several times is held as often; NULLs are passed over by putv");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, (struct kdreg_cache_attr){0});
    char *memory = check_space(8 * page);
    for (size_t i = 0; i < 6; i++)
        list[i] = (struct iovec){memory + (i % 2) * 4 * page + i, 64};
    CHECK_IS(kdreg_cache_getv(cache, list, 6, KDREG_ACCESS_READ, entries), 0);
    served(cache, 6, true);
    for (size_t i = 0; i < 6; i += 2)
        CHECK_IS(kdreg_cache_put(cache, entries[i]), 0);
    for (size_t i = 0; i < 6; i += 2)
        entries[i] = NULL;
    CHECK_IS(kdreg_cache_putv(cache, entries, 6), 0);
    CHECK_IS(stats_of(cache).in_use, 0);

    check_says("putv with one that is no entry puts the others");
    CHECK_IS(kdreg_cache_getv(cache, list, 6, KDREG_ACCESS_READ, entries), 0);
    kdreg_entry_t *good = entries[2];
    entries[2] = (kdreg_entry_t *)(void *)memory;
    CHECK_IS(kdreg_cache_putv(cache, entries, 6), -EINVAL);
    CHECK_IS(stats_of(cache).in_use, 1);
    CHECK_IS(kdreg_cache_putv(cache, &good, 1), 0);
    CHECK_IS(kdreg_cache_putv(cache, &good, 1), -EINVAL);
    CHECK_IS(stats_of(cache).in_use, 0);

    check_says("what is no list, and what is no range");
    kdreg_entry_t *const untouched = (kdreg_entry_t *)(void *)memory;
    kdreg_entry_t *out = untouched;
    struct iovec *odd = (struct iovec *)(void *)((char *)list + 1);
    kdreg_entry_t **odd_out = (kdreg_entry_t **)(void *)((char *)entries + 1);
    CHECK_IS(kdreg_cache_getv(cache, NULL, 1, KDREG_ACCESS_READ, &out), -EINVAL);
    CHECK_IS(kdreg_cache_getv(cache, odd, 1, KDREG_ACCESS_READ, &out), -EINVAL);
    CHECK_IS(kdreg_cache_getv(cache, list, 1, KDREG_ACCESS_READ, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_getv(cache, list, 1, KDREG_ACCESS_READ, odd_out), -EINVAL);
    CHECK_IS(kdreg_cache_getv(cache, list, 1, 1u << 5, &out), -EINVAL);
    CHECK_IS(kdreg_cache_getv(NULL, list, 1, KDREG_ACCESS_READ, &out), -EINVAL);
    CHECK_IS(kdreg_cache_getv(NULL, list, 0, KDREG_ACCESS_READ, &out), -EINVAL);
    CHECK_IS(kdreg_cache_getv(cache, NULL, 0, KDREG_ACCESS_READ, NULL), 0);
    static const struct iovec bad[] = {{(void *)4096, 0}, {(void *)4096, SIZE_MAX}, {(void *)(SIZE_MAX - 4096), 4096}, {(void *)(SIZE_MAX - 1), 8}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct iovec both[] = {{memory, page}, bad[i]};
        CHECK_IS(kdreg_cache_getv(cache, both + 1, 1, KDREG_ACCESS_READ, &out), -EINVAL);
        CHECK_IS(kdreg_cache_getv(cache, both, 2, KDREG_ACCESS_READ, entries), -EINVAL);
    }
    CHECK(out == untouched, "a failing call changed its result");
    CHECK_IS(kdreg_cache_putv(NULL, &out, 1), -EINVAL);
    CHECK_IS(kdreg_cache_putv(cache, NULL, 1), -EINVAL);
    CHECK_IS(kdreg_cache_putv(cache, odd_out, 1), -EINVAL);
    CHECK_IS(kdreg_cache_putv(cache, &untouched, 1), -EINVAL);
    CHECK_IS(kdreg_cache_putv(cache, (kdreg_entry_t *[]){NULL}, 1), 0);
    CHECK_IS(kdreg_cache_putv(cache, NULL, 0), 0);
    CHECK_IS(stats_of(cache).in_use, 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory, 8 * page);
}

static void refused(void)
{
    check_says("what one of them fails with is the answer, and none is held");
    enum { COUNT = 100 };
    for (int fail_at = 1; fail_at <= COUNT; fail_at += 11) {
        struct device device = {.fail_at = fail_at, .error = -EPERM};
        kdreg_cache_t *cache = create(&device, (struct kdreg_cache_attr){0});
        char *memory = check_space(2 * COUNT * page);
        scatter(memory, COUNT, 2);
        CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), -EPERM);
        CHECK_IS(device.calls, fail_at);
        none_held(cache, COUNT);
        CHECK_IS(device.live, 0);
        CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), 0);
        served(cache, COUNT, true);
        CHECK_IS(kdreg_cache_putv(cache, entries, COUNT), 0);
        munmap(memory + 2 * 70 * page, page);
        if (watches) {
            CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), -EFAULT);
            none_held(cache, COUNT);
        }
        list[50].iov_len = 0;
        CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), -EINVAL);
        CHECK_IS(stats_of(cache).in_use, 0);
        CHECK_IS(kdreg_cache_destroy(cache), 0);
        CHECK_IS(device.live, 0);
        munmap(memory, 140 * page);
        munmap(memory + 141 * page, (2 * COUNT - 141) * page);
    }
}

static void at_once(bool many)
{
    check_says("what is not found is watched by one system call, where there is one for many");
    enum { COUNT = 64 };
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, (struct kdreg_cache_attr){0});
    char *memory = check_space(4 * COUNT * page);
    scatter(memory, COUNT, 2);
    monitored = 0;
    CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), 0);
    if (many)
        CHECK_IS(monitored, 1);
    served(cache, COUNT, true);
    CHECK_IS(kdreg_cache_putv(cache, entries, COUNT), 0);
    monitored = 0;
    scatter(memory + 2 * COUNT * page, COUNT, 2);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_IS(kdreg_cache_get(cache, list[i].iov_base, list[i].iov_len, KDREG_ACCESS_READ, &entries[i]), 0);
        CHECK_IS(kdreg_cache_put(cache, entries[i]), 0);
    }
    if (many)
        CHECK_IS(monitored, COUNT);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory, 4 * COUNT * page);
}

static void scarce(void)
{
    check_says("more than the limits let in: the rest is uncached, and the limits hold");
    rounds((struct kdreg_cache_attr){.max_entries = 20}, 2);
    rounds((struct kdreg_cache_attr){.max_bytes = 24 * page}, 2);
    check_says("a device without room for all of them");
    enum { COUNT = 64 };
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, (struct kdreg_cache_attr){0});
    char *memory = check_space(4 * COUNT * page);
    scatter(memory, COUNT, 2);
    CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), 0);
    CHECK_IS(kdreg_cache_putv(cache, entries, COUNT), 0);
    scatter(memory + 2 * COUNT * page, COUNT, 2);
    device.fail_at = device.calls + 7;
    device.error = -ENOMEM;
    int error = kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries);
    if (watches) {
        CHECK_IS(error, 0);
        served(cache, COUNT, true);
        CHECK_IS(kdreg_cache_putv(cache, entries, COUNT), 0);
    } else {
        CHECK_IS(error, -ENOMEM);
        none_held(cache, COUNT);
    }
    if (watches)
        CHECK(stats_of(cache).evictions > 0, "nothing was evicted for what had no room");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory, 4 * COUNT * page);
}

static void changed(void)
{
    check_says("memory that changes while its neighbours in the list are registered");
    enum { COUNT = 40 };
    for (int fail_at = 1; fail_at <= COUNT; fail_at += 3) {
        char *memory = check_space(2 * COUNT * page);
        struct device device = {.fail_at = fail_at, .victim = memory + 2 * (size_t)(7 * fail_at % COUNT) * page};
        kdreg_cache_t *cache = create(&device, (struct kdreg_cache_attr){0});
        scatter(memory, COUNT, 2);
        CHECK_IS(kdreg_cache_getv(cache, list, COUNT, KDREG_ACCESS_READ, entries), 0);
        served(cache, COUNT, false);
        CHECK_IS(kdreg_cache_putv(cache, entries, COUNT), 0);
        CHECK_IS(kdreg_cache_destroy(cache), 0);
        CHECK_IS(device.live, 0);
        munmap(memory, 2 * COUNT * page);
    }
}

static void *ends(void *cache)
{
    kdreg_cache_getv(cache, list, 40, KDREG_ACCESS_READ, entries);
    CHECK(false, "the thread did not end in the callback");
    return NULL;
}

static void ended(void)
{
    check_says("a thread that ends in the callback holds nothing");
    struct device device = {.fail_at = 17, .end_thread = true};
    kdreg_cache_t *cache = create(&device, (struct kdreg_cache_attr){0});
    char *memory = check_space(80 * page);
    scatter(memory, 40, 2);
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, ends, cache) == 0 && pthread_join(thread, &result) == 0, "a thread");
    CHECK(result == &device, "it did not end there");
    CHECK_IS(stats_of(cache).in_use, 0);
    CHECK_IS(kdreg_cache_getv(cache, list, 40, KDREG_ACCESS_READ, entries), 0);
    CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
    CHECK_IS(kdreg_cache_putv(cache, entries, 40), 0);
    CHECK_IS(kdreg_cache_drain(cache, NULL, NULL), 0);
    CHECK_IS(kdreg_cache_getv(cache, list, 40, KDREG_ACCESS_READ, entries), -ESHUTDOWN);
    pid_t child = check_fork();
    if (child == 0) {
        CHECK_IS(kdreg_cache_getv(cache, list, 40, KDREG_ACCESS_READ, entries), -ECHILD);
        CHECK_IS(kdreg_cache_putv(cache, entries, 40), -ECHILD);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "the child failed");
    none_held(cache, 40);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    CHECK_IS(kdreg_cache_getv(cache, list, 40, KDREG_ACCESS_READ, entries), -EBADF);
    CHECK_IS(kdreg_cache_putv(cache, entries, 40), -EBADF);
    munmap(memory, 80 * page);
}

/* Threads whose lists overlap each other's, while ranges of them are changed and said to be. */
static struct crowd {
    kdreg_cache_t *cache;
    char *memory;
    unsigned seed;
} crowd;

static void *crowded(void *argument)
{
    (void)argument;
    enum { COUNT = 48 };
    struct iovec ranges[COUNT];
    kdreg_entry_t *got[COUNT];
    unsigned seed = __atomic_add_fetch(&crowd.seed, 1, __ATOMIC_RELAXED);
    for (int round = 0; round < 150; round++) {
        for (size_t i = 0; i < COUNT; i++)
            ranges[i] = (struct iovec){crowd.memory + (rand_r(&seed) % 256) * page, page * (1 + rand_r(&seed) % 3)};
        int error = kdreg_cache_getv(crowd.cache, ranges, COUNT, KDREG_ACCESS_READ, got);
        REQUIRE(error == 0, "kdreg_cache_getv: %s", kdreg_strerror(error));
        for (size_t i = 0; i < COUNT; i++) {
            char *base = kdreg_entry_base(got[i]);
            CHECK(base <= (char *)ranges[i].iov_base && base + kdreg_entry_length(got[i]) >= (char *)ranges[i].iov_base + ranges[i].iov_len, "another's entry");
        }
        CHECK_IS(kdreg_cache_putv(crowd.cache, got, COUNT), 0);
        if (round % 5 == 0)
            CHECK(kdreg_cache_invalidate(crowd.cache, crowd.memory + (rand_r(&seed) % 256) * page, page) >= 0, "invalidate");
    }
    return NULL;
}

static void together(void)
{
    check_says("threads with lists that overlap");
    struct device device = {0};
    crowd.cache = create(&device, (struct kdreg_cache_attr){.max_entries = 64, .max_merge = 8 * page});
    crowd.memory = check_space(260 * page);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, crowded, NULL) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(stats_of(crowd.cache).in_use, 0);
    CHECK_IS(kdreg_cache_destroy(crowd.cache), 0);
    CHECK_IS(device.live, 0);
    munmap(crowd.memory, 260 * page);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    kdreg_t *monitor = check_open_any(&watches);
    /* By the module itself: another kdreg2 has no batches. */
    bool kernel = strcmp(kdreg_backend_name(monitor), "kernel") == 0 && access("/dev/kdreg", F_OK) == 0;
    check_says("ranges apart from each other, and ranges that touch");
    rounds((struct kdreg_cache_attr){0}, 2);
    rounds((struct kdreg_cache_attr){0}, 1);
    rounds((struct kdreg_cache_attr){.flags = KDREG_CACHE_NO_MERGE}, 1);
    rounds((struct kdreg_cache_attr){.alignment = 16 * page}, 3);
    repeated();
    refused();
    at_once(kernel);
    scarce();
    changed();
    ended();
    together();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("batch");
}
