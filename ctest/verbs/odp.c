/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Registrations on demand, over the stand-in: which are, that they survive what happens to their memory, and that they end.
 *
 *   odp            by the adaptor
 *   odp preload    by ibv_reg_mr() under the preload, with KDREG_VERBS_ODP=on and FAKE_ODP=all or implicit
 *   odp refused    the same with FAKE_ODP=soft-roce: none is */
#include "device.h"
#include "fake.h"
#include "said.h"

#include <kdreg/verbs.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { LOCAL = IBV_ACCESS_LOCAL_WRITE, DEMAND = IBV_ACCESS_ON_DEMAND, MIB = 1 << 20 };
#define SIZE ((size_t)64 * 1024)

struct world {
    struct ibv_context *context;
    struct ibv_pd *pd;
    kdreg_cache_t *cache;
};

static struct world begin(const char *device, const char *mode)
{
    setenv("FAKE_ODP", device, 1);
    setenv("KDREG_VERBS_ODP", mode, 1);
    struct world it = {.context = open_device()};
    it.pd = alloc_pd(it.context);
    /* Nobody but the calls below has a registration in hands when it is asked for again. */
    struct kdreg_verbs_attr attr = {.size = sizeof attr, .flags = KDREG_CACHE_NO_REAPER};
    REQUIRE(kdreg_verbs_cache_create(it.pd, &attr, &it.cache) == 0, "kdreg_verbs_cache_create");
    return it;
}

static void end(struct world *it)
{
    CHECK_IS(kdreg_cache_destroy(it->cache), 0);
    CHECK_IS(fake_live(), 0);
    CHECK_IS(ibv_dealloc_pd(it->pd), 0);
    CHECK_IS(ibv_close_device(it->context), 0);
}

static int try_key(struct world *it, void *addr, size_t length, int access, uint32_t *key)
{
    struct ibv_mr *mr;
    kdreg_entry_t *entry;
    int err = kdreg_verbs_cache_get(it->cache, addr, length, access, &mr, &entry);
    if (err == 0) {
        *key = mr->lkey;
        CHECK(fake_reach(*key, addr, length, (unsigned)access), "the key is good for what was asked");
        CHECK_IS(kdreg_cache_put(it->cache, entry), 0);
    }
    return err;
}

static uint32_t key_of(struct world *it, void *addr, size_t length, int access)
{
    uint32_t key = 0;
    int err = try_key(it, addr, length, access, &key);
    REQUIRE(err == 0, "kdreg_verbs_cache_get: %s", kdreg_strerror(err));
    return key;
}

/* Whether the card lets the key do this on demand. */
static int on_demand(uint32_t key, void *addr)
{
    return fake_reach(key, addr, 1, DEMAND);
}

/* The handler may take a change in after the call has returned: until then the entry has its registration. */
static void until_it_is_gone(kdreg_cache_t *cache)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    do {
        CHECK(kdreg_cache_reap(cache) >= 0, "reap");
        REQUIRE(kdreg_cache_stats(cache, &stats) == 0, "stats");
        check_sleep_ms(1);
    } while (stats.entries > 0 && kdreg_cache_caps(cache) & KDREG_CAP_UNMAP);
}

static void on(void)
{
    check_says("on: nothing is pinned, a change keeps the registration, and what changed is prefetched");
    struct world it = begin("all", "on");
    char *buffer = fresh(NULL, SIZE);
    unsigned made = fake_registrations(), prefetched = fake_prefetches();
    fake_limit(1);
    uint32_t key = key_of(&it, buffer, SIZE, LOCAL);
    CHECK(on_demand(key, buffer), "it is on demand");
    CHECK_IS(fake_prefetches(), prefetched + 1);
    CHECK_IS(key_of(&it, buffer, SIZE, LOCAL), key);
    CHECK_IS(fake_prefetches(), prefetched + 1);
    for (unsigned i = 2; i < 10; i++) {
        fresh(buffer, SIZE);
        until_it_is_gone(it.cache);
        CHECK_IS(key_of(&it, buffer, SIZE, LOCAL), key);
        CHECK_IS(fake_prefetches(), prefetched + i);
    }
    CHECK_IS(fake_registrations(), made + 1);
    check_says("what is not there any more is refused as ever");
    munmap(buffer, SIZE);
    CHECK_IS(try_key(&it, buffer, SIZE, LOCAL, &key), -EFAULT);
    fake_limit(0);
    REQUIRE(fresh(buffer, SIZE) == buffer, "the same address");
    check_says("a flush deregisters what waits, too");
    key_of(&it, buffer, SIZE, LOCAL);
    fresh(buffer, SIZE);
    CHECK(kdreg_cache_reap(it.cache) >= 0, "reap");
    CHECK(kdreg_cache_flush(it.cache) >= 0, "flush");
    CHECK_IS(fake_live(), 0);
    check_says("a peer's key ends with its entry: it would reach whatever comes to be there");
    uint32_t peers = key_of(&it, buffer, SIZE, LOCAL | IBV_ACCESS_REMOTE_WRITE);
    CHECK(on_demand(peers, buffer), "it is on demand");
    CHECK(kdreg_cache_invalidate(it.cache, buffer, SIZE) >= 0, "invalidate");
    CHECK(!fake_reach(peers, buffer, SIZE, IBV_ACCESS_REMOTE_WRITE), "it reaches nothing");
    CHECK_IS(fake_live(), 0);
    check_says("windows are bound to what is pinned");
    CHECK(!on_demand(key_of(&it, buffer, SIZE, LOCAL | IBV_ACCESS_MW_BIND), buffer), "it is pinned");
    end(&it);
    munmap(buffer, SIZE);
}

static void incapable(void)
{
    check_says("a device that cannot receive on demand: only what it reads is");
    struct world it = begin("send", "on");
    char *buffer = fresh(NULL, 4 * SIZE);
    CHECK(on_demand(key_of(&it, buffer, SIZE, 0), buffer), "it is on demand");
    CHECK(!on_demand(key_of(&it, buffer + 2 * SIZE, SIZE, LOCAL), buffer + 2 * SIZE), "it is pinned");
    end(&it);
    munmap(buffer, 4 * SIZE);
}

static void off(const char *device, const char *mode)
{
    check_says("pinned");
    unsigned prefetched = fake_prefetches();
    struct world it = begin(device, mode);
    char *buffer = fresh(NULL, 2 * MIB);
    CHECK(!on_demand(key_of(&it, buffer, 2 * MIB, LOCAL), buffer), "it is pinned");
    CHECK_IS(fake_prefetches(), prefetched);
    end(&it);
    munmap(buffer, 2 * MIB);
}

static void automatic(void)
{
    check_says("auto: pinned when small, on demand when large, often lost, or one too many");
    struct world it = begin("all", "auto");
    char *buffer = fresh(NULL, 4 * MIB), *small = buffer + 2 * MIB;
    CHECK(on_demand(key_of(&it, buffer, MIB, LOCAL), buffer), "the large one");
    for (int i = 0; i < 3; i++) {
        CHECK(!on_demand(key_of(&it, small, SIZE, LOCAL), small), "the small one, lost %d times", i);
        fresh(small, SIZE);
    }
    CHECK(on_demand(key_of(&it, small, SIZE, LOCAL), small), "lost three times");
    uint32_t pinned = key_of(&it, small + 2 * SIZE, SIZE, LOCAL);
    CHECK(!on_demand(pinned, small + 2 * SIZE), "the other small one");
    fake_limit(SIZE);
    CHECK(on_demand(key_of(&it, small + 4 * SIZE, SIZE, LOCAL), small + 4 * SIZE), "one too many");
    fake_limit(0);
    CHECK_IS(key_of(&it, small + 2 * SIZE, SIZE, LOCAL), pinned);
    end(&it);
    munmap(buffer, 4 * MIB);
}

/* Where RLIMIT_MEMLOCK is 0, registering fails with another error than for want of room. */
static void nothing_may_be_pinned(void)
{
    check_says("auto: on demand where nothing may be pinned");
    struct rlimit before, none;
    REQUIRE(getrlimit(RLIMIT_MEMLOCK, &before) == 0, "getrlimit: %s", strerror(errno));
    struct world it = begin("all", "auto");
    char *buffer = fresh(NULL, SIZE);
    none = (struct rlimit){0, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &none) == 0, "setrlimit: %s", strerror(errno));
    CHECK(on_demand(key_of(&it, buffer, SIZE, LOCAL), buffer), "it is on demand");
    uint32_t key;
    CHECK_IS(try_key(&it, buffer, SIZE, LOCAL | IBV_ACCESS_MW_BIND, &key), -EPERM);
    CHECK_IS(setrlimit(RLIMIT_MEMLOCK, &before), 0);
    end(&it);
    munmap(buffer, SIZE);
}

/* soft-RoCE says that it has on-demand paging, and transfers wrong data. */
static void soft_roce(const char *pages, bool taken)
{
    check_says("soft-RoCE is refused, with a word, unless KDREG_VERBS_ODP_PAGES is 1");
    static const char *const modes[] = {"on", "auto"};
    setenv("KDREG_VERBS_ODP_PAGES", pages, 1);
    CHECK_IS(said_begin(), 0);
    for (int i = 0; i < 2; i++) {
        said[0] = 0;
        struct world it = begin("soft-roce", modes[i]);
        CHECK(!strstr(said, "soft-RoCE") == taken, "KDREG_VERBS_ODP_PAGES=%s: the log says '%s'", pages, said);
        char *buffer = fresh(NULL, MIB);
        CHECK_IS(on_demand(key_of(&it, buffer, MIB, LOCAL), buffer), taken);
        /* What auto falls back to where there is no room. */
        if (!taken) {
            uint32_t key;
            fake_limit(1);
            CHECK_IS(try_key(&it, buffer, SIZE, LOCAL | IBV_ACCESS_REMOTE_WRITE, &key), -ENOMEM);
            fake_limit(0);
        }
        end(&it);
        munmap(buffer, MIB);
    }
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    unsetenv("KDREG_VERBS_ODP_PAGES");
}

static void prefetching(void)
{
    check_says("ranges above KDREG_VERBS_ODP_PREFETCH are left to the device's faults");
    setenv("KDREG_VERBS_ODP_PREFETCH", "65536", 1);
    struct world it = begin("all", "on");
    char *buffer = fresh(NULL, 4 * SIZE);
    unsigned prefetched = fake_prefetches();
    key_of(&it, buffer, SIZE, LOCAL);
    CHECK_IS(fake_prefetches(), prefetched + 1);
    key_of(&it, buffer + 2 * SIZE, SIZE + 1, LOCAL);
    CHECK_IS(fake_prefetches(), prefetched + 1);
    end(&it);
    unsetenv("KDREG_VERBS_ODP_PREFETCH");
    munmap(buffer, 4 * SIZE);
}

static void implicit(void)
{
    check_says("one registration of all addresses, which no peer gets a key to");
    struct world it = begin("implicit", "on");
    char *buffer = fresh(NULL, 8 * SIZE);
    unsigned made = fake_registrations();
    uint32_t key = key_of(&it, buffer, SIZE, LOCAL);
    CHECK_IS(key_of(&it, buffer + 4 * SIZE, SIZE, LOCAL), key);
    CHECK_IS(fake_registrations(), made + 1);
    CHECK(key_of(&it, buffer + 6 * SIZE, SIZE, LOCAL | IBV_ACCESS_REMOTE_WRITE) != key, "a peer's key is another");
    munmap(buffer, SIZE);
    CHECK_IS(try_key(&it, buffer, SIZE, LOCAL, &key), -EFAULT);
    end(&it);
    munmap(buffer + SIZE, 7 * SIZE);
}

/* Ten registrations of a range that is mapped anew after each; whether all of them were one. The reaper may have what was there before in its
 * hands when the range is asked for again, and then it is another. */
static bool survives(struct ibv_pd *pd, char *buffer, int access)
{
    unsigned made = fake_registrations(), prefetched = fake_prefetches();
    uint32_t first = 0;
    bool same = true;
    for (unsigned round = 0; round < 10; round++) {
        struct ibv_mr *mr = ibv_reg_mr(pd, buffer, SIZE, access);
        REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
        CHECK(on_demand(mr->lkey, buffer), "it is on demand");
        CHECK(mr->addr == buffer && mr->length == SIZE, "what was asked for");
        first = first ? first : mr->lkey;
        same &= mr->lkey == first;
        CHECK_IS(ibv_dereg_mr(mr), 0);
        fresh(buffer, SIZE);
    }
    CHECK_IS(fake_prefetches(), prefetched + 10);
    return same && fake_registrations() == made + 1;
}

static void preloaded(void)
{
    enum { ATTEMPTS = 100 };
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    static const int accesses[] = {0, LOCAL};
    for (int i = 0; i < 2; i++) {
        check_says("under the preload a registration survives its memory");
        bool survived = false;
        for (int attempt = 0; attempt < ATTEMPTS && !survived; attempt++) {
            char *buffer = fresh(NULL, SIZE);
            survived = survives(pd, buffer, accesses[i]);
            munmap(buffer, SIZE);
            errno = 0;
            CHECK(!ibv_reg_mr(pd, buffer, SIZE, accesses[i]) && errno == EFAULT, "the error that it would have had");
            /* Nothing is idle that the next could be. */
            CHECK_IS(ibv_dealloc_pd(pd), 0);
            CHECK_IS(fake_live(), 0);
            pd = alloc_pd(context);
        }
        CHECK(survived, "not once in %d times ten", ATTEMPTS);
    }
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(fake_live(), 0);
    CHECK_IS(ibv_close_device(context), 0);
}

static void refused(void)
{
    check_says("under the preload soft-RoCE is refused, too");
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    char *buffer = fresh(NULL, SIZE);
    struct ibv_mr *mr = ibv_reg_mr(pd, buffer, SIZE, LOCAL);
    REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
    CHECK(!on_demand(mr->lkey, buffer), "it is pinned");
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(fake_prefetches(), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    munmap(buffer, SIZE);
}

int main(int argc, char **argv)
{
    check_watchdog(240);
    if (argc > 1) {
        if (strcmp(argv[1], "refused") == 0)
            refused();
        else
            preloaded();
        return check_result("odp");
    }
    on();
    incapable();
    off("all", "off");
    off("all", "yes");
    off("", "on");
    automatic();
    nothing_may_be_pinned();
    soft_roce("", false);
    soft_roce("0", false);
    soft_roce("yes", false);
    soft_roce("1", true);
    prefetching();
    implicit();
    return check_result("odp");
}
