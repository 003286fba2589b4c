/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What costs more with the library: larger programs, each in processes of its own, without and with it. The shortest of some runs. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harmless.h"

enum { RUNS = 5, REGIONS = 8000, BUFFER = 256 << 20, FILE_LENGTH = 64 << 20, PAGE = 4096 };
struct cost {
    double seconds;
    long faults;
    bool made;
};
static kdreg_cache_t *cache;

static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    *handle = addr;
    return 0;
}

static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    return 0;
}

static bool use(char *start, size_t length)
{
    kdreg_entry_t *entry;
    return !cache || (kdreg_cache_get(cache, start, length, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0);
}

static void begin(struct cost *cost)
{
    struct rusage usage;
    struct timespec time;
    getrusage(RUSAGE_THREAD, &usage);
    clock_gettime(CLOCK_MONOTONIC, &time);
    cost->faults = -usage.ru_minflt - usage.ru_majflt;
    cost->seconds = -(double)time.tv_sec - (double)time.tv_nsec * 1e-9;
}

static void end(struct cost *cost, long times)
{
    struct rusage usage;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    getrusage(RUSAGE_THREAD, &usage);
    cost->faults += usage.ru_minflt + usage.ru_majflt;
    cost->seconds += (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
    cost->seconds /= (double)times;
    cost->faults /= times;
    cost->made = true;
}

/* Small pages, all of them there, and 8,000 of them registered. */
static char *buffer_with_regions(void)
{
    char *buffer = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED || madvise(buffer, BUFFER, MADV_NOHUGEPAGE))
        return NULL;
    for (size_t i = 0; i < BUFFER; i += PAGE)
        buffer[i] = 1;
    for (size_t i = 0; i < REGIONS; i++)
        if (!use(buffer + i * (BUFFER / REGIONS / PAGE) * PAGE, PAGE))
            return NULL;
    return buffer;
}

static void forking(struct cost *cost)
{
    if (!buffer_with_regions())
        return;
    begin(cost);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    end(cost, 1);
    waitpid(child, NULL, 0);
}

static void reading_a_file(struct cost *cost)
{
    int fd = open_file(0);
    static char block[1 << 20];
    memset(block, 1, sizeof block);
    for (size_t i = 0; i < FILE_LENGTH; i += sizeof block)
        if (write(fd, block, sizeof block) != sizeof block)
            return;
    char *file = mmap(NULL, FILE_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED || !use(file, FILE_LENGTH))
        return;
    volatile char sum = 0;
    begin(cost);
    for (size_t i = 0; i < FILE_LENGTH; i += PAGE)
        sum = (char)(sum + file[i]);
    end(cost, 1);
}

static void discarding_beside(struct cost *cost)
{
    enum { TIMES = 2000 };
    char *buffer = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED || !use(buffer, PAGE))
        return;
    begin(cost);
    for (int i = 0; i < TIMES; i++) {
        buffer[64 * PAGE] = 1;
        if (madvise(buffer + 64 * PAGE, PAGE, MADV_DONTNEED))
            return;
    }
    end(cost, TIMES);
}

static void discarding_all(struct cost *cost)
{
    char *buffer = buffer_with_regions();
    if (!buffer || (cache && kdreg_cache_flush(cache) < 0))
        return;
    begin(cost);
    if (madvise(buffer, BUFFER, MADV_DONTNEED) == 0)
        end(cost, 1);
}

static const struct program {
    const char *name;
    void (*run)(struct cost *cost);
} programs[] = {
    {"fork of a process of 256 MiB, 8,000 regions in it cached", forking},
    {"reading a file mapping of 64 MiB that is cached", reading_a_file},
    {"madvise(DONTNEED) of a page in the mapping of a cached one, and the fault after it", discarding_beside},
    {"madvise(DONTNEED) of 256 MiB where 8,000 regions were cached, and flushed", discarding_all},
};

static struct cost measure(const struct program *program, bool with)
{
    struct cost best = {0}, *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int run = 0; shared != MAP_FAILED && run < RUNS; run++) {
        memset(shared, 0, sizeof *shared);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            /* Each region a registration of its own. */
            struct kdreg_cache_attr attr = {
                .size = sizeof attr, .reg = device_register, .dereg = device_deregister, .flags = KDREG_CACHE_NO_MERGE};
            if (!with || kdreg_cache_create(NULL, &attr, &cache) == 0)
                program->run(shared);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        if (shared->made && (!best.made || shared->seconds < best.seconds))
            best = *shared;
    }
    if (shared != MAP_FAILED)
        munmap(shared, sizeof *shared);
    return best;
}

void costs_print(void)
{
    printf("| program | µs without | µs with | × | faults without | faults with |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        struct cost without = measure(&programs[i], false), with = measure(&programs[i], true);
        if (!without.made || !with.made) {
            printf("| %s | could not be run here | | | | |\n", programs[i].name);
            continue;
        }
        printf("| %s | %.1f | %.1f | %.1f | %ld | %ld |\n", programs[i].name, without.seconds * 1e6, with.seconds * 1e6, with.seconds / without.seconds,
               without.faults, with.faults);
    }
    printf("\n");
}
