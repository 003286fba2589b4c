/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* For tests that compare a program with the same program without the library. */
#ifndef KDREG_CTEST_HARM_H
#define KDREG_CTEST_HARM_H

#include <pthread.h>

#include "caches.h"
#include "plain.h"

/* Mappings of the process. Allocates nothing. */
__attribute__((unused)) static long harm_mappings(void)
{
    static char text[1 << 16];
    long lines = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && (got = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}

__attribute__((unused)) static long harm_limit(void)
{
    long limit = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file) {
        if (fscanf(file, "%ld", &limit) != 1)
            limit = 65530;
        fclose(file);
    }
    return limit;
}

__attribute__((unused)) static kdreg_cache_t *harm_cache(size_t max_entries, uint32_t flags)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister, .max_entries = max_entries, .flags = flags};
    return new_cache(NULL, &attr);
}

/* Cached, and in use no more. `cache` NULL: the program without the library. */
__attribute__((unused)) static void harm_use(kdreg_cache_t *cache, void *start, size_t length)
{
    kdreg_entry_t *entry;
    if (!cache)
        return;
    int error = kdreg_cache_get(cache, start, length, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    error = kdreg_cache_put(cache, entry);
    REQUIRE(error == 0, "kdreg_cache_put: %s", kdreg_strerror(error));
}

__attribute__((unused)) static bool harm_cached(kdreg_cache_t *cache, void *start, size_t length)
{
    kdreg_entry_t *entry;
    if (kdreg_cache_find(cache, start, length, KDREG_ACCESS_READ, &entry))
        return false;
    kdreg_cache_put(cache, entry);
    return true;
}

/* What a backend that hears of pages that the kernel moves may have dropped by itself. */
__attribute__((unused)) static bool harm_by_kernel(void)
{
    kdreg_t *monitor = check_open(0);
    bool moves = kdreg_caps(monitor) & KDREG_CAP_MIGRATE;
    kdreg_close(monitor);
    return moves;
}

static void *harm_thread(void *argument)
{
    return argument;
}

/* What any program does, and cannot where there are no mappings left. */
__attribute__((unused)) static void harm_application_lives(const char *when)
{
    void *mapping = mmap(NULL, 1 << 20, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(mapping != MAP_FAILED, "%s: mmap: %s", when, strerror(errno));
    if (mapping != MAP_FAILED)
        munmap(mapping, 1 << 20);
    char *block = malloc(64 << 20);
    CHECK(block, "%s: malloc of 64 MiB is NULL", when);
    free(block);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, harm_thread, NULL);
    CHECK(error == 0, "%s: pthread_create: %s", when, strerror(error));
    if (error == 0)
        pthread_join(thread, NULL);
}

#endif
