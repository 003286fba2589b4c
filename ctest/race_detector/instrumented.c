/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads that share what a cache hands out: the memory that `reg` wrote, and that `dereg` frees. In this program every access is seen by
 * ThreadSanitizer; in the library none is. */
#include <pthread.h>
#include <sched.h>

#include "../check.h"

enum { THREADS = 4, BUFFERS = 16 };

static size_t page;
static kdreg_t *monitor;
static kdreg_cache_t *cache;
static char *buffers;
static int rounds = 4000;

/* As a memory region of a card's is. */
struct region {
    size_t length;
    unsigned key;
};

static int reg(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct region *region = malloc(sizeof *region);
    (void)access;
    if (!region)
        return -ENOMEM;
    region->length = length;
    region->key = (unsigned)((uintptr_t)addr / page) | 1;
    ++*(unsigned *)context;
    *handle = region;
    return 0;
}

static int dereg(void *context, void *addr, size_t length, void *handle)
{
    struct region *region = handle;
    (void)context, (void)addr, (void)length;
    region->key = 0;
    free(region);
    return 0;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned registered;

static int locking_reg(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    pthread_mutex_lock(&lock);
    int error = reg(context, addr, length, access, handle);
    pthread_mutex_unlock(&lock);
    return error;
}

/* As CHECK, which counts, and so orders threads. */
static void must(bool condition)
{
    if (!condition)
        abort();
}

static void use(char *buffer)
{
    kdreg_entry_t *entry;
    must(kdreg_cache_get(cache, buffer, page, KDREG_ACCESS_READ, &entry) == 0);
    struct region *region = kdreg_entry_handle(entry);
    /* Others find it before this thread says anything more. */
    sched_yield();
    must(region->length >= page && region->key);
    must(kdreg_cache_put(cache, entry) == 0);
}

static void *use_all(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < rounds; i++) {
        seed = seed * 1103515245 + 12345;
        use(buffers + (seed >> 16) % BUFFERS * page);
        if (i % 64 == 0) {
            char *memory = check_space(page);
            use(memory);
            munmap(memory, page);
        }
        if (i % 512 == 0)
            CHECK(kdreg_cache_flush(cache) >= 0, "flush");
        if (i % 128 == 0)
            CHECK(kdreg_cache_invalidate(cache, buffers, 2 * page) >= 0, "invalidate");
        if (i % 100 == 0)
            CHECK(kdreg_cache_reap(cache) >= 0, "reap");
    }
    return NULL;
}

static void *watch_all(void *argument)
{
    (void)argument;
    for (int i = 0; i < rounds / 4; i++) {
        struct kdreg_region region;
        struct kdreg_event events[4];
        char *memory = check_space(page);
        CHECK_IS(kdreg_monitor(monitor, memory, page, 1, &region), 0);
        (void)kdreg_valid(&region);
        if (i % 2)
            munmap(memory, page);
        CHECK(!(i % 2) || !kdreg_valid(&region), "valid after munmap");
        CHECK(kdreg_check(monitor, events, 4) >= 0, "check");
        if (i % 2 == 0) {
            CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
            munmap(memory, page);
        }
    }
    return NULL;
}

/* One thread registers, and one finds, with nothing between them but the cache: what the flags say orders nothing. */
static atomic_int stage;

static void reach(int number) { atomic_store_explicit(&stage, number, memory_order_relaxed); }

static void await(int number)
{
    while (atomic_load_explicit(&stage, memory_order_relaxed) != number)
        sched_yield();
}

static void *hand_over(void *argument)
{
    kdreg_entry_t *entry;
    if (argument) {
        must(kdreg_cache_get(cache, buffers, page, KDREG_ACCESS_READ, &entry) == 0);
        reach(1);
        await(2);
        must(kdreg_cache_invalidate(cache, buffers, page) == 1);
        must(kdreg_cache_put(cache, entry) == 0);
        reach(3);
    } else {
        await(1);
        must(kdreg_cache_get(cache, buffers, page, KDREG_ACCESS_READ, &entry) == 0);
        reach(2);
        await(3);
        struct region *region = kdreg_entry_handle(entry);
        must(region->length == page && region->key);
        /* The last: frees what the other thread allocated. */
        must(kdreg_cache_put(cache, entry) == 0);
    }
    return NULL;
}

static int unordered;

static void *race(void *argument)
{
    unordered++;
    use_all(argument);
    unordered++;
    return NULL;
}

static void in_threads(void *(*function)(void *))
{
    pthread_t threads[THREADS];
    int count = function == hand_over ? 2 : THREADS;
    for (intptr_t i = 0; i < count; i++)
        REQUIRE(pthread_create(&threads[i], NULL, function, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void with_cache(uint32_t flags, void *(*function)(void *))
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = locking_reg, .dereg = dereg, .ctx = &registered,
                                    .flags = flags | KDREG_CACHE_NO_MERGE, .max_entries = BUFFERS / 2};
    CHECK_IS(kdreg_cache_create(monitor, &attr, &cache), 0);
    buffers = check_space(BUFFERS * page);
    in_threads(function);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(buffers, BUFFERS * page);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    check_watchdog(240);
    page = (size_t)sysconf(_SC_PAGESIZE);
    if (strcmp(what, "nothing") == 0)
        return 0;
    CHECK_IS(kdreg_open(NULL, &monitor), 0);
    if (strcmp(what, "racy") == 0) {
        rounds = 64;
        with_cache(KDREG_CACHE_NO_REAPER, race);
    } else if (strcmp(what, "reaper") == 0) {
        with_cache(0, use_all);
    } else if (strcmp(what, "monitor") == 0) {
        in_threads(watch_all);
    } else if (strcmp(what, "handover") == 0) {
        for (int i = 0; i < 20; i++) {
            reach(0);
            with_cache(KDREG_CACHE_NO_REAPER, hand_over);
        }
    } else {
        with_cache(KDREG_CACHE_NO_REAPER, use_all);
    }
    CHECK_IS(kdreg_close(monitor), 0);
    puts("done");
    return check_result("instrumented");
}
