/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that one thread discards, or maps anew, while another one asks for what lies beside it: nothing that is found is from before, and
 * memory that is mapped throughout is always served. */
#include <pthread.h>
#include <sys/uio.h>

#include "caches.h"
#include "../tools/newer/newer.h"
#include "plain.h"

enum { PAGES = 16, ROUNDS = 6000 };

static size_t page;

/* The pages that two threads share: the first is one's own. What it holds tells what is registered over it. */
struct block {
    kdreg_cache_t *cache;
    char *memory;
    atomic_bool over;
    atomic_int failed;
};

static int block_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    const struct block *block = context;
    char *from = addr;
    (void)access;
    bool all = from <= block->memory && from + length >= block->memory + page;
    /* By way of the page tables, as a card's driver finds the page that it pins: a load may still find it in the processor's TLB once it is gone. */
    long stamp = -1;
    struct iovec into = {&stamp, sizeof stamp}, of = {block->memory, sizeof stamp};
    if (all && process_vm_readv(getpid(), &into, 1, &of, 1, 0) != (ssize_t)sizeof stamp)
        return -EFAULT;
    *handle = (void *)stamp;
    return 0;
}

static kdreg_cache_t *create(kdreg_t *monitor, kdreg_register_fn reg, void *context, size_t alignment)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = reg, .dereg = plain_deregister, .ctx = context, .alignment = alignment};
    return new_cache(monitor, &attr);
}

/* Asks for pages of its own, again and again: every second one, and each with its neighbour, so that there is something to merge. */
static void *neighbour(void *argument)
{
    struct block *block = argument;
    for (size_t at = 1; !atomic_load(&block->over); at = at % (PAGES - 2) + 1) {
        kdreg_entry_t *entry;
        if (kdreg_cache_get(block->cache, block->memory + at * page, (1 + at % 2) * page, KDREG_ACCESS_READ, &entry) ||
            kdreg_cache_put(block->cache, entry))
            atomic_fetch_add(&block->failed, 1);
    }
    return NULL;
}

static const struct kind {
    const char *name;
    int advice;
    bool shared;
} kinds[] = {
    {"MADV_DONTNEED", MADV_DONTNEED, false},
    {"MADV_DONTNEED_LOCKED", MADV_DONTNEED_LOCKED, false},
    {"MADV_REMOVE", MADV_REMOVE, true},
};

static void of_ones_own(kdreg_t *monitor, const struct kind *kind, size_t alignment, const char *merging)
{
    check_says("%s of a page of one's own, %s", kind->name, merging);
    char *space = mmap(NULL, 2 * PAGES * page, PROT_READ | PROT_WRITE, (kind->shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    REQUIRE(space != MAP_FAILED, "mmap: %s", strerror(errno));
    struct block block = {.memory = (char *)(((size_t)space + PAGES * page - 1) & -(PAGES * page))};
    block.cache = create(monitor, block_register, &block, alignment);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, neighbour, &block) == 0, "pthread_create");
    long now = 1;
    int stale = 0;
    for (int round = 0; round < ROUNDS; round++) {
        *(volatile long *)block.memory = ++now;
        if (madvise(block.memory, page, kind->advice)) {
            if (round == 0 && errno == EINVAL) {
                printf("  not on this kernel\n");
                break;
            }
            REQUIRE(false, "madvise: %s", strerror(errno));
        }
        long gone = now;
        *(volatile long *)block.memory = ++now;
        kdreg_entry_t *entry;
        REQUIRE(kdreg_cache_get(block.cache, block.memory, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
        long seen = (long)kdreg_entry_handle(entry);
        CHECK(seen != -1, "an entry without the page was handed out");
        stale += seen != 0 && seen <= gone;
        CHECK_IS(kdreg_cache_put(block.cache, entry), 0);
    }
    CHECK(stale == 0, "%d of %d registrations were of the page that was discarded before they were asked for", stale, ROUNDS);
    atomic_store(&block.over, true);
    pthread_join(thread, NULL);
    CHECK_IS(atomic_load(&block.failed), 0);
    CHECK_IS(kdreg_cache_destroy(block.cache), 0);
    munmap(space, 2 * PAGES * page);
}

static bool is_kept(kdreg_cache_t *cache, char *memory, size_t length)
{
    kdreg_entry_t *entry;
    REQUIRE(kdreg_cache_get(cache, memory, length, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    int error = kdreg_cache_find(cache, memory, length, KDREG_ACCESS_READ, &entry);
    CHECK(error == 0 || error == -ENOENT, "kdreg_cache_find: %s", kdreg_strerror(error));
    if (error == 0)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    return error == 0;
}

/* Within the tenth of a second that is documented, as far as this machine lets a test look so soon. */
static void of_a_part(kdreg_t *monitor)
{
    enum { TRIES = 200 };
    bool told = strcmp(kdreg_backend_name(monitor), "userfaultfd") == 0;
    check_says("a pool of which a part was discarded a moment ago is served, and kept %s", told ? "only later" : "at once");
    char *pool = check_space(PAGES * page);
    kdreg_cache_t *cache = create(monitor, plain_register, NULL, 0);
    int looked = 0;
    for (int try = 0; try < TRIES && looked < 3; try++) {
        CHECK_EVENTUALLY(is_kept(cache, pool, PAGES * page), 60, "the pool is never kept");
        double before = check_now();
        REQUIRE(madvise(pool, page, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
        bool kept = is_kept(cache, pool, PAGES * page);
        if (told && check_now() - before > 0.08)
            continue;
        looked++;
        CHECK(kept == !told, "the pool is %skept", kept ? "" : "not ");
    }
    printf("  looked soon enough %d times\n", looked);

    check_says("what was discarded as a whole is kept at once, and so is what lies beside it");
    REQUIRE(madvise(pool, 2 * page, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    check_sleep_ms(200);
    REQUIRE(madvise(pool, 2 * page, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    CHECK(is_kept(cache, pool, 2 * page), "what was discarded as a whole is not kept");
    CHECK(is_kept(cache, pool + 4 * page, page), "what lies beside it is not kept");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(pool, PAGES * page);
}

static void *mapper(void *argument)
{
    struct block *block = argument;
    for (unsigned at = 0; !atomic_load(&block->over); at = (at * 5 + 3) % PAGES) {
        size_t length = (1 + at % 3) * page;
        if (at * page + length > PAGES * page)
            length = page;
        if (mmap(block->memory + at * page, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            atomic_fetch_add(&block->failed, 1);
    }
    return NULL;
}

static void mapped_throughout(kdreg_t *monitor, size_t alignment, const char *merging)
{
    check_says("memory that is mapped over again and again, never unmapped, %s", merging);
    char *space = check_space(2 * PAGES * page);
    struct block block = {.memory = (char *)(((size_t)space + PAGES * page - 1) & -(PAGES * page))};
    block.cache = create(monitor, plain_register, &block, alignment);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, mapper, &block) == 0, "pthread_create");
    for (unsigned round = 0, at = 0; round < ROUNDS; round++, at = (at * 5 + 1) % PAGES) {
        kdreg_entry_t *entry;
        size_t length = at + 4 <= PAGES ? 4 * page : page;
        int error = kdreg_cache_get(block.cache, block.memory + at * page, length, KDREG_ACCESS_READ, &entry);
        CHECK(error == 0, "kdreg_cache_get of memory that is mapped: %s", kdreg_strerror(error));
        if (error == 0)
            CHECK_IS(kdreg_cache_put(block.cache, entry), 0);
    }
    atomic_store(&block.over, true);
    pthread_join(thread, NULL);
    CHECK_IS(atomic_load(&block.failed), 0);

    check_says("and memory that is not mapped is still refused");
    munmap(block.memory + 8 * page, page);
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(block.cache, block.memory + 7 * page, 3 * page, KDREG_ACCESS_READ, &entry);
    CHECK(error == -EFAULT || strcmp(kdreg_backend_name(monitor), "userfaultfd"), "kdreg_cache_get over a hole: %s", kdreg_strerror(error));
    if (error == 0)
        CHECK_IS(kdreg_cache_put(block.cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(block.cache), 0);
    munmap(space, 2 * PAGES * page);
}

int main(void)
{
    check_watchdog(560);
    page = (size_t)sysconf(_SC_PAGESIZE);
    kdreg_t *monitor = check_open(0);
    if (kdreg_caps(monitor) & KDREG_CAP_DISCARD) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            of_ones_own(monitor, &kinds[i], PAGES * page, "in a block that is registered as one");
            of_ones_own(monitor, &kinds[i], 0, "beside others");
        }
        of_a_part(monitor);
    }
    mapped_throughout(monitor, 0, "asked for as it is");
    mapped_throughout(monitor, PAGES * page, "in a block that is registered as one");
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("discards");
}
