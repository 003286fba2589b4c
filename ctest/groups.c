/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Caches that share limits: whose entries go, whose callbacks are called where, and what is refused. On every backend. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "caches.h"

static size_t page;
static bool watches;

/* A cache of a device that all devices share the memory of. */
struct device {
    kdreg_cache_t *cache;
    atomic_int live, undone;
    void (*when_undone)(struct device *);
};

/* What is registered by all, and may be; 0: no limit. */
static atomic_int pages, limit;

static int do_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)access;
    int more = (int)(length / page), most = limit;
    if (atomic_fetch_add(&pages, more) + more > most && most) {
        atomic_fetch_sub(&pages, more);
        return -ENOMEM;
    }
    atomic_fetch_add(&device->live, 1);
    *handle = addr;
    return 0;
}

static int do_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    CHECK(handle == addr, "another's handle");
    atomic_fetch_sub(&pages, (int)(length / page));
    atomic_fetch_sub(&device->live, 1);
    atomic_fetch_add(&device->undone, 1);
    if (device->when_undone)
        device->when_undone(device);
    return 0;
}

static kdreg_group_t *new_group(size_t max_entries, size_t max_pages, uint32_t flags)
{
    struct kdreg_group_attr attr = KDREG_GROUP_ATTR_INIT;
    attr.max_entries = max_entries;
    attr.max_bytes = max_pages * page;
    attr.flags = flags;
    kdreg_group_t *group = NULL;
    int error = kdreg_group_create(&attr, &group);
    REQUIRE(error == 0, "kdreg_group_create: %s", kdreg_strerror(error));
    return group;
}

static void create(struct device *device, kdreg_group_t *group, uint32_t flags)
{
    *device = (struct device){.live = 0};
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = do_register;
    attr.dereg = do_deregister;
    attr.ctx = device;
    attr.flags = flags;
    attr.group = group;
    int error = kdreg_cache_create(NULL, &attr, &device->cache);
    REQUIRE(error == 0, "kdreg_cache_create: %s", kdreg_strerror(error));
}

static void use(struct device *device, char *addr)
{
    kdreg_entry_t *entry = NULL;
    int error = kdreg_cache_get(device->cache, addr, page, KDREG_ACCESS_READ, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    CHECK_IS(kdreg_cache_put(device->cache, entry), 0);
}

static void end(struct device *devices, int count, kdreg_group_t *group)
{
    for (int i = 0; i < count; i++) {
        CHECK_IS(kdreg_group_destroy(group), -EBUSY);
        CHECK_IS(kdreg_cache_destroy(devices[i].cache), 0);
        CHECK_IS(devices[i].live, 0);
    }
    CHECK_IS(kdreg_group_destroy(group), 0);
    CHECK_IS(kdreg_group_destroy(group), -EBADF);
    CHECK_IS(kdreg_group_evict(group, 1), -EBADF);
    CHECK_IS(pages, 0);
}

static void shared(char *memory)
{
    check_says("a limit that two caches share: the least recently used of both goes");
    struct device devices[2];
    kdreg_group_t *group = new_group(4, 0, 0);
    for (int i = 0; i < 2; i++)
        create(&devices[i], group, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE);
    for (size_t i = 0; i < 4; i++)
        use(&devices[i % 2], memory + 2 * i * page);
    use(&devices[0], memory);
    use(&devices[1], memory + 8 * page);
    CHECK_IS(pages, watches ? 4 : 0);
    CHECK_IS(devices[1].undone, watches ? 1 : 3);
    CHECK_IS(devices[0].undone, watches ? 0 : 3);
    use(&devices[1], memory + 10 * page);
    CHECK_IS(devices[0].undone, watches ? 1 : 3);
    CHECK_IS(kdreg_group_evict(group, 0), 0);
    CHECK_IS(kdreg_group_evict(group, page + 1), watches ? 2 : 0);
    CHECK_IS(kdreg_group_evict(group, SIZE_MAX), watches ? 2 : 0);
    end(devices, 2, group);

    check_says("-ENOMEM of one: what the other has idle goes, what it has in use does not");
    group = new_group(0, 0, 0);
    for (int i = 0; i < 2; i++)
        create(&devices[i], group, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE);
    limit = 2;
    kdreg_entry_t *entry = NULL, *untouched = (kdreg_entry_t *)(void *)&entry, *out = untouched;
    CHECK_IS(kdreg_cache_get(devices[0].cache, memory, page, KDREG_ACCESS_READ, &entry), 0);
    use(&devices[0], memory + 2 * page);
    use(&devices[1], memory);
    CHECK_IS(devices[0].undone, 1);
    CHECK_IS(kdreg_cache_get(devices[1].cache, memory + 4 * page, 2 * page, KDREG_ACCESS_READ, &out), -ENOMEM);
    CHECK(out == untouched, "a failing call changed its result");
    CHECK_IS(pages, 1);
    CHECK_IS(kdreg_cache_put(devices[0].cache, entry), 0);
    CHECK_IS(kdreg_cache_get(devices[1].cache, memory + 4 * page, 2 * page, KDREG_ACCESS_READ, &out), 0);
    CHECK_IS(devices[0].live, 0);
    CHECK_IS(kdreg_cache_put(devices[1].cache, out), 0);
    limit = 0;
    end(devices, 2, group);
}

static struct device *other;

static void try_to_end(struct device *device)
{
    CHECK_IS(kdreg_cache_destroy(device->cache), -EDEADLK);
    CHECK_IS(kdreg_cache_destroy(other->cache), -EDEADLK);
    CHECK_IS(kdreg_cache_drain(other->cache, NULL, NULL), -EDEADLK);
    /* No lock is held: anything else may be called, and evicts in turn. */
    device->when_undone = NULL;
    stats_of(other->cache);
    char *memory = check_space(2 * page);
    use(other, memory);
    use(device, memory);
    munmap(memory, 2 * page);
}

static void *ends(void *argument)
{
    (void)argument;
    pthread_exit(NULL);
}

static void end_thread(struct device *device)
{
    device->when_undone = NULL;
    ends(NULL);
}

static struct device leaver[2];

static void *run_leaver(void *memory)
{
    use(&leaver[1], memory);
    CHECK(!watches, "the thread goes on after its callback ended it");
    return NULL;
}

static void callbacks(char *memory)
{
    check_says("inside a callback that another cache's call runs: no cache of the group ends; all else can be called");
    struct device devices[2];
    kdreg_group_t *group = new_group(1, 0, 0);
    for (int i = 0; i < 2; i++)
        create(&devices[i], group, KDREG_CACHE_NO_REAPER);
    other = &devices[1];
    devices[0].when_undone = watches ? try_to_end : NULL;
    use(&devices[0], memory);
    use(&devices[1], memory);
    CHECK(!devices[0].when_undone, "not evicted");
    end(devices, 2, group);

    check_says("a thread that ends in another cache's callback leaves nothing behind");
    group = new_group(1, 0, 0);
    for (int i = 0; i < 2; i++)
        create(&leaver[i], group, KDREG_CACHE_NO_REAPER);
    leaver[0].when_undone = watches ? end_thread : NULL;
    use(&leaver[0], memory);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, run_leaver, memory) == 0, "pthread_create");
    pthread_join(thread, NULL);
    use(&leaver[1], memory + 4 * page);
    end(leaver, 2, group);
}

enum { CACHES = 3, THREADS = 4, MOST = 8 };
static struct device crowd[CACHES];

static void *churn(void *argument)
{
    kdreg_group_t *group = argument;
    char *memory = check_space(16 * page);
    for (size_t i = 0; i < 1500; i++) {
        char *addr = memory + i * 7 % 16 * page;
        use(&crowd[i % CACHES], addr);
        if (i % 50 == 0)
            CHECK(kdreg_group_evict(group, 2 * page) >= 0, "kdreg_group_evict");
        if (i % 11 == 0)
            REQUIRE(mmap(addr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == addr, "mmap");
        if (i % 100 == 0) {
            struct device own;
            create(&own, group, i % 200 ? KDREG_CACHE_NO_REAPER : 0);
            use(&own, addr);
            CHECK_IS(kdreg_cache_destroy(own.cache), 0);
            CHECK_IS(own.live, 0);
        }
    }
    munmap(memory, 16 * page);
    return NULL;
}

static void crowded(uint32_t flags)
{
    check_says("threads that evict in each other's caches, which come and go (flags %u)", flags);
    kdreg_group_t *group = new_group(0, MOST, 0);
    for (int i = 0; i < CACHES; i++)
        create(&crowd[i], group, flags);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, group) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t bytes = 0;
    for (int i = 0; i < CACHES; i++)
        bytes += stats_of(crowd[i].cache).bytes;
    CHECK(bytes <= MOST * page, "%llu bytes kept", (unsigned long long)bytes);
    end(crowd, CACHES, group);
}

static void refused(char *memory)
{
    check_says("bad handles, attributes, and a child");
    static char wild[64];
    kdreg_group_t *const untouched = (kdreg_group_t *)(void *)wild;
    kdreg_group_t *group = untouched;
    struct kdreg_group_attr attr = KDREG_GROUP_ATTR_INIT;
    CHECK_IS(kdreg_group_create(&attr, NULL), -EINVAL);
    attr.size = 8;
    CHECK_IS(kdreg_group_create(&attr, &group), -EINVAL);
    attr.size = sizeof attr;
    attr.flags = 2;
    CHECK_IS(kdreg_group_create(&attr, &group), -EINVAL);
    attr.flags = 0;
    attr.reserved = 1;
    CHECK_IS(kdreg_group_create(&attr, &group), -EINVAL);
    CHECK(group == untouched, "a failing call changed its result");
    CHECK_IS(kdreg_group_evict(NULL, 1), -EINVAL);
    CHECK_IS(kdreg_group_destroy(NULL), -EINVAL);
    CHECK_IS(kdreg_group_evict(untouched, 1), -EBADF);
    CHECK_IS(kdreg_group_destroy(untouched), -EBADF);
    REQUIRE(kdreg_group_create(NULL, &group) == 0, "no limits");
    struct device device;
    create(&device, group, KDREG_CACHE_NO_REAPER);
    CHECK_IS(kdreg_group_evict((kdreg_group_t *)(void *)device.cache, 1), -EBADF);
    struct kdreg_cache_attr cache = KDREG_CACHE_ATTR_INIT;
    cache.reg = do_register;
    cache.dereg = do_deregister;
    cache.group = (kdreg_group_t *)(void *)device.cache;
    kdreg_cache_t *none = NULL;
    CHECK_IS(kdreg_cache_create(NULL, &cache, &none), -EBADF);
    CHECK(none == NULL, "a failing call changed its result");
    use(&device, memory);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        check_forget();
        CHECK_IS(kdreg_group_evict(group, 1), -ECHILD);
        CHECK_IS(kdreg_group_destroy(group), -ECHILD);
        cache.group = group;
        CHECK_IS(kdreg_cache_create(NULL, &cache, &none), -ECHILD);
        check_leave();
    }
    CHECK(child > 0 && check_child_succeeded(child), "the child came through");
    end(&device, 1, group);
}

static void lockable(char *memory)
{
    check_says("KDREG_GROUP_MEMLOCK: no more than the process may lock");
    struct rlimit before, few;
    REQUIRE(getrlimit(RLIMIT_MEMLOCK, &before) == 0, "getrlimit");
    few = before;
    few.rlim_cur = 3 * page;
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &few) == 0, "setrlimit");
    kdreg_group_t *group = new_group(0, 100, KDREG_GROUP_MEMLOCK);
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &before) == 0, "setrlimit");
    struct device device;
    create(&device, group, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE);
    for (size_t i = 0; i < 6; i++)
        use(&device, memory + 2 * i * page);
    CHECK_IS(device.live, watches ? 3 : 0);
    end(&device, 1, group);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    CHECK_IS(kdreg_close(check_open_any(&watches)), 0);
    char *memory = check_space(16 * page);
    shared(memory);
    callbacks(memory);
    crowded(0);
    crowded(KDREG_CACHE_NO_REAPER);
    refused(memory);
    lockable(memory);
    munmap(memory, 16 * page);
    return check_result("groups");
}
