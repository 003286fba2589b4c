/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A stop-the-world runtime: threads are parked by a signal wherever they are, inside the library too, and the one that parked them changes watched
   memory. Each change returns, what changed is reported as such while all others are still parked, and everything goes on afterwards. */
#include <pthread.h>
#include <semaphore.h>

#include "check.h"
#include "plain.h"

enum { BUFFERS = 512, PARKED = 3, SECONDS = 10, CHANGES = 6 };

static size_t page;
static kdreg_cache_t *cache;
static kdreg_t *monitor;
static char *buffers;
/* One for each thread: it must not go on by what is another's. */
static sem_t parked, go_on[PARKED];
static _Thread_local int self;
static atomic_bool over;
static atomic_int ready;

static void park(int signal_number)
{
    (void)signal_number;
    int error = errno;
    sem_post(&parked);
    while (sem_wait(&go_on[self]))
        ;
    errno = error;
}

/* Gets, evicts, finds and invalidates. */
static void *use_the_cache(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed;
    self = (int)(uintptr_t)seed;
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&over)) {
        state = state * 1103515245 + 12345;
        char *buffer = buffers + (size_t)(state >> 8) % BUFFERS * 2 * page;
        kdreg_entry_t *entry;
        if ((state >> 4) % 64 == 0)
            kdreg_cache_invalidate(cache, buffer, page);
        else if (!kdreg_cache_get(cache, buffer, 64, KDREG_ACCESS_READ, &entry))
            kdreg_cache_put(cache, entry);
    }
    return NULL;
}

/* Monitors, asks, takes events, lets go. */
static void *use_a_monitor(void *unused)
{
    (void)unused;
    kdreg_t *own;
    REQUIRE(!kdreg_open(NULL, &own), "a monitor");
    atomic_fetch_add(&ready, 1);
    for (unsigned i = 0; !atomic_load(&over); i++) {
        struct kdreg_region region;
        struct kdreg_event events[4];
        if (!kdreg_monitor(own, buffers + (size_t)i % BUFFERS * 2 * page, page, i, &region)) {
            kdreg_valid(&region);
            kdreg_unmonitor(own, &region);
        }
        kdreg_check(own, events, 4);
    }
    CHECK_IS(kdreg_close(own), 0);
    return NULL;
}

/* By the number of the round, one after the other; all by system calls that wait for no lock of the program's. */
static void change(unsigned kind, char *memory, size_t length)
{
    void *result;
    switch (kind) {
    case 0:
        CHECK_IS(munmap(memory, length), 0);
        break;
    case 1:
        CHECK_IS(madvise(memory, length, MADV_DONTNEED), 0);
        break;
    case 2:
        result = mremap(memory, length, 2 * length, MREMAP_MAYMOVE);
        CHECK(result != MAP_FAILED, "mremap: %s", strerror(errno));
        munmap(result, 2 * length);
        break;
    case 3:
        result = mmap(memory, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(result == memory, "mmap over it: %s", strerror(errno));
        break;
    case 4:
        CHECK_IS(munmap(memory + page, page), 0);
        break;
    default:
        CHECK_IS(madvise(memory, length, MADV_FREE), 0);
    }
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    sem_init(&parked, 0, 0);
    for (int i = 0; i < PARKED; i++)
        sem_init(&go_on[i], 0, 0);
    struct sigaction action = {.sa_handler = park, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister,
                                    .max_entries = 32, .flags = KDREG_CACHE_NO_MERGE};
    REQUIRE(!kdreg_cache_create(NULL, &attr, &cache) && !kdreg_open(NULL, &monitor), "a cache and a monitor");
    if (!strcmp(kdreg_backend_name(monitor), "none")) {
        puts("skipped: nothing is watched here");
        return CHECK_SKIPPED;
    }
    buffers = mmap(NULL, BUFFERS * 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(buffers != MAP_FAILED, "buffers");
    memset(buffers, 1, BUFFERS * 2 * page);

    check_says("with %d threads parked anywhere, every change returns and is reported", PARKED);
    pthread_t threads[PARKED];
    for (uintptr_t i = 0; i < PARKED; i++)
        REQUIRE(!pthread_create(&threads[i], NULL, i ? use_the_cache : use_a_monitor, (void *)i), "a thread");
    while (atomic_load(&ready) < PARKED)
        usleep(1000);
    time_t end = time(NULL) + SECONDS;
    unsigned rounds = 0;
    for (; rounds < CHANGES || time(NULL) < end; rounds++) {
        size_t length = 16 * page;
        char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED, "memory");
        memset(memory, 2, length);
        struct kdreg_region region;
        REQUIRE(!kdreg_monitor(monitor, memory, length, rounds, &region), "it is monitored");
        for (int i = 0; i < PARKED; i++) {
            pthread_kill(threads[i], SIGUSR1);
            while (sem_wait(&parked))
                ;
        }
        change(rounds % CHANGES, memory, length);
        CHECK(!kdreg_valid(&region), "round %u: a region that changed is valid while others are stopped", rounds);
        for (int i = 0; i < PARKED; i++)
            sem_post(&go_on[i]);
        kdreg_unmonitor(monitor, &region);
        munmap(memory, length);
    }
    printf("  %u rounds\n", rounds);
    atomic_store(&over, true);
    for (int i = 0; i < PARKED; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(kdreg_close(monitor), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    return check_result("stopped");
}
