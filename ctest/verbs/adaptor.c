/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The verbs adaptor: memory regions of a protection domain, their rights, their end. Over a real device, and over the stand-in. */
#include "device.h"
#include "fake.h"

#include <kdreg/verbs.h>
#include <pthread.h>

enum { LOCAL = IBV_ACCESS_LOCAL_WRITE };
#define SIZE ((size_t)64 * 1024)

/* A region is got, and said to be good for what was asked. */
static struct ibv_mr *got(kdreg_cache_t *cache, void *addr, size_t length, int access, kdreg_entry_t **entry)
{
    struct ibv_mr *mr = NULL;
    int err = kdreg_verbs_cache_get(cache, addr, length, access, &mr, entry);
    REQUIRE(err == 0, "kdreg_verbs_cache_get of %zu bytes with access %#x: %s", length, access, kdreg_strerror(err));
    CHECK((char *)mr->addr <= (char *)addr && (char *)mr->addr + mr->length >= (char *)addr + length,
          "the region covers what was asked for");
    CHECK(kdreg_entry_handle(*entry) == mr, "an entry's handle is its region");
    return mr;
}

static uint32_t key_of(kdreg_cache_t *cache, void *addr, size_t length, int access)
{
    kdreg_entry_t *entry;
    uint32_t key = got(cache, addr, length, access, &entry)->lkey;
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    return key;
}

static struct kdreg_cache_stats stats_of(kdreg_cache_t *cache)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
    return stats;
}

static void rights(struct ibv_pd *pd)
{
    check_says("rights: a hit needs all of them, and what lacks some is registered with the union");
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, SIZE);
    uint32_t first = key_of(cache, buffer, SIZE, LOCAL);
    CHECK_IS(key_of(cache, buffer + 100, 1000, LOCAL), first);
    CHECK_IS(key_of(cache, buffer, SIZE, 0), first);
    CHECK_IS(stats_of(cache).hits, 2);
    uint32_t readable = key_of(cache, buffer, SIZE, IBV_ACCESS_REMOTE_READ);
    CHECK(readable != first, "a peer's right to read is not there without being asked for");
    CHECK_IS(key_of(cache, buffer, SIZE, LOCAL | IBV_ACCESS_REMOTE_READ), readable);
    CHECK_IS(key_of(cache, buffer, SIZE, LOCAL), readable);
    CHECK_IS(stats_of(cache).registrations, 2);
    CHECK_IS(stats_of(cache).entries, 1);
    if (fake_last) {
        void *addr;
        size_t length;
        uint64_t iova;
        unsigned access;
        fake_last(&addr, &length, &iova, &access);
        CHECK_IS(access, LOCAL | IBV_ACCESS_REMOTE_READ);
    }
    check_says("find: a region that is there, and never another");
    kdreg_entry_t *entry;
    struct ibv_mr *mr;
    CHECK_IS(kdreg_verbs_cache_find(cache, buffer, SIZE, LOCAL, &mr, &entry), 0);
    CHECK_IS(mr->lkey, readable);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_verbs_cache_find(cache, buffer, SIZE, LOCAL | IBV_ACCESS_REMOTE_WRITE, &mr, &entry), -ENOENT);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(buffer, SIZE);
}

static void remapping(struct ibv_pd *pd)
{
    check_says("memory that was unmapped and mapped again at the same address is registered again");
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, SIZE);
    uint32_t key = key_of(cache, buffer, SIZE, LOCAL);
    for (int i = 0; i < 20; i++) {
        CHECK_IS(key_of(cache, buffer, SIZE, LOCAL), key);
        // In one step: a mapping of another thread's (a sanitizer's, say) could take the place in between.
        REQUIRE(fresh(buffer, SIZE) == buffer, "the same address");
        uint32_t next = key_of(cache, buffer, SIZE, LOCAL);
        CHECK_IS(stats_of(cache).registrations, i + 2);
        key = next;
    }
    CHECK_IS(stats_of(cache).hits, 20);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(buffer, SIZE);
}

static void ends(struct ibv_context *context)
{
    check_says("a domain is free again once its cache is destroyed, and a cache with regions in use stays");
    struct ibv_pd *pd = alloc_pd(context);
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, SIZE);
    kdreg_entry_t *entry;
    got(cache, buffer, SIZE, LOCAL, &entry);
    CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(ibv_dealloc_pd(pd), EBUSY);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    munmap(buffer, SIZE);
}

static void relaxed(struct ibv_pd *pd)
{
    check_says("relaxed ordering is the cache's, not the lookup's");
    struct kdreg_verbs_attr attr = {.size = sizeof attr, .access = IBV_ACCESS_RELAXED_ORDERING};
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(pd, &attr, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, SIZE);
    key_of(cache, buffer, SIZE, LOCAL);
    if (fake_last) {
        void *addr;
        size_t length;
        uint64_t iova;
        unsigned access;
        fake_last(&addr, &length, &iova, &access);
        CHECK_IS(access, LOCAL | IBV_ACCESS_RELAXED_ORDERING);
        CHECK(iova == (uintptr_t)addr, "peers see the process's own addresses");
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(buffer, SIZE);
}

static int nothing(void *ctx, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)ctx, (void)length, (void)access;
    *handle = addr;
    return 0;
}

static int nothing_again(void *ctx, void *addr, size_t length, void *handle)
{
    (void)ctx, (void)addr, (void)length, (void)handle;
    return 0;
}

static void bad_input(struct ibv_pd *pd)
{
    check_says("bad input: an errno, and nothing written");
    kdreg_cache_t *cache = NULL, *other = NULL;
    struct kdreg_verbs_attr attr = {.size = sizeof attr};
    CHECK_IS(kdreg_verbs_cache_create(NULL, NULL, &cache), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_create(pd, NULL, NULL), -EINVAL);
    attr.size = 1;
    CHECK_IS(kdreg_verbs_cache_create(pd, &attr, &cache), -EINVAL);
    attr = (struct kdreg_verbs_attr){.size = sizeof attr, .flags = 1u << 30};
    CHECK_IS(kdreg_verbs_cache_create(pd, &attr, &cache), -EINVAL);
    attr = (struct kdreg_verbs_attr){.size = sizeof attr, .access = IBV_ACCESS_ON_DEMAND};
    CHECK_IS(kdreg_verbs_cache_create(pd, &attr, &cache), -EINVAL);
    attr = (struct kdreg_verbs_attr){.size = sizeof attr, .alignment = 3};
    CHECK_IS(kdreg_verbs_cache_create(pd, &attr, &cache), -EINVAL);
    CHECK(cache == NULL, "nothing was written");
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, SIZE);
    struct ibv_mr *mr = NULL;
    kdreg_entry_t *entry = NULL;
    CHECK_IS(kdreg_verbs_cache_get(NULL, buffer, SIZE, LOCAL, &mr, &entry), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_get((kdreg_cache_t *)&cache, buffer, SIZE, LOCAL, &mr, &entry), -EBADF);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, 0, LOCAL, &mr, &entry), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, LOCAL, NULL, &entry), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, LOCAL, &mr, NULL), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, IBV_ACCESS_ON_DEMAND, &mr, &entry), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, IBV_ACCESS_ZERO_BASED, &mr, &entry), -EINVAL);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, IBV_ACCESS_RELAXED_ORDERING, &mr, &entry), -EINVAL);
    check_says("a cache of something else has no memory regions");
    struct kdreg_cache_attr plain = {.size = sizeof plain, .reg = nothing, .dereg = nothing_again};
    REQUIRE(kdreg_cache_create(NULL, &plain, &other) == 0, "kdreg_cache_create");
    CHECK_IS(kdreg_verbs_cache_get(other, buffer, SIZE, LOCAL, &mr, &entry), -EINVAL);
    CHECK_IS(kdreg_cache_destroy(other), 0);
    CHECK(mr == NULL && entry == NULL, "nothing was written");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, LOCAL, &mr, &entry), -EBADF);
    munmap(buffer, SIZE);
}

/* The stand-in's limit on bytes stands for a device's, or RLIMIT_MEMLOCK. */
static void no_memory(struct ibv_pd *pd)
{
    if (!fake_limit)
        return;
    check_says("where there is no memory to register, what is idle makes room; what is in use does not");
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, 8 * SIZE);
    fake_limit(3 * SIZE);
    kdreg_entry_t *held[3], *entry;
    for (int i = 0; i < 3; i++)
        key_of(cache, buffer + 2 * (size_t)i * SIZE, SIZE, LOCAL);
    key_of(cache, buffer + 6 * SIZE, SIZE, LOCAL);
    CHECK(stats_of(cache).evictions >= 1, "something was evicted");
    CHECK_IS(kdreg_cache_flush(cache) >= 1, 1);
    for (int i = 0; i < 3; i++)
        got(cache, buffer + 2 * (size_t)i * SIZE, SIZE, LOCAL, &held[i]);
    struct ibv_mr *mr;
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer + 6 * SIZE, SIZE, LOCAL, &mr, &entry), -ENOMEM);
    for (int i = 0; i < 3; i++)
        CHECK_IS(kdreg_cache_put(cache, held[i]), 0);
    fake_limit(0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(fake_live(), 0);
    munmap(buffer, 8 * SIZE);
}

static atomic_int reached;

static void *cancel_first(void *pd)
{
    pthread_cancel(pthread_self());
    kdreg_cache_t *cache;
    kdreg_entry_t *entry;
    struct ibv_mr *mr;
    CHECK_IS(kdreg_verbs_probe(), 0);
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    char *buffer = fresh(NULL, 4 * SIZE);
    for (int i = 0; i < 4; i++)
        key_of(cache, buffer + i * (ptrdiff_t)SIZE, SIZE, LOCAL);
    CHECK_IS(kdreg_verbs_cache_find(cache, buffer, SIZE, LOCAL, &mr, &entry), 0);
    munmap(buffer, SIZE);
    CHECK(kdreg_cache_reap(cache) >= 0, "reap");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer + SIZE, SIZE, IBV_ACCESS_ZERO_BASED, &mr, &entry), -EINVAL);
    CHECK(kdreg_cache_flush(cache) >= 1, "flush");
    key_of(cache, buffer + SIZE, SIZE, LOCAL);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(buffer + SIZE, 3 * SIZE);
    atomic_fetch_add(&reached, 1);
    pthread_testcancel();
    return NULL;
}

static void cancelled(struct ibv_pd *pd)
{
    check_says("no call is a cancellation point, whatever the driver does");
    unsigned live = fake_live ? fake_live() : 0;
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, cancel_first, pd) == 0, "pthread_create");
    pthread_join(thread, &result);
    CHECK(reached == 1, "a call was a cancellation point");
    CHECK(result == PTHREAD_CANCELED, "the thread was not cancelled when it could be");
    if (fake_live)
        CHECK_IS(fake_live(), live);
}

int main(void)
{
    check_watchdog(240);
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    CHECK_IS(kdreg_verbs_probe(), 0);
    rights(pd);
    remapping(pd);
    ends(context);
    relaxed(pd);
    bad_input(pd);
    no_memory(pd);
    cancelled(pd);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    return check_result("adaptor");
}
