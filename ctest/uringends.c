/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The end of an io_uring's buffers: their table ends when nobody is at work in it any more. Another cache of their group that evicts one of them is
 * waited for, also where the end is in a callback, in which a flush waits for nobody. */
#include <pthread.h>
#include <semaphore.h>

#include <kdreg/uring.h>

#include "caches.h"
#include "uring.h"

static size_t page;
static kdreg_uring_t *uring;
static kdreg_group_t *group;
static char *memory;

/* Who evicts stops in the middle of it, in a function of the log's. */
static sem_t evicting, go_on;
static atomic_int evicted, heard, complaints;

static void hear(void *context, int level, const char *message)
{
    (void)context;
    if (level <= KDREG_LOG_WARN) {
        fprintf(stderr, "it said: %s\n", message);
        atomic_fetch_add(&complaints, 1);
    }
    if (strncmp(message, "deregister ", 11) || atomic_fetch_add(&heard, 1))
        return;
    sem_post(&evicting);
    while (sem_wait(&go_on))
        ;
    atomic_store(&evicted, 1);
}

static void *evict(void *argument)
{
    (void)argument;
    CHECK_IS(kdreg_group_evict(group, page), 1);
    return NULL;
}

static atomic_int ender; /* its number, once it is about to end the buffers */
static atomic_int ended;

static void end(void)
{
    atomic_store(&ender, (int)syscall(SYS_gettid));
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    CHECK(atomic_load(&evicted), "the buffers ended while one of them was being deregistered");
    atomic_store(&ended, 1);
}

static int other_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    *handle = addr;
    return 0;
}

static int other_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    if (!atomic_load(&ender))
        end();
    return 0;
}

/* In a callback of a cache that is in no group. */
static void *end_in_callback(void *argument)
{
    kdreg_cache_t *other = argument;
    kdreg_entry_t *entry = NULL;
    CHECK_IS(kdreg_cache_get(other, memory, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_drop(other, entry, NULL, NULL), 0);
    CHECK_IS(kdreg_cache_put(other, entry), 0);
    return NULL;
}

static void *end_here(void *argument)
{
    (void)argument;
    end();
    return NULL;
}

/* Whether a thread waits for something. */
static bool sleeps(int thread)
{
    char path[64], line[512], state = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    FILE *file = thread ? fopen(path, "r") : NULL;
    if (!file)
        return false;
    if (fgets(line, sizeof line, file) && strrchr(line, ')'))
        sscanf(strrchr(line, ')'), ") %c", &state);
    fclose(file);
    return state == 'S';
}

static void ends(const char *where, void *(*how)(void *), kdreg_cache_t *other)
{
    check_says("buffers that end %s wait for who evicts one of them", where);
    int ring = open_ring();
    atomic_store(&evicted, 0);
    atomic_store(&heard, 0);
    atomic_store(&ender, 0);
    atomic_store(&ended, 0);
    CHECK_IS(kdreg_group_create(NULL, &group), 0);
    struct kdreg_uring_attr attr = KDREG_URING_ATTR_INIT;
    attr.group = group;
    attr.flags = KDREG_URING_NO_REAPER;
    REQUIRE(kdreg_uring_create(NULL, ring, &attr, &uring) == 0, "kdreg_uring_create");
    int index = kdreg_uring_get(uring, memory + 4 * page, page);
    REQUIRE(index >= 0, "kdreg_uring_get: %s", kdreg_strerror(index));
    CHECK_IS(kdreg_uring_put(uring, index), 0);
    CHECK_IS(kdreg_add_log(hear, NULL, KDREG_LOG_DEBUG), 0);
    pthread_t evictor, destroyer;
    REQUIRE(pthread_create(&evictor, NULL, evict, NULL) == 0, "pthread_create");
    while (sem_wait(&evicting))
        ;
    REQUIRE(pthread_create(&destroyer, NULL, how, other) == 0, "pthread_create");
    /* One that waits for nobody is over before it is let go on. */
    CHECK_EVENTUALLY(sleeps(atomic_load(&ender)) || atomic_load(&ended), 60, "it neither waits nor ends");
    sem_post(&go_on);
    pthread_join(evictor, NULL);
    pthread_join(destroyer, NULL);
    CHECK_IS(kdreg_remove_log(hear, NULL), 0);
    CHECK_IS(ended, 1);
    CHECK_IS(complaints, 0);
    /* The ring has no table any more. */
    struct iovec none = {NULL, 0};
    struct io_uring_rsrc_register table = {.nr = 1, .data = (uintptr_t)&none};
    CHECK(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS2, &table, sizeof table) == 0, "a table: %s", strerror(errno));
    CHECK_IS(kdreg_group_destroy(group), 0);
    close(ring);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    CHECK_IS(kdreg_close(check_open(0)), 0);
    memory = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    memset(memory, 1, 16 * page);
    sem_init(&evicting, 0, 0);
    sem_init(&go_on, 0, 0);
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = other_register;
    attr.dereg = other_deregister;
    attr.flags = KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER;
    kdreg_cache_t *other = new_cache(NULL, &attr);
    ends("in a call", end_here, other);
    ends("in a callback", end_in_callback, other);
    atomic_store(&ender, 1);
    CHECK_IS(kdreg_cache_destroy(other), 0);
    return check_result("uringends");
}
