/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* No thread can be started: what is refused has changed nothing, what waits is done when one can be; and a cache that was to be destroyed, and is
 * not, is used on. On every backend. */
#include <dlfcn.h>

#include "ahead.h"

typedef int create_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static atomic_int refusing, refused;

/* In the place of the C library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument)
{
    if (atomic_load(&refusing)) {
        atomic_fetch_add(&refused, 1);
        return EAGAIN;
    }
    create_thread *real = (create_thread *)dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attr, run, argument);
}

/* A device whose deregistrations end their thread, or get something else. */
static struct faulty {
    struct device device; /* the first: of the callbacks' context */
    kdreg_cache_t *cache;
    atomic_int ends;
    kdreg_entry_t *got;
    bool gets;
} faulty;

static int faulty_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct faulty *it = context;
    device_deregister(&it->device, addr, length, handle);
    if (it->gets) {
        it->gets = false;
        CHECK_IS(kdreg_cache_get(it->cache, region(9), page, KDREG_ACCESS_READ, &it->got), 0);
    }
    if (atomic_load(&it->ends) && !pthread_equal(pthread_self(), it->device.caller)) {
        atomic_fetch_sub(&it->ends, 1);
        pthread_exit(NULL);
    }
    return 0;
}

static void create_faulty(kdreg_group_t *group)
{
    faulty = (struct faulty){.gets = false};
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = device_register;
    attr.dereg = faulty_deregister;
    attr.ctx = &faulty;
    attr.flags = KDREG_CACHE_NO_MERGE;
    attr.group = group;
    sem_init(&faulty.device.arrived, 0, 0);
    sem_init(&faulty.device.open, 0, 0);
    faulty.cache = new_cache(NULL, &attr);
}

static int open_descriptors(void)
{
    int open = 0;
    for (int fd = 0; fd < 256; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

static void no_reaper(void)
{
    check_says("a cache whose reaper cannot be started is refused, and leaves nothing; the next is made");
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    struct device device = {0};
    attr.reg = device_register;
    attr.dereg = device_deregister;
    attr.ctx = &device;
    kdreg_cache_t *const untouched = (kdreg_cache_t *)(void *)&attr, *cache = untouched;
    kdreg_group_t *group = NULL;
    CHECK_IS(kdreg_group_create(NULL, &group), 0);
    attr.group = group;
    int before = 0;
    for (int i = 0; i < 3; i++) {
        atomic_store(&refusing, 1);
        CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), -ENOMEM);
        atomic_store(&refusing, 0);
        CHECK(atomic_load(&refused) > 0, "it was not asked for a thread");
        CHECK(cache == untouched, "a failing call changed its result");
        int after = open_descriptors();
        CHECK(i == 0 || after == before, "%d descriptors, and then %d", before, after);
        before = after;
    }
    CHECK_IS(kdreg_group_destroy(group), 0);
    attr.group = NULL;
    cache = new_cache(NULL, &attr);
    CHECK_IS(get_put(cache, region(0), page), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void no_thread_ahead(void)
{
    check_says("what is to be registered ahead is refused where no thread can be started, and later is not");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 0);
    struct told told = {0};
    kdreg_entry_t *entry = NULL;
    atomic_store(&refusing, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_IS(prefetch(cache, 0, &told), -ENOMEM);
        CHECK_IS(try_get(cache, 1, &entry), -ENOMEM);
    }
    CHECK(!entry && device.calls == 0, "something was registered");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    atomic_store(&refusing, 0);
    cache = create(&device, 0);
    atomic_store(&refusing, 1);
    CHECK_IS(prefetch(cache, 0, NULL), -ENOMEM);
    atomic_store(&refusing, 0);
    CHECK_IS(prefetch(cache, 0, &told), 0);
    wait_for(&told.done);
    CHECK_IS(told.calls, 1);
    CHECK_IS(told.status, 0);
    CHECK_IS(kdreg_cache_put(cache, told.entry), 0);
    destroy(cache, &device);
}

static void no_follower_ahead(bool drained)
{
    check_says("a callback ends the thread ahead, and none follows: what waits is %s", drained ? "told of by a drain" : "done when the next is asked for");
    struct device device = {.end_at = 1, .gate = true};
    kdreg_cache_t *cache = create(&device, 0);
    struct told first = {0}, second = {0}, third = {0};
    CHECK_IS(prefetch(cache, 0, &first), 0);
    CHECK_IS(prefetch(cache, 1, &second), 0);
    wait_for(&device.arrived);
    int before = atomic_load(&refused);
    atomic_store(&refusing, 1);
    device.gate = false;
    sem_post(&device.open);
    CHECK_EVENTUALLY(atomic_load(&refused) > before, 60, "no other thread was asked for");
    CHECK(sem_trywait(&first.done) == -1 && sem_trywait(&second.done) == -1, "told by nobody");
    if (drained) {
        CHECK_IS(kdreg_cache_drain(cache, NULL, NULL), 0);
        CHECK(second.calls == 1 && second.status == -ESHUTDOWN, "told %d", second.status);
        atomic_store(&refusing, 0);
    } else {
        CHECK_IS(prefetch(cache, 2, &third), -ENOMEM);
        atomic_store(&refusing, 0);
        CHECK_IS(prefetch(cache, 2, &third), 0);
        wait_for(&second.done);
        wait_for(&third.done);
        CHECK(second.calls == 1 && second.status == 0 && third.calls == 1 && third.status == 0, "told %d, %d", second.status, third.status);
        CHECK_IS(kdreg_cache_put(cache, second.entry), 0);
        CHECK_IS(kdreg_cache_put(cache, third.entry), 0);
    }
    CHECK(first.calls == 1 && first.status == -ECANCELED, "told %d", first.status);
    destroy(cache, &device);
}

static void no_follower_of_the_reaper(void)
{
    check_says("a callback ends the reaper, and none follows: calls release what changed; the next cache has one again");
    create_faulty(NULL);
    for (int i = 0; i < 3; i++)
        CHECK_IS(get_put(faulty.cache, region(i), page), 0);
    atomic_store(&faulty.ends, 1);
    int before = atomic_load(&refused);
    atomic_store(&refusing, 1);
    munmap(region(0), page);
    CHECK_EVENTUALLY(atomic_load(&refused) > before, 60, "no other reaper was asked for");
    munmap(region(1), page);
    CHECK_EVENTUALLY(kdreg_cache_reap(faulty.cache) >= 0 && __atomic_load_n(&faulty.device.live, __ATOMIC_SEQ_CST) == 1, 60,
                     "a call does not release what changed: %d are registered", faulty.device.live);
    CHECK_IS(kdreg_cache_flush(faulty.cache), 1);
    CHECK_IS(get_put(faulty.cache, region(2), page), 0);
    atomic_store(&refusing, 0);
    struct device device = {0};
    kdreg_cache_t *other = create(&device, 0);
    munmap(region(2), page);
    CHECK_EVENTUALLY(__atomic_load_n(&faulty.device.live, __ATOMIC_SEQ_CST) == 0, 60, "nobody reaps");
    destroy(other, &device);
    CHECK_IS(kdreg_cache_destroy(faulty.cache), 0);
}

static void not_destroyed(void)
{
    check_says("a callback of its destruction gets an entry: there still is a cache, with a reaper, a group, and a thread ahead");
    kdreg_group_t *group = NULL;
    CHECK_IS(kdreg_group_create(NULL, &group), 0);
    create_faulty(group);
    struct told told = {0};
    CHECK_IS(get_put(faulty.cache, region(4), page), 0);
    CHECK_IS(prefetch(faulty.cache, 5, &told), 0);
    wait_for(&told.done);
    CHECK_IS(kdreg_cache_put(faulty.cache, told.entry), 0);
    faulty.gets = true;
    CHECK_IS(kdreg_cache_destroy(faulty.cache), -EBUSY);
    REQUIRE(faulty.got, "its callback got nothing");
    CHECK_IS(faulty.device.live, 1);
    CHECK_IS(kdreg_group_destroy(group), -EBUSY);
    CHECK_IS(kdreg_cache_destroy(faulty.cache), -EBUSY);
    CHECK_IS(prefetch(faulty.cache, 5, &told), 0);
    wait_for(&told.done);
    CHECK_IS(told.status, 0);
    CHECK_IS(kdreg_cache_put(faulty.cache, told.entry), 0);
    CHECK_IS(kdreg_group_evict(group, page), 1);
    CHECK_IS(get_put(faulty.cache, region(4), page), 0);
    munmap(region(4), page);
    CHECK_EVENTUALLY(__atomic_load_n(&faulty.device.live, __ATOMIC_SEQ_CST) == 1, 60, "nobody reaps");
    CHECK_IS(kdreg_cache_put(faulty.cache, faulty.got), 0);
    CHECK_IS(kdreg_cache_destroy(faulty.cache), 0);
    CHECK_IS(faulty.device.live, 0);
    CHECK_IS(kdreg_group_destroy(group), 0);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    memory = check_space(64 * page);
    no_reaper();
    kdreg_t *monitor = check_open_any(&watches);
    no_thread_ahead();
    no_follower_ahead(false);
    no_follower_ahead(true);
    if (watches) {
        no_follower_of_the_reaper();
        not_destroyed();
    }
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("unstarted");
}
