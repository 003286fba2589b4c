/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Callbacks that allocate while other threads unmap what is monitored. */
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"
#include "callbacks.h"

static size_t page;

/* Large blocks come from mmap and go back by munmap: allocating in a callback changes mappings itself. */
static atomic_bool stop_unmapping;
static atomic_long blocks;

static int greedy_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)access;
    size_t size = (1 << 20) + (((uintptr_t)addr / page) % 7) * 65536;
    char *block = malloc(size);
    if (!block)
        return -ENOMEM;
    memset(block, (int)length, 4096);
    atomic_fetch_add(&blocks, 1);
    *handle = block;
    void *more = malloc(size / 2);
    free(more);
    return 0;
}

static int greedy_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)addr;
    (void)length;
    free(handle);
    free(malloc(3 << 20));
    atomic_fetch_sub(&blocks, 1);
    return 0;
}

static void *use_blocks(void *argument)
{
    kdreg_cache_t *cache = argument;
    while (!atomic_load(&stop_unmapping)) {
        /* A malloc'ed block, monitored; given back while other threads are inside callbacks. */
        char *block = malloc(1 << 20);
        REQUIRE(block, "malloc");
        int error = get_put(cache, block, 1 << 20);
        CHECK(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
        free(block);
    }
    return NULL;
}

void callbacks_allocate(kdreg_t *monitor, uint32_t flags)
{
    check_says("malloc and free of large blocks in callbacks%s while other threads unmap what is monitored", flags ? "" : " (and in the reaper)");
    page = (size_t)sysconf(_SC_PAGESIZE);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    enum { THREADS = 4 };
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = greedy_register, .dereg = greedy_deregister, .flags = flags, .max_entries = 16};
    kdreg_cache_t *cache = new_cache(monitor, &attr);
    pthread_t threads[THREADS];
    atomic_store(&stop_unmapping, false);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, use_blocks, cache) == 0, "pthread_create");
    double until = check_now() + 2;
    while (check_now() < until) {
        char *memory = check_space(64 * page);
        CHECK_IS(get_put(cache, memory, 64 * page), 0);
        munmap(memory, 64 * page);
        kdreg_entry_t *entry;
        CHECK_IS(kdreg_cache_find(cache, memory, 64 * page, KDREG_ACCESS_READ | (1u << 20), &entry), -ENOENT);
    }
    atomic_store(&stop_unmapping, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.invalidations > 0, "nothing was invalidated");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK(atomic_load(&blocks) == 0, "%ld registrations never released", atomic_load(&blocks));
}
