/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* cost NAME [BESIDE]
 * What things cost with the backend that KDREG_BACKEND asks for (none: without the library watching anything), in instructions where time is
 * made of them (ctest/vm/run --icount), as a row of a table; and, called BESIDE, a row of another process while this one is a client. Medians; a
 * look at the clock is left out. Pages are there when they are changed. Where time is not made of instructions they are nanoseconds, or what the
 * processor's clock counts. */
#include <sched.h>
#include <sys/prctl.h>

#include "../check.h"
#include "../counted.h"
#include "../plain.h"

enum { REPEAT = 301, PAGES = 16 };

static uint64_t values[REPEAT];

/* The median, without the look at the clock. */
static uint64_t middle(void)
{
    uint64_t all = median(values, REPEAT);
    return all > reading ? all - reading : 0;
}

static size_t page;

/* Memory with a neighbour that stays, as most has: the kernel's table of pages, which it would have for itself, would be freed with it. */
static char *memory_beside(size_t length)
{
    char *memory = check_space(length + page);
    REQUIRE(mprotect(memory + length, page, PROT_NONE) == 0, "mprotect: %s", strerror(errno));
    return memory;
}

enum change { MUNMAP, MADVISE, MPROTECT };

/* Of a page, or of so many, that somebody watches if `cache` is one. */
static uint64_t cost_of_change(kdreg_cache_t *cache, enum change change, size_t pages)
{
    size_t length = pages * page;
    char *memory = memory_beside(length);
    for (unsigned i = 0; i < REPEAT; i++) {
        kdreg_entry_t *entry;
        REQUIRE(mmap(memory, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED, -1, 0) == memory, "mmap");
        if (cache)
            REQUIRE(kdreg_cache_get(cache, memory, length, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0, "kdreg_cache_get");
        uint64_t start = now();
        int error = change == MUNMAP ? munmap(memory, length) : change == MADVISE ? madvise(memory, length, MADV_DONTNEED) : mprotect(memory, length, PROT_READ);
        values[i] = now() - start;
        REQUIRE(error == 0, "the change: %s", strerror(errno));
    }
    munmap(memory, length + page);
    return middle();
}

/* With memory that nothing moves: what a lookup that finds, and its put, take. */
static uint64_t cost_of_hit(kdreg_cache_t *cache)
{
    char *memory = check_space(page);
    kdreg_entry_t *entry;
    REQUIRE(kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0, "kdreg_cache_get");
    for (unsigned i = 0; i < REPEAT; i++) {
        uint64_t start = now();
        int error = kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry);
        if (error == 0)
            kdreg_cache_put(cache, entry);
        values[i] = now() - start;
    }
    uint64_t cost = middle();
    munmap(memory, page);
    return cost;
}

static uint64_t cost_of_miss(kdreg_cache_t *cache)
{
    char *memory = check_space(page);
    for (unsigned i = 0; i < REPEAT; i++) {
        kdreg_entry_t *entry;
        kdreg_cache_invalidate(cache, memory, page);
        uint64_t start = now();
        int error = kdreg_cache_get(cache, memory, page, KDREG_ACCESS_READ, &entry);
        values[i] = now() - start;
        REQUIRE(error == 0 && kdreg_cache_put(cache, entry) == 0, "kdreg_cache_get");
    }
    uint64_t cost = middle();
    munmap(memory, page);
    return cost;
}

static uint64_t cost_of_valid(kdreg_t *monitor)
{
    char *memory = check_space(page);
    struct kdreg_region region;
    bool valid = true;
    REQUIRE(kdreg_monitor(monitor, memory, page, 0, &region) == 0, "kdreg_monitor");
    for (unsigned i = 0; i < REPEAT; i++) {
        uint64_t start = now();
        valid &= kdreg_valid(&region);
        values[i] = now() - start;
    }
    uint64_t cost = middle();
    CHECK(valid, "the region is not valid");
    kdreg_unmonitor(monitor, &region);
    munmap(memory, page);
    return cost;
}

/* From one process to another on a processor, and back: two switches, and what passes the turn on. */
static uint64_t cost_of_switches(void)
{
    int there[2], back[2];
    char token = 0;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0 && pipe(there) == 0 && pipe(back) == 0, "%s", strerror(errno));
    pid_t child = check_fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (read(there[0], &token, 1) == 1 && write(back[1], &token, 1) == 1)
            ;
        _exit(0);
    }
    for (unsigned i = 0; i < REPEAT; i++) {
        uint64_t start = now();
        REQUIRE(write(there[1], &token, 1) == 1 && read(back[0], &token, 1) == 1, "%s", strerror(errno));
        values[i] = now() - start;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return middle() / 2;
}

int main(int argc, char **argv)
{
    check_watchdog(600);
    page = (size_t)sysconf(_SC_PAGESIZE);
    for (unsigned i = 0; i < REPEAT; i++) {
        uint64_t start = now();
        values[i] = now() - start;
    }
    reading = middle();
    const char *name = argc > 1 ? argv[1] : "this", *wanted = getenv("KDREG_BACKEND");
    uint64_t uninvolved = cost_of_change(NULL, MUNMAP, 1), others = cost_of_change(NULL, MPROTECT, 1), switched = cost_of_switches();
    if (wanted && strcmp(wanted, "none") == 0) {
        printf("| %s | | | | | | | | %llu | %llu | %llu |\n", name, (unsigned long long)uninvolved, (unsigned long long)others,
               (unsigned long long)switched);
        return 0;
    }
    kdreg_t *monitor = check_open(0);
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    kdreg_cache_t *cache;
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    uint64_t valid = cost_of_valid(monitor), hit = cost_of_hit(cache), miss = cost_of_miss(cache);
    uint64_t unwatched = cost_of_change(NULL, MUNMAP, 1), watched = cost_of_change(cache, MUNMAP, 1);
    uint64_t discarded = cost_of_change(cache, MADVISE, PAGES), protected = cost_of_change(cache, MPROTECT, PAGES);
    printf("| %s | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu |\n", name, (unsigned long long)valid, (unsigned long long)hit,
           (unsigned long long)miss, (unsigned long long)watched, (unsigned long long)unwatched, (unsigned long long)discarded,
           (unsigned long long)protected, (unsigned long long)uninvolved, (unsigned long long)others, (unsigned long long)switched);
    if (argc > 2) {
        fflush(stdout);
        pid_t child = check_fork();
        if (child == 0) {
            setenv("KDREG_BACKEND", "none", 1);
            execl("/proc/self/exe", argv[0], argv[2], (char *)NULL);
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0, "the process beside it: %#x", status);
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return atomic_load(&check_failures) != 0;
}
