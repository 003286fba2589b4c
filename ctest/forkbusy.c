/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* forkbusy [FORKS]
 * Forks while other threads are anywhere in the library: looking up, registering, evicting, opening and closing, saying what they do, and setting
 * who is told. The child has the memory as it was at that moment, and none of those threads: no lock may be on its way. It opens a cache of its
 * own, uses it in several threads, says what it does, and closes it. */
#include <pthread.h>
#include <sys/mman.h>

#include "check.h"
#include "plain.h"

enum { PAGES = 256, PAGE = 65536, WORKERS = 6, CHILD_THREADS = 3, CHILD_ROUNDS = 60 };

static char *memory;
static kdreg_cache_t *cache;
static atomic_int stop;

static void listens(void *context, int level, const char *message)
{
    (void)level;
    atomic_fetch_add((atomic_int *)context, message[0] != '\0');
}

static atomic_int heard[2];

static int use(kdreg_cache_t *of, unsigned *random)
{
    kdreg_entry_t *entry;
    *random = *random * 1103515245 + 12345;
    int error = kdreg_cache_get(of, memory + (size_t)(*random >> 8) % PAGES * PAGE, 64, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(of, entry);
}

static int make_cache(kdreg_cache_t **made)
{
    struct kdreg_cache_attr attr = {
        .size = sizeof attr, .reg = plain_register, .dereg = plain_deregister, .max_entries = 32, .flags = KDREG_CACHE_NO_MERGE};
    return kdreg_cache_create(NULL, &attr, made);
}

static void *looks_up(void *seed)
{
    unsigned random = (unsigned)(uintptr_t)seed;
    while (!atomic_load(&stop))
        use(cache, &random);
    return NULL;
}

static void *opens_and_closes(void *seed)
{
    unsigned random = (unsigned)(uintptr_t)seed;
    while (!atomic_load(&stop)) {
        kdreg_cache_t *own;
        if (make_cache(&own))
            continue;
        use(own, &random);
        kdreg_cache_destroy(own);
    }
    return NULL;
}

static void *sets_the_log(void *unused)
{
    for (unsigned round = 0; !atomic_load(&stop); round++) {
        kdreg_set_log(round % 3 ? listens : NULL, &heard[round % 2], KDREG_LOG_DEBUG);
        sched_yield();
    }
    return unused;
}

static void *unmaps(void *unused)
{
    while (!atomic_load(&stop))
        for (int index = 0; index < PAGES && !atomic_load(&stop); index += 7)
            mmap(memory + (size_t)index * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return unused;
}

static kdreg_cache_t *of_child;

static void *uses_in_child(void *seed)
{
    unsigned random = (unsigned)(uintptr_t)seed;
    long failed = 0;
    for (int round = 0; round < CHILD_ROUNDS; round++)
        failed += use(of_child, &random) != 0;
    return (void *)failed;
}

static void child(int number)
{
    check_watchdog(120);
    CHECK_IS(make_cache(&of_child), 0);
    if (number % 2)
        CHECK_IS(kdreg_set_log(listens, &heard[0], KDREG_LOG_DEBUG), 0);
    pthread_t threads[CHILD_THREADS];
    for (int index = 0; index < CHILD_THREADS; index++)
        REQUIRE(pthread_create(&threads[index], NULL, uses_in_child, (void *)(intptr_t)(number + index)) == 0, "pthread_create");
    for (int index = 0; index < CHILD_THREADS; index++) {
        void *failed;
        pthread_join(threads[index], &failed);
        CHECK(failed == NULL, "%ld lookups failed", (long)(intptr_t)failed);
    }
    CHECK_IS(kdreg_cache_destroy(of_child), 0);
    check_leave();
}

int main(int argc, char **argv)
{
    int forks = argc > 1 ? atoi(argv[1]) : 150, failed = 0;
    check_watchdog(500);
    memory = check_space((size_t)PAGES * PAGE);
    /* What is said on standard error is said for real, and heard by nobody. */
    int standard_error = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    REQUIRE(standard_error >= 0 && nowhere >= 0 && dup2(nowhere, STDERR_FILENO) == STDERR_FILENO, "dup2: %s", strerror(errno));
    REQUIRE(make_cache(&cache) == 0, "kdreg_cache_create");
    void *(*const bodies[WORKERS])(void *) = {looks_up, looks_up, looks_up, opens_and_closes, sets_the_log, unmaps};
    pthread_t workers[WORKERS];
    for (int index = 0; index < WORKERS; index++)
        REQUIRE(pthread_create(&workers[index], NULL, bodies[index], (void *)(intptr_t)index) == 0, "pthread_create");
    check_says("%d forks while %d threads are in the library", forks, WORKERS);
    for (int number = 0; number < forks; number++) {
        struct timespec pause = {0, 100000 + number * 7919L % 2000000};
        nanosleep(&pause, NULL);
        pid_t pid = check_fork();
        REQUIRE(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0) {
            dup2(standard_error, STDERR_FILENO);
            kdreg_set_log(NULL, NULL, KDREG_LOG_WARN);
            child(number);
        }
        failed += !check_child_succeeded(pid);
    }
    atomic_store(&stop, 1);
    for (int index = 0; index < WORKERS; index++)
        pthread_join(workers[index], NULL);
    kdreg_set_log(NULL, NULL, KDREG_LOG_WARN);
    dup2(standard_error, STDERR_FILENO);
    CHECK(failed == 0, "of %d children %d did not end well", forks, failed);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    return check_result("forkbusy");
}
