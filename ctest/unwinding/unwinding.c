/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A callback that does not return, in every call that calls one: its thread ends, or the exception arrives, as if the library were not between;
 * and the cache is as good as before. */
#include <sched.h>

#include "callbacks.h"

enum { PAGES = 32 };

/* One call, and what it needs to call a callback. */
struct scene {
    const char *name;
    enum callback callback;
    size_t max_entries, max_bytes; /* the last in pages */
    int capacity;
    void (*prepare)(struct scene *);
    void (*call)(struct scene *);
    bool nested;
    struct device *device;
    kdreg_cache_t *cache;
    kdreg_entry_t *entry;
    char *memory;
};

static void at(struct scene *scene, size_t first, size_t pages)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(scene->cache, scene->memory + first * page, pages * page, KDREG_ACCESS_READ, &entry);
    CHECK(error == 0, "%s: kdreg_cache_get: %s", scene->name, kdreg_strerror(error));
    CHECK_IS(kdreg_cache_put(scene->cache, entry), 0);
}

static void nothing(struct scene *scene) { (void)scene; }
static void one(struct scene *scene) { at(scene, 0, 1); }
static void four(struct scene *scene)
{
    for (size_t i = 0; i < 4; i++)
        at(scene, 4 * i, 1);
}
static void hold_dropped(struct scene *scene)
{
    CHECK_IS(kdreg_cache_get(scene->cache, scene->memory, page, KDREG_ACCESS_READ, &scene->entry), 0);
    CHECK_IS(kdreg_cache_invalidate(scene->cache, scene->memory, page), 1);
}
static void changed(struct scene *scene)
{
    four(scene);
    REQUIRE(mmap(scene->memory, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED, "mmap");
}

static void get_new(struct scene *scene) { at(scene, 20, 1); }
static void get_first(struct scene *scene) { at(scene, 0, 1); }
static void get_larger(struct scene *scene) { at(scene, 0, 2); }
static void get_list(struct scene *scene)
{
    struct iovec list[] = {{scene->memory, page}, {scene->memory + 8 * page, page}};
    kdreg_entry_t *entries[2];
    kdreg_cache_getv(scene->cache, list, 2, KDREG_ACCESS_READ, entries);
}
static void put(struct scene *scene) { kdreg_cache_put(scene->cache, scene->entry); }
static void flush(struct scene *scene) { kdreg_cache_flush(scene->cache); }
static void invalidate(struct scene *scene) { kdreg_cache_invalidate(scene->cache, scene->memory, PAGES * page); }
/* Events may come a moment after what they tell of. */
static void reap(struct scene *scene)
{
    while (atomic_load(&scene->device->armed)) {
        kdreg_cache_reap(scene->cache);
        sched_yield();
    }
}
static void destroy(struct scene *scene) { kdreg_cache_destroy(scene->cache); }
static void find(struct scene *scene)
{
    kdreg_entry_t *entry;
    kdreg_cache_find(scene->cache, scene->memory, page, KDREG_ACCESS_READ, &entry);
    reap(scene);
}

static struct scene scenes[] = {
    {"get registers", REGISTER, 0, 0, 0, nothing, get_new, false, NULL, NULL, NULL, NULL},
    {"get registers what is larger", REGISTER, 0, 0, 0, one, get_larger, false, NULL, NULL, NULL, NULL},
    {"get registers uncached", REGISTER, 0, 1, 0, nothing, get_larger, false, NULL, NULL, NULL, NULL},
    {"get evicts", DEREGISTER, 4, 0, 0, four, get_new, false, NULL, NULL, NULL, NULL},
    {"get registers in place of another", DEREGISTER, 0, 0, 0, one, get_larger, false, NULL, NULL, NULL, NULL},
    {"get evicts for want of memory", DEREGISTER, 0, 0, 4, four, get_new, false, NULL, NULL, NULL, NULL},
    {"get for want of memory", REGISTER, 0, 0, 4, four, get_new, false, NULL, NULL, NULL, NULL},
    {"get finds what has changed", DEREGISTER, 0, 0, 0, changed, get_first, false, NULL, NULL, NULL, NULL},
    {"getv undoes what it registered", DEREGISTER, 0, 0, 1, nothing, get_list, false, NULL, NULL, NULL, NULL},
    {"find finds what has changed", DEREGISTER, 0, 0, 0, changed, find, false, NULL, NULL, NULL, NULL},
    {"put is the last", DEREGISTER, 0, 0, 0, hold_dropped, put, false, NULL, NULL, NULL, NULL},
    {"flush", DEREGISTER, 0, 0, 0, four, flush, false, NULL, NULL, NULL, NULL},
    {"invalidate", DEREGISTER, 0, 0, 0, four, invalidate, false, NULL, NULL, NULL, NULL},
    {"reap", DEREGISTER, 0, 0, 0, changed, reap, false, NULL, NULL, NULL, NULL},
    {"destroy", DEREGISTER, 0, 0, 0, four, destroy, false, NULL, NULL, NULL, NULL},
    {"get in a callback", REGISTER, 0, 0, 0, nothing, get_new, true, NULL, NULL, NULL, NULL},
};

static atomic_bool cleaned;
static atomic_bool arrived;

static void clean(void *argument)
{
    (void)argument;
    atomic_store(&cleaned, true);
}

static void call(void *argument)
{
    struct scene *scene = argument;
    scene->call(scene);
}

struct run {
    struct scene *scene;
    enum way way;
};

static void *run_scene(void *argument)
{
    struct run *run = argument;
    pthread_cleanup_push(clean, NULL);
    if (run->way == BY_THROWING) {
        atomic_store(&arrived, threw_it(call, run->scene));
        CHECK_IS(uncaught(), 0);
    } else {
        call(run->scene);
        atomic_store(&arrived, true);
    }
    pthread_cleanup_pop(run->way == BY_THROWING);
    return NULL;
}

static void play(kdreg_t *monitor, struct scene *scene, enum way way)
{
    char what[128];
    snprintf(what, sizeof what, "%s, a callback %s", scene->name, ways[way]);
    struct device device = {.way = way}, outer = {.way = way};
    kdreg_cache_t *inner = device_cache(monitor, &device, KDREG_CACHE_NO_REAPER, scene->max_entries, scene->max_bytes * page);
    kdreg_cache_t *cache = inner;
    if (scene->nested) {
        outer.other = inner;
        cache = device_cache(monitor, &outer, KDREG_CACHE_NO_REAPER, 0, 0);
    }
    scene->cache = cache;
    scene->device = &device;
    scene->memory = check_space(PAGES * page);
    scene->prepare(scene);
    atomic_store(&cleaned, false);
    atomic_store(&arrived, false);
    atomic_store(&waiting, false);
    device.capacity = scene->capacity;
    atomic_store(&device.armed, scene->callback);
    struct run run = {scene, way};
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, run_scene, &run) == 0, "pthread_create");
    if (way == BY_BEING_CANCELLED) {
        CHECK_EVENTUALLY(atomic_load(&waiting), 60, "%s: the callback is not called", what);
        pthread_cancel(thread);
    }
    pthread_join(thread, &result);
    CHECK(device.armed == NEITHER, "%s: it was not called", what);
    atomic_store(&device.armed, NEITHER);
    CHECK(result == left_with(way), "%s: the thread ended with %p", what, result);
    CHECK(cleaned, "%s: cleanup handlers did not run", what);
    CHECK(arrived == (way == BY_THROWING), "%s: %s", what, arrived ? "the call returned" : "the exception did not arrive");
    CHECK(alive() == 0, "%s: %d exceptions were not destroyed", what, alive());
    device.capacity = 0;
    device_check(inner, &device, what);
    if (scene->nested) {
        outer.other = NULL;
        device_check(cache, &outer, what);
        CHECK_IS(kdreg_cache_destroy(cache), 0);
    }
    CHECK_IS(kdreg_cache_destroy(inner), 0);
    munmap(scene->memory, PAGES * page);
}

/* Not only the first one of a call: each time another thread comes to the callback that is in the way, one registration less is left. */
static void *flush_once(void *cache)
{
    kdreg_cache_flush(cache);
    kdreg_cache_reap(cache);
    return NULL;
}

static void every_time(kdreg_t *monitor)
{
    check_says("a deregister that always ends its thread: one thread for each registration, and none is left");
    struct device device = {.way = BY_EXIT, .always = DEREGISTER};
    kdreg_cache_t *cache = device_cache(monitor, &device, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 0, 0);
    char *memory = check_space(8 * page);
    for (size_t i = 0; i < 8; i++)
        CHECK_IS(get_put(cache, memory + i * page, page), 0);
    for (int left = 7; left >= 0; left--) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, flush_once, cache) == 0, "pthread_create");
        pthread_join(thread, NULL);
        CHECK_IS(device.pinned, left);
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 8 * page);
}

static void drain(struct scene *scene) { kdreg_cache_drain(scene->cache, NULL, NULL); }

/* Runs a scene's call in a thread that leaves it by a callback. */
static void leave_by(struct scene *scene, enum callback callback, enum way way)
{
    atomic_store(&waiting, false);
    atomic_store(&arrived, false);
    atomic_store(&scene->device->armed, callback);
    struct run run = {scene, way};
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, run_scene, &run) == 0, "pthread_create");
    if (way == BY_BEING_CANCELLED) {
        CHECK_EVENTUALLY(atomic_load(&waiting), 60, "%s: the callback is not called", scene->name);
        pthread_cancel(thread);
    }
    pthread_join(thread, &result);
    CHECK(atomic_load(&scene->device->armed) == NEITHER, "%s: it was not called", scene->name);
    CHECK(result == left_with(way) && arrived == (way == BY_THROWING), "%s: the thread ended with %p", scene->name, result);
}

static void drained(kdreg_t *monitor)
{
    check_says("drain that waits, and a callback does not return: nor does it wait");
    for (enum way way = 0; way < WAYS; way++) {
        struct device device = {.way = way};
        struct scene scene = {.name = "drain", .call = drain, .device = &device, .memory = check_space(PAGES * page)};
        scene.cache = device_cache(monitor, &device, KDREG_CACHE_NO_REAPER, 0, 0);
        four(&scene);
        leave_by(&scene, DEREGISTER, way);
        CHECK_IS(kdreg_cache_drain(scene.cache, NULL, NULL), 0);
        CHECK_IS(device.pinned, 0);
        CHECK_IS(kdreg_cache_destroy(scene.cache), 0);
        munmap(scene.memory, PAGES * page);
    }
}

static void leaving_event(void *context, const struct kdreg_cache_event *event)
{
    (void)event;
    leave_perhaps(context, EVENT);
}

static size_t leaving_dump(void *context, const kdreg_entry_t *entry, char *text, size_t size)
{
    struct device *device = context;
    (void)entry;
    (void)text;
    (void)size;
    atomic_fetch_add(&device->calls, 1);
    if (atomic_load(&device->always) == DUMP)
        atomic_store(&device->armed, NEITHER);
    leave_perhaps(device, DUMP);
    return 0;
}

static void dump(struct scene *scene) { kdreg_cache_dump(scene->cache, open("/dev/null", O_WRONLY | O_CLOEXEC)); }

static void not_told_of(kdreg_t *monitor)
{
    check_says("an event that does not return: what is left to be told of is deregistered at the latest with the cache");
    for (int drains = 0; drains <= 1; drains++) {
        for (enum way way = 0; way < WAYS; way++) {
            struct device device = {.way = way};
            struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister, .ctx = &device,
                                            .flags = KDREG_CACHE_NO_REAPER, .event = leaving_event, .dump = leaving_dump};
            struct scene scene = {.name = "flush", .call = flush, .device = &device, .memory = check_space(PAGES * page)};
            CHECK_IS(kdreg_cache_create(monitor, &attr, &scene.cache), 0);
            four(&scene);
            leave_by(&scene, EVENT, way);
            CHECK(device.pinned > 1, "%d are left", device.pinned);
            if (drains)
                CHECK_IS(kdreg_cache_drain(scene.cache, NULL, NULL), 0);
            CHECK_IS(kdreg_cache_destroy(scene.cache), 0);
            CHECK_IS(device.pinned, 0);
            munmap(scene.memory, PAGES * page);
        }
    }

    check_says("a description that ends its thread, of each entry: asked for one");
    struct device device = {.way = BY_EXIT};
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = device_register, .dereg = device_deregister, .ctx = &device,
                                    .flags = KDREG_CACHE_NO_REAPER, .dump = leaving_dump};
    struct scene scene = {.name = "dump", .call = dump, .device = &device, .memory = check_space(PAGES * page)};
    CHECK_IS(kdreg_cache_create(monitor, &attr, &scene.cache), 0);
    four(&scene);
    device.calls = 0;
    device.always = DUMP;
    leave_by(&scene, DUMP, BY_EXIT);
    CHECK_IS(device.calls, 1);
    device.always = NEITHER;
    CHECK_IS(kdreg_cache_destroy(scene.cache), 0);
    munmap(scene.memory, PAGES * page);
}

static void no_handler(kdreg_t *monitor)
{
    check_says("an exception without a handler: std::terminate()");
    (void)monitor;
    pid_t child = check_fork();
    if (child == 0) {
        terminate_with(42);
        struct device device = {.way = BY_THROWING, .always = REGISTER};
        kdreg_cache_t *cache = device_cache(NULL, &device, KDREG_CACHE_NO_REAPER, 0, 0);
        get_put(cache, check_space(page), page);
        _exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42, "the child's status is %#x", status);
}

static void ending_log(void *context, int level, const char *message)
{
    (void)level;
    (void)message;
    atomic_int *left = context;
    if (atomic_fetch_sub(left, 1) == 1)
        pthread_exit((void *)7);
}

static void throwing_log(void *context, int level, const char *message)
{
    (void)level;
    (void)message;
    atomic_fetch_add((atomic_int *)context, 1);
    throw_it();
}

static void *get_one(void *argument)
{
    struct scene *scene = argument;
    return (void *)(intptr_t)get_put(scene->cache, scene->memory, page);
}

static void log_functions(kdreg_t *monitor)
{
    check_says("a log function that ends its thread, at each message of a call; one that throws");
    struct device device = {.way = BY_EXIT};
    for (int messages = 1; messages <= 4; messages++) {
        struct scene scene = {.name = "log", .memory = check_space(page)};
        scene.cache = device_cache(monitor, &device, KDREG_CACHE_NO_REAPER, 1, 0);
        CHECK_IS(get_put(scene.cache, check_space(page), page), 0);
        atomic_int left = messages;
        CHECK_IS(kdreg_set_log(ending_log, &left, KDREG_LOG_DEBUG), 0);
        pthread_t thread;
        void *result;
        REQUIRE(pthread_create(&thread, NULL, get_one, &scene) == 0, "pthread_create");
        pthread_join(thread, &result);
        CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
        CHECK(left > 0 || result == (void *)7, "the thread ended with %p after %d messages", result, messages);
        device_check(scene.cache, &device, "a log function that ends its thread");
        CHECK_IS(kdreg_cache_destroy(scene.cache), 0);
    }
    struct scene scene = {.name = "log", .memory = check_space(page)};
    scene.cache = device_cache(monitor, &device, KDREG_CACHE_NO_REAPER, 0, 0);
    atomic_int called = 0;
    CHECK_IS(kdreg_set_log(throwing_log, &called, KDREG_LOG_DEBUG), 0);
    CHECK_IS((intptr_t)get_one(&scene), 0);
    CHECK_IS(kdreg_cache_flush(scene.cache), 1);
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    CHECK(called >= 2, "%d messages", called);
    CHECK_IS(alive(), 0);
    CHECK_IS(uncaught(), 0);
    device_check(scene.cache, &device, "a log function that throws");
    CHECK_IS(kdreg_cache_destroy(scene.cache), 0);
}

int main(void)
{
    check_watchdog(240);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        check_says("%s, and a callback does not return", scenes[i].name);
        for (enum way way = 0; way < WAYS; way++)
            play(monitor, &scenes[i], way);
    }
    every_time(monitor);
    drained(monitor);
    not_told_of(monitor);
    log_functions(monitor);
    no_handler(monitor);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("unwinding");
}
