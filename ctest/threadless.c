/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* RLIMIT_NPROC leaves no thread to be started, by a user whom it binds: what needs one is refused and leaves nothing, what needs none works, and
 * once there may be more all does. */
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "ahead.h"

static struct rlimit before;

/* A user's processes and threads; this one is there, so one is none. */
static void may_have(bool threads)
{
    struct rlimit limit = {threads ? before.rlim_max : 1, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NPROC, &limit) == 0, "setrlimit: %s", strerror(errno));
}

static void *nothing(void *argument)
{
    return argument;
}

/* Another user than root, who is exempt. */
static void become_somebody(void)
{
    if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(54321, 54321, 54321) || setresuid(54321, 54321, 54321))) {
        printf("skipped: no other user can be become here: %s\n", strerror(errno));
        exit(CHECK_SKIPPED);
    }
    /* Its own /proc is its own. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    REQUIRE(getrlimit(RLIMIT_NPROC, &before) == 0, "getrlimit");
    may_have(false);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, nothing, NULL);
    if (!error) {
        pthread_join(thread, NULL);
        printf("skipped: RLIMIT_NPROC does not bind this user\n");
        exit(CHECK_SKIPPED);
    }
    CHECK_IS(error, EAGAIN);
}

static int open_descriptors(void)
{
    int open = 0;
    for (int fd = 0; fd < 256; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

/* Each backend may have a thread of its own to start. */
static void opened(void)
{
    check_says("a monitor is opened without a thread, or refused, and leaves nothing");
    int descriptors = 0;
    for (int i = 0; i < 3; i++) {
        kdreg_t *monitor = NULL;
        int error = kdreg_open(NULL, &monitor);
        CHECK(error == 0 || error == -ENOMEM, "kdreg_open: %s", kdreg_strerror(error));
        printf("    kdreg_open: %s\n", error ? kdreg_strerror(error) : kdreg_backend_name(monitor));
        if (!error)
            CHECK_IS(kdreg_close(monitor), 0);
        int now = open_descriptors();
        CHECK(i == 0 || now == descriptors, "%d descriptors, and then %d", descriptors, now);
        descriptors = now;
    }
}

static void cached(void)
{
    struct device device = {0}, other = {0};
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = device_register;
    attr.dereg = device_deregister;
    attr.ctx = &other;
    kdreg_cache_t *const untouched = (kdreg_cache_t *)(void *)&attr, *refused = untouched;
    struct told told = {0};
    kdreg_entry_t *entry = NULL;

    check_says("a cache whose reaper cannot be started is refused, one that has none works, but for its own thread");
    may_have(false);
    int descriptors = 0;
    for (int i = 0; i < 3; i++) {
        CHECK_IS(kdreg_cache_create(NULL, &attr, &refused), -ENOMEM);
        CHECK(refused == untouched, "a failing call changed its result");
        int now = open_descriptors();
        CHECK(i == 0 || now == descriptors, "%d descriptors, and then %d", descriptors, now);
        descriptors = now;
    }
    kdreg_cache_t *cache = create(&device, KDREG_CACHE_NO_REAPER);
    CHECK_IS(get_put(cache, region(0), page), 0);
    CHECK_IS(get_put(cache, region(0), page), 0);
    CHECK_IS(device.calls, watches ? 1 : 2);
    CHECK_IS(prefetch(cache, 1, &told), -ENOMEM);
    CHECK_IS(try_get(cache, 2, &entry), -ENOMEM);
    CHECK_IS(told.calls, 0);
    CHECK(kdreg_cache_reap(cache) >= 0 && kdreg_cache_flush(cache) >= 0, "reap, flush");

    check_says("and when threads can be started, all is made up for");
    may_have(true);
    device.here = 0;
    CHECK_IS(prefetch(cache, 1, &told), 0);
    wait_for(&told.done);
    CHECK_IS(told.status, 0);
    CHECK_IS(kdreg_cache_put(cache, told.entry), 0);
    CHECK_IS(poll_for(cache, 2, &entry), watches ? 0 : -ENOENT);
    if (watches)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    destroy(cache, &device);
    cache = new_cache(NULL, &attr);
    CHECK_IS(get_put(cache, region(3), page), 0);
    if (watches) {
        munmap(region(3), page);
        CHECK_EVENTUALLY(__atomic_load_n(&other.live, __ATOMIC_SEQ_CST) == 0, 60, "nobody reaps");
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(other.live, 0);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    memory = check_space(64 * page);
    become_somebody();
    opened();
    may_have(true);
    kdreg_t *monitor = check_open_any(&watches);
    cached();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("threadless");
}
