/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The import, over a stand-in for libfabric: order of calls, locks, counted ranges, what is released without a lookup,
 * and a storm of threads that reuse addresses. Needs no device and no libfabric.
 *
 *   import FAKE-LIBFABRIC.so [ROUNDS]
 */
#include "fake_libfabric.h"

#include "../check.h"
#include "stations.h"
#include <dlfcn.h>
#include <errno.h>
#include <kdreg.h>
#include <kdreg/fabric.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What must hold for anything later to make sense. */
#define HOLDS(condition) REQUIRE(condition, "%s", #condition)

#define LENGTH 4096
#define THREADS 4
#define STATIONS 6

static int (*open_cache)(void);
static void (*close_cache)(void);
static uint64_t (*lookup)(int, const void *, size_t, int *);
static size_t (*entries)(int);
static int (*notified_early)(void);

static struct kdreg_fabric_stats statistics(kdreg_fabric_t *import)
{
    struct kdreg_fabric_stats stats = { .size = sizeof stats };
    HOLDS(kdreg_fabric_stats(import, &stats) == 0);
    return stats;
}

static void steps(kdreg_fabric_t *import)
{
    uint64_t *word = station_map(station_address(STATIONS), LENGTH, 0);
    int hit;
    *word = 1;
    HOLDS(lookup(0, word, LENGTH, &hit) == 1 && !hit);
    HOLDS(lookup(0, word, LENGTH, &hit) == 1 && hit);
    /* A second domain holds the same range: one watch for both. */
    HOLDS(lookup(1, word, LENGTH, &hit) == 1 && !hit);
    HOLDS(lookup(1, word, LENGTH, &hit) == 1 && hit);
    HOLDS(statistics(import).ranges == 1);
    munmap(word, LENGTH);
    station_map(word, LENGTH, 0);
    *word = 2;
    HOLDS(lookup(0, word, LENGTH, &hit) == 2 && !hit);
    /* The first domain's new subscription does not make the second's old registration good. */
    HOLDS(lookup(1, word, LENGTH, &hit) == 2 && !hit);

    /* What nobody looks up is dropped all the same. */
    munmap(word, LENGTH);
    CHECK_EVENTUALLY(entries(0) + entries(1) == 0, 60, "registrations of memory that is gone were not dropped");
    HOLDS(statistics(import).ranges == 0);
    HOLDS(statistics(import).notifications > 0);

    station_map(word, LENGTH, 0);
    lookup(0, word, LENGTH, &hit);
    HOLDS(kdreg_fabric_release(import) == -EBUSY);
}

static struct station {
    pthread_mutex_t lock;
    uint64_t *memory;
    bool mapped;
} stations[STATIONS];
static atomic_ulong stale, hits, serial = 100;
static int rounds = 20000;
static double storm_ends; /* on a machine that is too busy for all rounds */
static atomic_int lookups;

static void *storm(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < rounds && check_now() < storm_ends; i++) {
        struct station *station = &stations[rand_r(&seed) % STATIONS];
        pthread_mutex_lock(&station->lock);
        if (!station->mapped || rand_r(&seed) % 2) {
            if (station->mapped && rand_r(&seed) % 2) {
                munmap(station->memory, LENGTH);
                station->mapped = false;
            }
            station_map(station->memory, LENGTH, station->mapped);
            station->mapped = true;
            *station->memory = atomic_fetch_add(&serial, 1);
        }
        int hit;
        uint64_t contents = lookup(rand_r(&seed) % FAKE_CACHES, station->memory, LENGTH, &hit);
        atomic_fetch_add(&stale, contents != *station->memory);
        atomic_fetch_add(&hits, hit);
        atomic_fetch_add(&lookups, 1);
        /* The allocator's own calls come in between. */
        free(malloc(rand_r(&seed) % 300000));
        pthread_mutex_unlock(&station->lock);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    check_watchdog(240);
    HOLDS(argc > 1);
    if (argc > 2)
        rounds = atoi(argv[2]);
    void *library = dlopen(argv[1], RTLD_NOW);
    HOLDS(library);
    open_cache = (int (*)(void))dlsym(library, "fake_open");
    close_cache = (void (*)(void))dlsym(library, "fake_close");
    lookup = (uint64_t (*)(int, const void *, size_t, int *))dlsym(library, "fake_lookup");
    entries = (size_t (*)(int))dlsym(library, "fake_entries");
    notified_early = (int (*)(void))dlsym(library, "fake_notified_early");

    kdreg_t *monitor;
    HOLDS(kdreg_open(NULL, &monitor) == 0);
    if (!strcmp(kdreg_backend_name(monitor), "none")) {
        puts("skipped: no backend works here (kdreg_info says why)");
        return CHECK_SKIPPED;
    }
    struct kdreg_fabric_attr attr = { .size = sizeof attr, .library = argv[1], .monitor = monitor };
    kdreg_fabric_t *import;
    kdreg_set_log(NULL, NULL, KDREG_LOG_WARN);
    unsetenv("FI_MR_CACHE_MONITOR");
    setenv("FAKE_LIBFABRIC_VERSION", "0x1000c", 1);
    HOLDS(kdreg_fabric_import(&attr, &import) == -EPROTONOSUPPORT);
    unsetenv("FAKE_LIBFABRIC_VERSION");
    HOLDS(kdreg_fabric_import(&attr, &import) == 0);
    HOLDS(kdreg_close(monitor) == 0);
    attr.monitor = NULL;
    kdreg_fabric_t *second;
    HOLDS(kdreg_fabric_import(&attr, &second) == -EBUSY);

    HOLDS(open_cache() == 0);
    steps(import);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < STATIONS; i++) {
        pthread_mutex_init(&stations[i].lock, NULL);
        stations[i].memory = station_address(i);
    }
    storm_ends = check_now() + 60;
    for (uintptr_t i = 0; i < THREADS; i++)
        HOLDS(pthread_create(&threads[i], NULL, storm, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct kdreg_fabric_stats stats = statistics(import);
    printf("lookups %d, hits %lu, stale %lu; registrations %lu, found stale %lu, dropped %lu\n", atomic_load(&lookups),
           atomic_load(&hits), atomic_load(&stale), (unsigned long)stats.subscriptions, (unsigned long)stats.stale,
           (unsigned long)stats.notifications);
    HOLDS(atomic_load(&stale) == 0);
    HOLDS(atomic_load(&hits) > 0);
    close_cache();
    HOLDS(statistics(import).ranges == 0);

    /* Stopped, and started again. */
    HOLDS(open_cache() == 0);
    int hit;
    uint64_t *word = station_map(station_address(STATIONS + 1), LENGTH, 0);
    lookup(0, word, LENGTH, &hit);
    lookup(0, word, LENGTH, &hit);
    HOLDS(hit);
    HOLDS(statistics(import).starts == 2);
    close_cache();
    HOLDS(notified_early() == 0);
    HOLDS(kdreg_fabric_release(import) == 0);
    HOLDS(kdreg_fabric_release(import) == -EBADF);
    return check_result("fabric import");
}
