/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg_cache_flush returns when what others had begun to deregister has been; inside a callback it waits for nobody. On every backend. */
#include <pthread.h>
#include <semaphore.h>

#include "caches.h"

static size_t page;
static bool watches;
static char *memory;

enum { DEVICES = 2 };

struct device {
    kdreg_cache_t *cache;
    atomic_int begun, undone;
    atomic_int slow, slow_to_tell; /* so many take their time */
    sem_t inside;
    void (*when_undone)(struct device *);
    pthread_mutex_t *lock; /* taken to register */
};

static struct device devices[DEVICES];

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)length, (void)access;
    if (device->lock) {
        pthread_mutex_lock(device->lock);
        pthread_mutex_unlock(device->lock);
    }
    atomic_fetch_add(&device->begun, 1);
    *handle = addr;
    return 0;
}

/* Long enough for a flush that does not wait to be over first. */
static void take_time(struct device *device, atomic_int *count)
{
    if (atomic_fetch_sub(count, 1) > 0) {
        sem_post(&device->inside);
        check_sleep_ms(100);
    }
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    (void)addr, (void)length, (void)handle;
    take_time(device, &device->slow);
    if (device->when_undone)
        device->when_undone(device);
    atomic_fetch_add(&device->undone, 1);
    return 0;
}

static void on_event(void *context, const struct kdreg_cache_event *event)
{
    (void)event;
    struct device *device = context;
    take_time(device, &device->slow_to_tell);
}

static size_t limit; /* of entries; 0: none */

static void create(struct device *device, kdreg_group_t *group, kdreg_cache_event_fn event)
{
    *device = (struct device){.slow = 0};
    sem_init(&device->inside, 0, 0);
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = device_register;
    attr.dereg = device_deregister;
    attr.ctx = device;
    attr.flags = KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER;
    attr.group = group;
    attr.max_entries = limit;
    attr.event = event;
    device->cache = new_cache(NULL, &attr);
}

static void destroy(struct device *device)
{
    CHECK_IS(kdreg_cache_destroy(device->cache), 0);
    CHECK_IS(device->undone, device->begun);
    sem_destroy(&device->inside);
}

static void *use_other(void *argument)
{
    (void)argument;
    CHECK_IS(get_put(devices[1].cache, memory + 8 * page, page), 0);
    return NULL;
}

static void use(struct device *device)
{
    CHECK_IS(get_put(device->cache, memory, page), 0);
}

static void *evict(void *argument)
{
    struct device *device = argument;
    CHECK_IS(kdreg_cache_evict(device->cache, page), 1);
    return NULL;
}

static void *invalidate(void *argument)
{
    struct device *device = argument;
    CHECK(kdreg_cache_invalidate(device->cache, memory, page) >= 0, "invalidate");
    return NULL;
}

static void *put_dropped(void *argument)
{
    struct device *device = argument;
    kdreg_entry_t *entry = NULL;
    CHECK_IS(kdreg_cache_get(device->cache, memory, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_drop(device->cache, entry, NULL, NULL), 0);
    CHECK_IS(kdreg_cache_put(device->cache, entry), 0);
    return NULL;
}

/* How another thread comes to deregister what the first cache keeps, and whether that takes a backend that watches. */
static const struct way {
    const char *name;
    void *(*run)(void *);
    bool cached, grouped, tells;
} ways[] = {
    {"last put", put_dropped, false, false, false},
    {"eviction", evict, true, false, false},
    {"invalidation", invalidate, true, false, false},
    {"get of another cache in the group", use_other, true, true, false},
    {"event, which comes first", invalidate, true, false, true},
};

static void waits(const struct way *way)
{
    if (way->cached && !watches)
        return;
    check_says("a flush waits for another thread's %s", way->name);
    kdreg_group_t *group = NULL;
    if (way->grouped) {
        struct kdreg_group_attr attr = KDREG_GROUP_ATTR_INIT;
        attr.max_entries = 1;
        CHECK_IS(kdreg_group_create(&attr, &group), 0);
        create(&devices[1], group, NULL);
    }
    struct device *device = &devices[0];
    create(device, group, way->tells ? on_event : NULL);
    for (int round = 0; round < 3; round++) {
        if (way->cached)
            use(device);
        atomic_store(way->tells ? &device->slow_to_tell : &device->slow, 1);
        pthread_t other;
        REQUIRE(pthread_create(&other, NULL, way->run, device) == 0, "pthread_create");
        while (sem_wait(&device->inside))
            ;
        CHECK(kdreg_cache_flush(device->cache) >= 0, "kdreg_cache_flush");
        CHECK_IS(device->undone, device->begun);
        pthread_join(other, NULL);
    }
    destroy(device);
    if (group) {
        destroy(&devices[1]);
        CHECK_IS(kdreg_group_destroy(group), 0);
    }
}

static void *use_more(void *argument)
{
    struct device *device = argument;
    CHECK_IS(get_put(device->cache, memory + 8 * page, page), 0);
    return NULL;
}

/* Held by who flushes, which registers nothing, and wanted by who registers. */
static void registers(void)
{
    if (!watches)
        return;
    check_says("a flush waits for no registration, not that of who evicts for it either");
    struct device *device = &devices[0];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    limit = 1;
    create(device, NULL, NULL);
    limit = 0;
    for (int round = 0; round < 3; round++) {
        use(device);
        device->lock = &lock;
        atomic_store(&device->slow, 1);
        pthread_t other;
        REQUIRE(pthread_create(&other, NULL, use_more, device) == 0, "pthread_create");
        while (sem_wait(&device->inside))
            ;
        pthread_mutex_lock(&lock);
        CHECK(kdreg_cache_flush(device->cache) >= 0, "kdreg_cache_flush");
        pthread_mutex_unlock(&lock);
        pthread_join(other, NULL);
        device->lock = NULL;
    }
    destroy(device);
}

static pthread_barrier_t both;

static void flush_other(struct device *device)
{
    pthread_barrier_wait(&both);
    CHECK(kdreg_cache_flush(devices[device == &devices[0]].cache) >= 0, "kdreg_cache_flush of the other");
    CHECK(kdreg_cache_flush(device->cache) >= 0, "kdreg_cache_flush of its own");
}

static void callbacks(void)
{
    check_says("two caches whose callbacks flush each other and themselves, at the same time");
    pthread_barrier_init(&both, NULL, DEVICES);
    pthread_t threads[DEVICES];
    for (int i = 0; i < DEVICES; i++) {
        create(&devices[i], NULL, NULL);
        devices[i].when_undone = flush_other;
    }
    for (int i = 0; i < DEVICES; i++)
        REQUIRE(pthread_create(&threads[i], NULL, put_dropped, &devices[i]) == 0, "pthread_create");
    for (int i = 0; i < DEVICES; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < DEVICES; i++)
        destroy(&devices[i]);
    pthread_barrier_destroy(&both);
}

static int heard;

/* Called in the middle of a deregistration, among others. */
static void hear(void *context, int level, const char *message)
{
    struct device *device = context;
    (void)level, (void)message;
    if (strncmp(message, "deregister ", 11) || heard++)
        return;
    CHECK(kdreg_cache_flush(device->cache) >= 0, "kdreg_cache_flush");
    CHECK_IS(kdreg_cache_drain(device->cache, NULL, NULL), -EDEADLK);
    CHECK_IS(kdreg_cache_destroy(device->cache), -EDEADLK);
}

static void logged(void)
{
    check_says("in a function of the log's nothing is waited for, nor destroyed");
    create(&devices[0], NULL, NULL);
    CHECK_IS(kdreg_add_log(hear, &devices[0], KDREG_LOG_DEBUG), 0);
    put_dropped(&devices[0]);
    CHECK(heard > 0, "it has not heard of a deregistration");
    CHECK_IS(kdreg_remove_log(hear, &devices[0]), 0);
    destroy(&devices[0]);
}

enum { THREADS = 3, FLUSHERS = 2, ROUNDS = 400, PLACES = 64 };

/* What each thread, the reaper among them, is deregistering of the crowd's cache; 0: nothing. */
static atomic_long busy[PLACES];
static atomic_long serial;
static atomic_int threads_here;
static _Thread_local int self = -1;
static kdreg_cache_t *crowd[2];

static int place(void)
{
    if (self < 0)
        self = atomic_fetch_add(&threads_here, 1) % PLACES;
    return self;
}

static int busy_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)addr, (void)length, (void)access;
    *handle = NULL;
    return 0;
}

static int busy_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)addr, (void)length, (void)handle;
    if (context) {
        atomic_store(&busy[place()], atomic_fetch_add(&serial, 1) + 1);
        sched_yield();
        atomic_store(&busy[place()], 0);
    }
    return 0;
}

static void *churn(void *argument)
{
    char *own = memory + *(int *)argument * 4 * (ptrdiff_t)page;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_IS(get_put(crowd[i % 2], own + (size_t)(i % 3) * page, page), 0);
        if (i % 5 == 0)
            CHECK(kdreg_cache_evict(crowd[0], page) >= 0, "evict");
        if (i % 7 == 0)
            CHECK(kdreg_cache_invalidate(crowd[0], own, page) >= 0, "invalidate");
    }
    return NULL;
}

static void *flush(void *argument)
{
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        long before[PLACES];
        for (int t = 0; t < PLACES; t++)
            before[t] = atomic_load(&busy[t]);
        CHECK(kdreg_cache_flush(crowd[0]) >= 0, "kdreg_cache_flush");
        for (int t = 0; t < PLACES; t++)
            CHECK(before[t] == 0 || atomic_load(&busy[t]) != before[t], "what was being deregistered before the flush still is after it");
    }
    return NULL;
}

static void crowded(bool tells, size_t max_unreleased, uint32_t flags)
{
    check_says("threads that flush, and others that evict in each other's caches: all come through%s%s", tells ? ", told of it" : "",
               max_unreleased ? ", some of it by the reaper" : "");
    struct kdreg_group_attr limits = KDREG_GROUP_ATTR_INIT;
    limits.max_entries = 3;
    kdreg_group_t *group = NULL;
    CHECK_IS(kdreg_group_create(&limits, &group), 0);
    devices[0] = (struct device){.slow = 0};
    for (int i = 0; i < 2; i++) {
        struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
        attr.reg = busy_register;
        attr.dereg = busy_deregister;
        attr.flags = KDREG_CACHE_NO_MERGE | flags;
        attr.group = group;
        attr.max_unreleased = max_unreleased;
        attr.ctx = i == 0 ? &devices[0] : NULL;
        attr.event = i == 0 && tells ? on_event : NULL;
        crowd[i] = new_cache(NULL, &attr);
    }
    pthread_t all[THREADS + FLUSHERS];
    int numbers[THREADS + FLUSHERS];
    for (int i = 0; i < THREADS + FLUSHERS; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&all[i], NULL, i < THREADS ? churn : flush, &numbers[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < THREADS + FLUSHERS; i++)
        pthread_join(all[i], NULL);
    for (int i = 0; i < 2; i++)
        CHECK_IS(kdreg_cache_destroy(crowd[i]), 0);
    CHECK_IS(kdreg_group_destroy(group), 0);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    CHECK_IS(kdreg_close(check_open_any(&watches)), 0);
    memory = check_space(32 * page);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        waits(&ways[i]);
    registers();
    callbacks();
    logged();
    crowded(false, 0, KDREG_CACHE_NO_REAPER);
    crowded(true, 0, 0);
    crowded(false, 2 * page, 0);
    crowded(true, 2 * page, KDREG_CACHE_NO_REAPER);
    return check_result("flushes");
}
