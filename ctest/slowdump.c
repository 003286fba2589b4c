/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A dump to a pipe that nobody reads: who waits there holds no entry, so a drain, a flush, an eviction do not wait for the reader. */
#include <pthread.h>

#include "caches.h"

enum { ENTRIES = 128, DESCRIBED = 120 };

static size_t page;
static bool watches;
static char *memory;
static atomic_int live;

static int do_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    atomic_fetch_add(&live, 1);
    *handle = addr;
    return 0;
}

static int do_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    atomic_fetch_sub(&live, 1);
    return 0;
}

/* Most of each line, so that it is this that a pipe has no room for. */
static size_t describe(void *context, const kdreg_entry_t *entry, char *text, size_t size)
{
    (void)context, (void)entry;
    CHECK(size >= DESCRIBED, "room for %zu characters", size);
    memset(text, 'x', DESCRIBED);
    return DESCRIBED;
}

static struct dump {
    kdreg_cache_t *cache;
    int fd;
    atomic_int thread, over;
} dumping;

static void *dump(void *argument)
{
    (void)argument;
    atomic_store(&dumping.thread, (int)syscall(SYS_gettid));
    CHECK_IS(kdreg_cache_dump(dumping.cache, dumping.fd), 0);
    close(dumping.fd);
    atomic_store(&dumping.over, 1);
    return NULL;
}

/* Whether it is in write(2), for good. */
static bool is_writing(void)
{
    char path[64], line[128];
    long call = -1;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", atomic_load(&dumping.thread));
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    if (fgets(line, sizeof line, file))
        sscanf(line, "%ld", &call); /* "running" is no number */
    fclose(file);
    return call == SYS_write;
}

/* What is read of it, when it cannot go on without; 0 when it is over. */
static size_t read_some(int fd, kdreg_cache_t *cache)
{
    static char text[4096];
    CHECK_EVENTUALLY(is_writing() || atomic_load(&dumping.over), 60, "it neither writes nor ends");
    CHECK_IS(stats_of(cache).in_use, 0);
    ssize_t got = read(fd, text, sizeof text);
    CHECK(got >= 0, "read: %s", strerror(errno));
    return got > 0 ? (size_t)got : 0;
}

static void begin(int *reader, pthread_t *thread)
{
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0, "a pipe: %s", strerror(errno));
    dumping.fd = ends[1];
    atomic_store(&dumping.thread, 0);
    atomic_store(&dumping.over, 0);
    *reader = ends[0];
    REQUIRE(pthread_create(thread, NULL, dump, NULL) == 0, "pthread_create");
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    CHECK_IS(kdreg_close(check_open_any(&watches)), 0);
    if (access("/proc/self/syscall", R_OK)) {
        printf("skipped: /proc says nothing of system calls here\n");
        return CHECK_SKIPPED;
    }
    memory = check_space(2 * ENTRIES * page);
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = do_register;
    attr.dereg = do_deregister;
    attr.dump = describe;
    attr.flags = KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER;
    kdreg_cache_t *cache = dumping.cache = new_cache(NULL, &attr);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_IS(get_put(cache, memory + 2 * i * page, page), 0);

    check_says("wherever it waits for a reader, nothing is in use");
    int reader, waits = 0;
    pthread_t thread;
    begin(&reader, &thread);
    do
        waits++;
    while (read_some(reader, cache));
    pthread_join(thread, NULL);
    close(reader);
    CHECK(!watches || waits > 4, "it was read in %d pieces", waits);

    check_says("what is drained meanwhile is, without a reader");
    begin(&reader, &thread);
    size_t seen = read_some(reader, cache);
    CHECK_IS(kdreg_cache_drain(cache, NULL, NULL), 0);
    CHECK_IS(live, 0);
    while (seen)
        seen = read_some(reader, cache);
    pthread_join(thread, NULL);
    close(reader);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    return check_result("slowdump");
}
