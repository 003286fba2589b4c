/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every function against input that is wrong: a clear errno, nothing changed, no crash. */
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>

#include "badinput.h"

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
    /* What might be one some day, near and far, and before the first. */
    static const ptrdiff_t far[] = {-1048576, 1000 * 64, 1000 * 64 + 8, 1900 * 64, 3000 * 64, 60000 * 64, 1 << 24};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        monitor_calls_say((kdreg_t *)((uintptr_t)monitor + (uintptr_t)far[i]), -EBADF);
        cache_calls_say((kdreg_cache_t *)((uintptr_t)cache + (uintptr_t)far[i]), entry, -EBADF);
    }
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
