/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that is not there. Each allocation that a call makes is refused in turn, the first, the second, and so on until the call makes no more:
 * every time it succeeds, or is -ENOMEM and has changed nothing. A hit allocates nothing, the first of a thread included. */
#include <pthread.h>

#include "plain.h"
#include "refusing.h"

static const struct kdreg_cache_attr cache_attr = {.size = sizeof cache_attr, .reg = plain_register, .dereg = plain_deregister};
static kdreg_t *monitor, *made_monitor;
static kdreg_cache_t *cache, *made_cache;
static struct kdreg_region region;
static char *memory;
static size_t next_page;

static int opens(void) { return kdreg_open(NULL, &made_monitor); }
static void closes(void) { CHECK_IS(kdreg_close(made_monitor), 0); }
static int opens_private(void)
{
    struct kdreg_attr attr = {.size = sizeof attr, .flags = KDREG_OPEN_PRIVATE};
    return kdreg_open(&attr, &made_monitor);
}
static int makes_cache(void) { return kdreg_cache_create(NULL, &cache_attr, &made_cache); }
static int makes_on_monitor(void) { return kdreg_cache_create(monitor, &cache_attr, &made_cache); }
static void destroys(void) { CHECK_IS(kdreg_cache_destroy(made_cache), 0); }
static int monitors(void) { return kdreg_monitor(monitor, memory + next_page++ % 1024 * 65536, 4096, 1, &region); }
static void unmonitors(void) { CHECK_IS(kdreg_unmonitor(monitor, &region), 0); }
static int gets(void)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, memory + next_page++ % 1024 * 65536, 4096, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}
static int gets_much(void)
{
    /* Until something has to grow. */
    for (int index = 0; index < 700; index++) {
        int error = gets();
        if (error)
            return error;
    }
    return 0;
}
static int hits(void)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, memory, 4096, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}
static int finds(void)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_find(cache, memory, 4096, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}
static int invalidates(void) { return kdreg_cache_invalidate(cache, memory + 65536, 65536) < 0; }
static int flushes(void) { return kdreg_cache_flush(cache) < 0; }
static int reaps(void) { return kdreg_cache_reap(cache) < 0; }
static int counts(void)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    return kdreg_cache_stats(cache, &stats);
}
static int nowhere;
static int dumps(void) { return kdreg_cache_dump(cache, nowhere); }
static void hears(void *context, int level, const char *message) { (void)context, (void)level, (void)message; }
static char heard[100000];
static int sets_the_log(void) { return kdreg_set_log(hears, &heard[next_page++ % sizeof heard], KDREG_LOG_DEBUG); }
static void unsets_the_log(void) { kdreg_set_log(NULL, NULL, KDREG_LOG_ERROR); }

static const struct call calls[] = {
    {"kdreg_open, shared", opens, closes},
    {"kdreg_open, private", opens_private, closes},
    {"kdreg_cache_create", makes_cache, destroys},
    {"kdreg_cache_create on a monitor", makes_on_monitor, destroys},
    {"kdreg_monitor", monitors, unmonitors},
    {"kdreg_cache_get that registers", gets, nothing},
    {"kdreg_cache_get, many", gets_much, nothing},
    {"kdreg_cache_get that hits", hits, nothing},
    {"kdreg_cache_find", finds, nothing},
    {"kdreg_cache_invalidate", invalidates, nothing},
    {"kdreg_cache_stats", counts, nothing},
    {"kdreg_cache_dump", dumps, nothing},
    {"kdreg_cache_flush", flushes, nothing},
    {"kdreg_cache_reap", reaps, nothing},
    {"kdreg_set_log", sets_the_log, unsets_the_log},
};

static void *in_thread(void *call)
{
    atomic_store(&allocations, 0);
    atomic_store(&refused, -1);
    atomic_store(&counting, true);
    int error = ((const struct call *)call)->call();
    atomic_store(&counting, false);
    return (void *)(intptr_t)error;
}

static void no_allocation_at_all(void)
{
    static const struct call without[] = {{"a thread's first hit", hits, nothing}, {"a thread's first find", finds, nothing}};
    check_says("a hit allocates nothing, the first of a thread included");
    REQUIRE(hits() == 0, "kdreg_cache_get");
    for (size_t index = 0; index < 2; index++) {
        pthread_t thread;
        void *error;
        REQUIRE(pthread_create(&thread, NULL, in_thread, (void *)&without[index]) == 0, "pthread_create");
        pthread_join(thread, &error);
        CHECK(error == NULL, "%s: %s", without[index].name, kdreg_strerror((int)(intptr_t)error));
        CHECK(atomic_load(&allocations) == 0, "%s allocates %ld times", without[index].name, atomic_load(&allocations));
    }
    check_says("nor does a thread's first registration need memory of malloc()");
    static const struct call first = {"a thread's first get", gets, nothing};
    pthread_t thread;
    void *error;
    REQUIRE(pthread_create(&thread, NULL, in_thread, (void *)&first) == 0, "pthread_create");
    pthread_join(thread, &error);
    CHECK(error == NULL || (intptr_t)error == -ENOMEM, "a thread's first get: %s", kdreg_strerror((int)(intptr_t)error));
}

int main(void)
{
    check_watchdog(500);
    memory = check_space(1024 * 65536);
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    kdreg_set_log(NULL, NULL, KDREG_LOG_ERROR);
    check_says("each allocation refused in turn, in a process that has not used the library");
    for (size_t index = 0; index < 3; index++)
        refuse_first(&calls[index]);
    monitor = check_open(0);
    REQUIRE(kdreg_cache_create(monitor, &cache_attr, &cache) == 0, "kdreg_cache_create");
    REQUIRE(hits() == 0, "kdreg_cache_get");
    check_says("each allocation of a call refused in turn");
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++)
        refuse_each(&calls[index], "");
    no_allocation_at_all();
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("memory");
}
