/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Callbacks run on an ordinary stack: as large a frame as fits into that of a thread that the program starts fits in the reaper, too. And a
 * program's own thread-local storage, however much of each stack it takes, keeps no thread of the library's from starting. */
#include <pthread.h>
#include <sys/mman.h>

#include "check.h"
#include "plain.h"

enum { REGION = 65536, STORAGE = 3 << 20, MARGIN = 256 << 10 };

/* Part of every thread's stack. */
static __thread char storage[STORAGE];

static size_t ordinary; /* the size of an ordinary stack */
static atomic_long deepest, calls;
static pthread_t own;
static atomic_int elsewhere;

static __attribute__((noinline)) void use_stack(size_t bytes)
{
    volatile char frame[16384];
    for (size_t at = 0; at < sizeof frame; at += 4096)
        frame[at] = 1;
    if (bytes > sizeof frame)
        use_stack(bytes - sizeof frame);
    frame[0] = frame[4096];
}

static int deep(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    /* Not all of it: some is this thread's already. */
    size_t depth = ordinary - STORAGE - MARGIN;
    use_stack(depth);
    storage[calls % STORAGE] = 1;
    atomic_fetch_add(&elsewhere, !pthread_equal(own, pthread_self()));
    atomic_store(&deepest, (long)depth);
    atomic_fetch_add(&calls, 1);
    return 0;
}

static int use(kdreg_cache_t *cache, void *memory)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, memory, REGION, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

static void *uses(void *result)
{
    own = pthread_self();
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = deep};
    (void)plain_deregister;
    kdreg_t *monitor = check_open(0);
    kdreg_cache_t *cache;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    char *memory = check_space(REGION);
    check_says("a callback in the application's thread");
    CHECK_IS(use(cache, memory), 0);
    CHECK_IS(kdreg_cache_flush(cache), 1);
    CHECK(atomic_load(&calls) == 1 && atomic_load(&elsewhere) == 0, "it ran %ld times", atomic_load(&calls));
    check_says("the same in the reaper, with a frame of %ld KiB", atomic_load(&deepest) >> 10);
    CHECK_IS(use(cache, memory), 0);
    munmap(memory, REGION);
    CHECK_EVENTUALLY(atomic_load(&elsewhere) == 1, 60, "the reaper has called nothing");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return result;
}

int main(void)
{
    check_watchdog(200);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_getstacksize(&attr, &ordinary);
    if (ordinary < STORAGE + 2 * MARGIN) {
        printf("skipped: an ordinary stack is of %zu KiB here, less than this program's thread-local storage\n", ordinary >> 10);
        return CHECK_SKIPPED;
    }
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, uses, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
    return check_result("frames");
}
