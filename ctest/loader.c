/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* loader OBJECT
 * Monitored memory that is changed under somebody's lock: dlclose unmaps under the dynamic loader's, free() gives memory back under the
 * allocator's. The monitor's thread must need neither, not even in its first moments, or both wait for ever. */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include "check.h"
#include "plain.h"

static size_t page;

static kdreg_t *open_fresh(void)
{
    struct kdreg_attr attr = {.size = sizeof attr, .flags = KDREG_OPEN_PRIVATE};
    kdreg_t *monitor = NULL;
    int error = kdreg_open(&attr, &monitor);
    REQUIRE(error == 0, "kdreg_open: %s", kdreg_strerror(error));
    return monitor;
}

static void dlclose_right_after_open(const char *path, int rounds)
{
    check_says("dlclose of a monitored object right after kdreg_open, %d times", rounds);
    for (int round = 0; round < rounds; round++) {
        void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        REQUIRE(object, "dlopen: %s", dlerror());
        char *pages = dlsym(object, "matrix_object_pages");
        struct kdreg_region region;
        kdreg_t *monitor = open_fresh();
        int error = kdreg_monitor(monitor, pages, 4 * page, 1, &region);
        REQUIRE(error == 0, "kdreg_monitor: %s", kdreg_strerror(error));
        REQUIRE(dlclose(object) == 0, "dlclose");
        CHECK(!kdreg_valid(&region), "dlclose was missed");
        CHECK_IS(kdreg_close(monitor), 0);
    }
}

static void free_right_after_open(int rounds)
{
    check_says("brk heap given back by free() right after kdreg_open, %d times", rounds);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 10);
    int given_back = 0;
    for (int round = 0; round < rounds; round++) {
        char *block = malloc(4 << 20);
        REQUIRE(block, "malloc");
        memset(block, 1, 4 << 20);
        struct kdreg_region region;
        kdreg_t *monitor = open_fresh();
        int error = kdreg_monitor(monitor, block + (1 << 20), 2 << 20, 1, &region);
        REQUIRE(error == 0, "kdreg_monitor: %s", kdreg_strerror(error));
        char *inside = (char *)(((uintptr_t)block + (2 << 20)) & ~(page - 1));
        free(block);
        malloc_trim(0);
        /* Not every allocator gives it back. */
        bool gone = msync(inside, page, MS_ASYNC) == -1 && errno == ENOMEM;
        given_back += gone;
        CHECK(!gone || !kdreg_valid(&region), "the heap that was given back counts as valid");
        CHECK_IS(kdreg_close(monitor), 0);
    }
    printf("    %d times given back\n", given_back);
}

static atomic_bool stop;
static const char *object_path;

static void *load_and_unload(void *argument)
{
    kdreg_t *monitor = argument;
    while (!atomic_load(&stop)) {
        void *object = dlopen(object_path, RTLD_NOW | RTLD_LOCAL);
        REQUIRE(object, "dlopen: %s", dlerror());
        struct kdreg_region region;
        int error = kdreg_monitor(monitor, dlsym(object, "matrix_object_pages"), 4 * page, 1, &region);
        REQUIRE(error == 0, "kdreg_monitor: %s", kdreg_strerror(error));
        dlclose(object);
        kdreg_unmonitor(monitor, &region);
    }
    return NULL;
}

static void caches_come_and_go(int rounds)
{
    check_says("caches with reapers come and go (%d) while another thread loads and unloads a monitored object", rounds);
    kdreg_t *monitor = check_open(0);
    pthread_t thread;
    atomic_store(&stop, false);
    REQUIRE(pthread_create(&thread, NULL, load_and_unload, monitor) == 0, "pthread_create");
    for (int round = 0; round < rounds; round++) {
        struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
        kdreg_cache_t *cache = NULL;
        kdreg_entry_t *entry;
        REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
        char *block = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(kdreg_cache_get(cache, block, page, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0, "kdreg_cache_get");
        munmap(block, 4 * page);
        REQUIRE(kdreg_cache_destroy(cache) == 0, "kdreg_cache_destroy");
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    CHECK_IS(kdreg_close(monitor), 0);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: loader OBJECT\n");
        return 2;
    }
    object_path = argv[1];
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(230);
    CHECK_IS(kdreg_close(check_open(0)), 0);
    dlclose_right_after_open(object_path, 500);
    free_right_after_open(300);
    check_watchdog(230);
    caches_come_and_go(500);
    return check_result("loader");
}
