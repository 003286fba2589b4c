/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A cache with callbacks: the "card" here locks memory; a real one would be given a registration's key as handle. */
#include <errno.h>
#include <inttypes.h>
#include <kdreg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LENGTH = 256 << 10, TRANSFERS = 100 };

/* What the callbacks share: called by any thread, the library's included. */
struct card {
    atomic_int registered;
};

struct key {
    size_t length;
};

static int reg(void *ctx, void *addr, size_t length, uint32_t access, void **handle)
{
    struct card *card = ctx;
    struct key *key = malloc(sizeof *key);
    if (!key)
        return -ENOMEM; /* the cache evicts and asks again */
    if (mlock(addr, length)) {
        int error = errno; /* ENOMEM where RLIMIT_MEMLOCK is reached */
        free(key);
        return -error;
    }
    key->length = length;
    *handle = key;
    printf("  card: registered %zu KiB, rights %#" PRIx32 "\n", length >> 10, access);
    atomic_fetch_add(&card->registered, 1);
    return 0;
}

static int dereg(void *ctx, void *addr, size_t length, void *handle)
{
    struct card *card = ctx;
    (void)addr, (void)length; /* the memory may be gone by now */
    printf("  card: released %zu KiB\n", ((struct key *)handle)->length >> 10);
    free(handle);
    atomic_fetch_sub(&card->registered, 1);
    return 0;
}

static int transfer(kdreg_cache_t *cache, const void *addr, size_t length)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, addr, length, KDREG_ACCESS_READ, &entry);
    if (error) {
        fprintf(stderr, "kdreg_cache_get: %s\n", kdreg_strerror(error));
        return error;
    }
    /* ... post the work request with kdreg_entry_handle(entry), wait for its completion ... */
    return kdreg_cache_put(cache, entry);
}

int main(void)
{
    struct card card = {0};
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = reg, .dereg = dereg, .ctx = &card};
    kdreg_cache_t *cache;
    int error = kdreg_cache_create(NULL, &attr, &cache);
    if (error) {
        fprintf(stderr, "kdreg_cache_create: %s\n", kdreg_strerror(error));
        return 1;
    }
    char *buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return 1;
    for (int i = 0; i < TRANSFERS; i++)
        if (transfer(cache, buffer, LENGTH) || transfer(cache, buffer + 1000, 4000)) /* a part of it is a hit, too */
            return 1;
    puts("unmap"); /* no call to the library is needed: its thread releases the registration */
    munmap(buffer, LENGTH);

    struct kdreg_cache_stats stats = {.size = sizeof stats};
    if (kdreg_cache_stats(cache, &stats))
        return 1;
    printf("%" PRIu64 " hits, %" PRIu64 " misses\n", stats.hits, stats.misses);
    /* Without a backend that watches memory nothing is cached: correct, and slow. */
    if (!stats.uncached && stats.hits != 2 * TRANSFERS - 1)
        return 1;
    if (kdreg_cache_destroy(cache))
        return 1;
    return atomic_load(&card.registered) ? 1 : 0;
}
