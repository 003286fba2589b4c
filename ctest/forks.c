/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* fork, vfork, posix_spawn and system() with monitors and caches open: the parent stays warm, the child starts from nothing. */
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>

#include "check.h"
#include "plain.h"

extern char **environ;

enum { REGIONS = 32 };
static size_t page;
static kdreg_t *monitor;
static kdreg_cache_t *cache;
static char *memory;
static struct kdreg_region regions[REGIONS];

static const struct kdreg_cache_attr cache_attr = {.size = sizeof cache_attr, .reg = plain_register, .dereg = plain_deregister};

static void watch(size_t i)
{
    kdreg_entry_t *entry;
    REQUIRE(kdreg_monitor(monitor, memory + 2 * i * page, page, i, &regions[i]) == 0, "kdreg_monitor");
    REQUIRE(kdreg_cache_get(cache, memory + 2 * i * page, page, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0, "kdreg_cache_get");
}

static void set_up(void)
{
    monitor = check_open(0);
    REQUIRE(kdreg_cache_create(monitor, &cache_attr, &cache) == 0, "kdreg_cache_create");
    /* Nothing but a fork disturbs the regions, which have no pages; those between them have, so that it write-protects the mapping. */
    memory = check_space(2 * REGIONS * page);
    for (size_t i = 0; i < REGIONS; i++) {
        memory[(2 * i + 1) * page] = 1;
        watch(i);
    }
}

static void count_cold(int *invalid, int *missed)
{
    *invalid = *missed = 0;
    for (size_t i = 0; i < REGIONS; i++) {
        kdreg_entry_t *entry;
        *invalid += !kdreg_valid(&regions[i]);
        if (kdreg_cache_find(cache, memory + 2 * i * page, page, KDREG_ACCESS_READ, &entry) == 0)
            kdreg_cache_put(cache, entry);
        else
            ++*missed;
    }
}

/* Whether a backend that may lose changes has given up all, once, as it cannot tell what was changed: then all begins anew. */
static bool all_given_up(const char *after)
{
    struct kdreg_event events[REGIONS];
    int got = kdreg_check(monitor, events, REGIONS), lost = 0;
    for (int i = 0; i < got; i++)
        lost += events[i].reason == KDREG_REASON_UNKNOWN;
    if (got == 0)
        return false;
    CHECK(lost == REGIONS, "after %s: %d events in the parent, of which %d do not say why", after, got, lost);
    for (size_t i = 0; i < REGIONS; i++) {
        kdreg_unmonitor(monitor, &regions[i]);
        watch(i);
    }
    while (kdreg_check(monitor, events, REGIONS) > 0)
        ;
    printf("  after %s: all was given up, as changes may have been lost on a busy machine\n", after);
    return true;
}

static unsigned warm;

static void is_warm(const char *after)
{
    int invalid, missed;
    count_cold(&invalid, &missed);
    if (!(kdreg_caps(monitor) & KDREG_CAP_FORK_WARM))
        return;
    /* The bpf backend misses while one of its programs is interrupted, wherever that is, and gives up all if another was left out meanwhile. */
    for (double limit = check_now() + 120; check_is_bpf(monitor) && invalid + missed > 0 && check_now() < limit; count_cold(&invalid, &missed)) {
        if (all_given_up(after))
            return;
        check_sleep_ms(5);
    }
    CHECK(invalid == 0 && missed == 0, "after %s: %d regions invalid, %d lookups missed", after, invalid, missed);
    struct kdreg_event event;
    CHECK(kdreg_check(monitor, &event, 1) == 0, "after %s: an event in the parent", after);
    warm++;
}

/* Still seen, after all that forking. */
static void still_detects(size_t at)
{
    kdreg_entry_t *entry;
    check_pages(monitor, memory + 2 * at * page, page);
    madvise(memory + 2 * at * page, page, MADV_DONTNEED);
    CHECK(!kdreg_valid(&regions[at]), "region %zu: a change after fork is missed", at);
    CHECK_IS(kdreg_cache_find(cache, memory + 2 * at * page, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    kdreg_unmonitor(monitor, &regions[at]);
    watch(at);
    struct kdreg_event event;
    while (kdreg_check(monitor, &event, 1) > 0)
        ;
}

static bool expect_in_child(void (*body)(void))
{
    pid_t child = check_fork();
    if (child == 0) {
        alarm(200);
        body();
        check_leave();
    }
    return child > 0 && check_child_succeeded(child);
}

static void child_is_cold(void)
{
    kdreg_entry_t *entry;
    CHECK(!kdreg_valid(&regions[0]), "the parent's region counts as valid");
    CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry), -ECHILD);
    CHECK_IS(kdreg_check(monitor, NULL, 0), -ECHILD);
    CHECK_IS(kdreg_close(monitor), -ECHILD);
    /* The child's memory is its own: changing it must neither hang nor reach the parent. */
    munmap(memory, 4 * page);
    madvise(memory + 4 * page, 4 * page, MADV_DONTNEED);
}

static void uses_its_own(void)
{
    child_is_cold();
    kdreg_t *own = check_open(0);
    kdreg_cache_t *own_cache = NULL;
    REQUIRE(kdreg_cache_create(own, &cache_attr, &own_cache) == 0, "kdreg_cache_create in the child");
    char *block = check_space(4 * page);
    struct kdreg_region region, inherited;
    kdreg_entry_t *entry;
    CHECK_IS(kdreg_monitor(own, block, page, 7, &region), 0);
    CHECK(kdreg_valid(&region), "the child's own region");
    CHECK(!kdreg_valid(&regions[0]), "the parent's region came to life in the child");
    /* Memory inherited from the parent, too. */
    CHECK_IS(kdreg_monitor(own, memory + 8 * page, page, 8, &inherited), 0);
    CHECK_IS(kdreg_cache_get(own_cache, block, 4 * page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(own_cache, entry), 0);
    check_pages(own, memory + 8 * page, page);
    munmap(block, 4 * page);
    madvise(memory + 8 * page, page, MADV_DONTNEED);
    CHECK(!kdreg_valid(&region) && !kdreg_valid(&inherited), "a change in the child is missed");
    CHECK_IS(kdreg_cache_find(own_cache, block, 4 * page, KDREG_ACCESS_READ, &entry), -ENOENT);
    struct kdreg_event events[4];
    int taken = 0;
    CHECK_EVENTUALLY((taken += kdreg_check(own, events, 4)) >= 2, 50, "%d events of 2", taken);
    CHECK_IS(kdreg_cache_destroy(own_cache), 0);
    CHECK_IS(kdreg_close(own), 0);
}

static void grandchildren(void)
{
    kdreg_t *own = check_open(0);
    struct kdreg_region region;
    CHECK_IS(kdreg_monitor(own, memory + 8 * page, page, 8, &region), 0);
    CHECK(expect_in_child(uses_its_own), "the grandchild");
    CHECK(kdreg_valid(&region), "the child's region after the grandchild ended");
    CHECK_IS(kdreg_close(own), 0);
}

static void every_way_to_fork(void)
{
    check_says("fork: 200 children, the parent stays warm");
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        CHECK(child > 0 && check_child_succeeded(child), "child %d", i);
    }
    is_warm("fork");
    still_detects(0);

    check_says("vfork and exec");
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(0);   /* no such file: as good */
    }
    CHECK(child > 0 && check_child_succeeded(child), "vfork");
    is_warm("vfork");

    check_says("posix_spawn");
    char *const arguments[] = {"sh", "-c", "exit 0", NULL};
    int error = posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ);
    CHECK(error == 0 && check_child_succeeded(child), "posix_spawn: %s", strerror(error));
    is_warm("posix_spawn");

    check_says("system()");
    CHECK_IS(system("exit 0"), 0);
    is_warm("system()");
    still_detects(1);

    check_says("the child: -ECHILD, nothing valid, its own memory free to change");
    CHECK(expect_in_child(child_is_cold), "the child");
    is_warm("a child's changes");
    check_says("the child opens its own monitor and cache");
    CHECK(expect_in_child(uses_its_own), "the child");
    is_warm("a child with its own monitor");
    check_says("the child's child");
    CHECK(expect_in_child(grandchildren), "the child");
    is_warm("grandchildren");
    still_detects(2);
}

/* A child that holds every inherited descriptor until it is told to go. */
static pid_t lingering_child(int *release)
{
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(ends[1]);
        alarm(400);
        ssize_t got = read(ends[0], &byte, 1);
        munmap(memory, 2 * page);
        _exit(got == 1 && !kdreg_valid(&regions[1]) ? 0 : 1);
    }
    close(ends[0]);
    *release = ends[1];
    return child;
}

static void child_outlives(void)
{
    check_says("a child lives on while the parent changes memory: the parent does not hang");
    int release;
    pid_t child = lingering_child(&release);
    for (size_t i = 0; i < 8; i++)
        still_detects(i);

    check_says("a child lives on while the parent closes, and changes memory afterwards");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    for (size_t i = 0; i < REGIONS / 2; i++)
        CHECK_IS(kdreg_unmonitor(monitor, &regions[i]), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    CHECK(!kdreg_valid(&regions[REGIONS - 1]), "a closed monitor's region counts as valid");
    /* Were the memory still registered with a descriptor that the child keeps open and nobody reads, these would sleep for ever. */
    madvise(memory, 8 * page, MADV_DONTNEED);
    char *moved = mremap(memory + 8 * page, 2 * page, 4 * page, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED, "mremap: %s", strerror(errno));
    munmap(moved, 4 * page);
    munmap(memory, 2 * REGIONS * page);
    check_says("a new monitor works while that child still lives");
    set_up();
    still_detects(3);
    CHECK(write(release, "x", 1) == 1 && check_child_succeeded(child), "the lingering child");
    close(release);
    still_detects(4);
    is_warm("the lingering child's end");
}

static void *fork_often(void *argument)
{
    const atomic_bool *stop = argument;
    while (!atomic_load(stop)) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child > 0)
            check_child_succeeded(child);
    }
    return NULL;
}

static void forks_race_with_use(void)
{
    check_says("forks in one thread while another opens, watches, changes and closes");
    static atomic_bool stop;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fork_often, &stop) == 0, "pthread_create");
    for (int round = 0; round < 300; round++) {
        struct kdreg_attr attr = {.size = sizeof attr, .flags = round & 1 ? KDREG_OPEN_PRIVATE : 0};
        kdreg_t *short_lived = NULL;
        struct kdreg_region region;
        char *block = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        REQUIRE(kdreg_open(&attr, &short_lived) == 0, "kdreg_open");
        int error = kdreg_monitor(short_lived, block, page, 1, &region);
        if (error == 0) {
            munmap(block, page);
            CHECK(!kdreg_valid(&region), "a change during forks is missed");
        } else {
            /* The kernel may have joined the block to one that the shared monitor watches. */
            CHECK(error == -EBUSY && round & 1, "kdreg_monitor: %s", kdreg_strerror(error));
            munmap(block, page);
        }
        REQUIRE(kdreg_close(short_lived) == 0, "kdreg_close");
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    is_warm("forks in another thread");
    still_detects(5);
}

int main(void)
{
    check_watchdog(480);
    page = (size_t)sysconf(_SC_PAGESIZE);
    set_up();
    every_way_to_fork();
    child_outlives();
    forks_race_with_use();
    CHECK(warm > 0 || !(kdreg_caps(monitor) & KDREG_CAP_FORK_WARM), "all was given up at every fork");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("forks");
}
