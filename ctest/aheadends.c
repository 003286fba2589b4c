/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Registering ahead of use, and its end: drains, callbacks that end their thread, forks, exits, many at once. On every backend. */
#include "ahead.h"

static void drained(void *semaphore)
{
    sem_post(semaphore);
}

struct drained {
    struct device device;
    kdreg_cache_t *cache;
};

/* Opens the gate once the drain has begun. */
static void *opens(void *argument)
{
    struct drained *it = argument;
    kdreg_entry_t *entry = NULL;
    while (kdreg_cache_find(it->cache, region(100), page, KDREG_ACCESS_READ, &entry) != -ESHUTDOWN)
        check_sleep_ms(1);
    sem_post(&it->device.open);
    return NULL;
}

static void drains(bool waits)
{
    check_says("a drain %s: what is being registered is handed over, what waits is not registered", waits ? "that waits" : "with a callback");
    enum { COUNT = 8 };
    struct drained it = {.device = {.gate = true}};
    it.cache = create(&it.device, 0);
    struct told all[COUNT] = {{.puts = waits ? it.cache : NULL}};
    sem_t done;
    sem_init(&done, 0, 0);
    pthread_t other;
    for (int i = 0; i < COUNT; i++)
        CHECK_IS(prefetch(it.cache, i, i == 3 ? NULL : &all[i]), 0);
    wait_for(&it.device.arrived);
    REQUIRE(pthread_create(&other, NULL, opens, &it) == 0, "pthread_create");
    CHECK_IS(kdreg_cache_drain(it.cache, waits ? NULL : drained, &done), 0);
    wait_for(&all[0].done);
    CHECK_IS(all[0].status, 0);
    if (!waits) {
        CHECK_IS(kdreg_cache_destroy(it.cache), -EBUSY);
        CHECK(sem_trywait(&done) == -1, "drained while an entry is held");
        CHECK_IS(kdreg_cache_put(it.cache, all[0].entry), 0);
        wait_for(&done);
    }
    for (int i = 1; i < COUNT; i++) {
        if (i == 3)
            continue;
        CHECK(sem_trywait(&all[i].done) == 0, "drained before all are told");
        CHECK(all[i].calls == 1 && all[i].status == -ESHUTDOWN && !all[i].entry, "told %d", all[i].status);
    }
    pthread_join(other, NULL);
    CHECK_IS(it.device.calls, 1);
    kdreg_entry_t *entry = NULL;
    CHECK_IS(prefetch(it.cache, 0, NULL), -ESHUTDOWN);
    CHECK_IS(try_get(it.cache, 0, &entry), -ESHUTDOWN);
    destroy(it.cache, &it.device);
}

static void ended(void)
{
    check_says("callbacks that end the thread: what waits is told by another one");
    struct device device = {.end_at = 1};
    kdreg_cache_t *cache = create(&device, 0);
    struct told all[3] = {{.calls = 0}, {.end_thread = true}};
    for (int i = 0; i < 3; i++)
        CHECK_IS(prefetch(cache, i, &all[i]), 0);
    for (int i = 0; i < 3; i++) {
        wait_for(&all[i].done);
        CHECK(all[i].calls == 1 && all[i].status == (i == 0 ? -ECANCELED : 0), "told %d", all[i].status);
        if (all[i].entry)
            CHECK_IS(kdreg_cache_put(cache, all[i].entry), 0);
    }
    kdreg_entry_t *entry = NULL;
    device.end_at = device.calls + 1;
    if (watches) {
        CHECK_IS(poll_for(cache, 5, &entry), -ECANCELED);
        CHECK_IS(poll_for(cache, 5, &entry), 0);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
    destroy(cache, &device);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* A device whose deregistrations ask for more, or wait at a gate. */
struct late {
    struct device device; /* the first: of late_deregister's context */
    kdreg_cache_t *cache;
    struct told told;
    bool asks, gate;
    int asked, polled;
    sem_t arrived, open;
};

static int late_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct late *late = context;
    if (late->asks) {
        kdreg_entry_t *entry;
        late->asked = prefetch(late->cache, 1, &late->told);
        late->polled = try_get(late->cache, 2, &entry);
    }
    if (late->gate) {
        sem_post(&late->arrived);
        wait_for(&late->open);
    }
    return device_deregister(context, addr, length, handle);
}

static void create_late(struct late *late)
{
    sem_init(&late->arrived, 0, 0);
    sem_init(&late->open, 0, 0);
    late->cache = create_with(&late->device, 0, late_deregister);
}

static kdreg_entry_t *poll_late(struct late *late, int pages)
{
    kdreg_entry_t *entry = NULL;
    CHECK_IS(poll_range(late->cache, region(0), (size_t)pages * page, &entry), 0);
    return entry;
}

static void asked_late(void)
{
    check_says("what a callback asks for while the cache is destroyed is refused");
    struct late late = {.asks = true, .asked = 1, .polled = 1};
    create_late(&late);
    CHECK_IS(kdreg_cache_put(late.cache, poll_late(&late, 1)), 0);
    destroy(late.cache, &late.device);
    CHECK_IS(late.asked, -ESHUTDOWN);
    CHECK_IS(late.polled, -ESHUTDOWN);
    CHECK_IS(late.told.calls, 0);
}

static void *opens_late(void *argument)
{
    struct late *late = argument;
    check_sleep_ms(50);
    sem_post(&late->open);
    return NULL;
}

static void held_by_its_own(void)
{
    check_says("destroy waits for the cache's own thread to put what it has just made to be found");
    struct late late = {.gate = false};
    create_late(&late);
    CHECK_IS(kdreg_cache_put(late.cache, poll_late(&late, 1)), 0);
    for (int held = 1; held >= 0; held--) {
        /* It takes the place of the smaller one, which is deregistered when it can be found already. */
        late.gate = true;
        kdreg_entry_t *entry = poll_late(&late, 3 - held);
        wait_for(&late.arrived);
        late.gate = false;
        if (!held)
            CHECK_IS(kdreg_cache_put(late.cache, entry), 0);
        pthread_t other;
        REQUIRE(pthread_create(&other, NULL, opens_late, &late) == 0, "pthread_create");
        CHECK_IS(kdreg_cache_destroy(late.cache), held ? -EBUSY : 0);
        pthread_join(other, NULL);
        if (held)
            CHECK_IS(kdreg_cache_put(late.cache, entry), 0);
    }
    CHECK_IS(late.device.live, 0);
}

static void forked(void)
{
    check_says("a child has neither the cache nor what waits, and makes its own; a process exits while something is registered");
    struct device device = {.gate = true};
    kdreg_cache_t *cache = create(&device, 0);
    kdreg_entry_t *entry = NULL;
    struct told told = {0};
    CHECK_IS(prefetch(cache, 0, &told), 0);
    CHECK_IS(prefetch(cache, 1, NULL), 0);
    wait_for(&device.arrived);
    pid_t child = check_fork();
    if (child == 0) {
        CHECK_IS(try_get(cache, 0, &entry), -ECHILD);
        CHECK_IS(prefetch(cache, 0, &told), -ECHILD);
        struct device own = {0};
        struct told its = {0};
        cache = create(&own, 0);
        CHECK_IS(prefetch(cache, 0, &its), 0);
        wait_for(&its.done);
        CHECK_IS(its.status, 0);
        CHECK_IS(kdreg_cache_put(cache, its.entry), 0);
        destroy(cache, &own);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "the child failed");
    device.gate = false;
    sem_post(&device.open);
    wait_for(&told.done);
    CHECK_IS(kdreg_cache_put(cache, told.entry), 0);
    destroy(cache, &device);
    for (int in_callback = 0; in_callback < 2; in_callback++) {
        fflush(NULL);
        child = fork();
        if (child == 0) {
            struct device own = {.gate = !in_callback, .exit_at = in_callback};
            cache = create(&own, 0);
            CHECK_IS(prefetch(cache, 0, &told), 0);
            CHECK_IS(prefetch(cache, 1, &told), 0);
            wait_for(in_callback ? &told.done : &own.arrived);
            exit(3);
        }
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3, "ended by %x", status);
    }
}

static void *crowded(void *argument)
{
    kdreg_cache_t *cache = argument;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();
    for (int round = 0; round < 2000; round++) {
        int index = rand_r(&seed) % 32;
        kdreg_entry_t *entry = NULL;
        int status = try_get(cache, index, &entry);
        /* Not kept: what changed meanwhile, or might have. */
        CHECK(status == 0 || status == -EAGAIN || status == -ENOENT, "try_get is %d", status);
        if (status == 0)
            CHECK_IS(kdreg_cache_put(cache, entry), 0);
        if (round % 7 == 0)
            CHECK(kdreg_cache_invalidate(cache, region(rand_r(&seed) % 32), page) >= 0, "invalidate");
        if (round % 50 == 0) {
            struct told told = {0};
            CHECK_IS(prefetch(cache, index, &told), 0);
            wait_for(&told.done);
            CHECK_IS(told.status, 0);
            CHECK_IS(kdreg_cache_put(cache, told.entry), 0);
        }
    }
    return NULL;
}

static void together(void)
{
    check_says("threads that poll, are told, and invalidate; drained at the end");
    for (int round = 0; round < 10; round++) {
        struct device device = {0};
        kdreg_cache_t *cache = create(&device, 0);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            REQUIRE(pthread_create(&threads[i], NULL, crowded, cache) == 0, "pthread_create");
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        CHECK_IS(kdreg_cache_drain(cache, NULL, NULL), 0);
        destroy(cache, &device);
    }
}

int main(void)
{
    kdreg_t *monitor = begin(128);
    drains(false);
    drains(true);
    ended();
    if (watches) {
        asked_late();
        held_by_its_own();
    }
    if (SANITIZED)
        check_says("not what children do: they leak what they leave, and may not start threads");
    else
        forked();
    together();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("aheadends");
}
