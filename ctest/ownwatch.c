/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A userfaultfd of the application's own: it works on all memory that is not cached, whether it never was or is not any more, and memory that
 * it owns is registered all the same, uncached. */
#include "harm.h"

static size_t page, length;
#define WP_UNPOPULATED (1ull << 13)
#define WP_ASYNC (1ull << 15)

static int open_own(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* UFFD_USER_MODE_ONLY */);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | WP_UNPOPULATED | WP_ASYNC};
    if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int watch(int fd, const char *start, size_t bytes)
{
    struct uffdio_register area = {.range = {(uintptr_t)start, bytes}, .mode = UFFDIO_REGISTER_MODE_WP};
    return ioctl(fd, UFFDIO_REGISTER, &area) ? errno : 0;
}

/* Registers, protects and writes, as a collector with write barriers by userfaultfd does; lets go again. */
static int works(const char *start)
{
    int fd = open_own(), error = watch(fd, start, length);
    struct uffdio_writeprotect protect = {.range = {(uintptr_t)start, length}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    if (!error && ioctl(fd, UFFDIO_WRITEPROTECT, &protect))
        error = errno;
    if (!error)
        *(volatile char *)start = 1;
    close(fd);
    return error;
}

/* Apart from any other: with addresses on both sides that nobody uses. */
static char *apart(void)
{
    char *start = mmap(NULL, length + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(start != MAP_FAILED, "mmap: %s", strerror(errno));
    REQUIRE(mprotect(start + page, length, PROT_READ | PROT_WRITE) == 0, "mprotect: %s", strerror(errno));
    return start + page;
}

/* Ways for what is cached to be cached no more. Each leaves at least a page of the memory mapped where the application then watches all. */
static void flush(kdreg_cache_t *cache, char *start) { (void)start; CHECK(kdreg_cache_flush(cache) >= 0, "kdreg_cache_flush"); }
static void invalidate(kdreg_cache_t *cache, char *start) { CHECK(kdreg_cache_invalidate(cache, start, length) >= 0, "kdreg_cache_invalidate"); }
static void discard(kdreg_cache_t *cache, char *start)
{
    REQUIRE(madvise(start, length, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    CHECK(kdreg_cache_reap(cache) >= 0, "kdreg_cache_reap");
}
static void map_again(kdreg_cache_t *cache, char *start)
{
    REQUIRE(mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == start, "mmap: %s", strerror(errno));
    CHECK(kdreg_cache_reap(cache) >= 0, "kdreg_cache_reap");
}
static void move_away(kdreg_cache_t *cache, char *start)
{
    char *target = apart();
    REQUIRE(mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target, "mremap: %s", strerror(errno));
    CHECK(kdreg_cache_reap(cache) >= 0, "kdreg_cache_reap");
    CHECK(works(target) == 0, "own userfaultfd on memory that was cached at another address");
    REQUIRE(mremap(target, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start, "mremap: %s", strerror(errno));
}
static void evict(kdreg_cache_t *cache, char *start)
{
    (void)start;
    for (int i = 0; i < 64; i++)
        harm_use(cache, apart(), page);
}

static const struct way {
    const char *name;
    void (*end)(kdreg_cache_t *cache, char *start);
} ways[] = {{"flushed", flush}, {"invalidated", invalidate}, {"discarded and reaped", discard}, {"mapped over and reaped", map_again}, {"moved and reaped", move_away}, {"evicted", evict}};

static void once_not_cached(const struct way *way, size_t bytes)
{
    check_says("%zu of %zu bytes cached, then %s: the application's own userfaultfd works", bytes, length, way->name);
    /* No thread of the library's reaps: what has been asked for has been done. */
    kdreg_cache_t *cache = harm_cache(16, KDREG_CACHE_NO_REAPER);
    char *start = apart();
    harm_use(cache, start + (bytes < length ? 4 * page : 0), bytes);
    way->end(cache, start);
    int error = works(start);
    CHECK(error == 0, "own userfaultfd on memory %s: %s", way->name, strerror(error));
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void never_given(kdreg_cache_t *cache)
{
    check_says("memory that the cache was never given");
    char *before = apart(), *buffer = apart(), *after = apart();
    harm_use(cache, buffer, length);
    CHECK_IS(works(before), 0);
    CHECK_IS(works(after), 0);
}

static void once_all_is_gone(void)
{
    check_says("the cache destroyed, an entry held till then");
    kdreg_cache_t *cache = harm_cache(0, 0);
    char *start = apart();
    kdreg_entry_t *entry;
    REQUIRE(kdreg_cache_get(cache, start, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(works(start), 0);

    check_says("a region monitored, and then not any more");
    kdreg_t *monitor = check_open(0);
    struct kdreg_region region;
    start = apart();
    CHECK_IS(kdreg_monitor(monitor, start + page, page, 1, &region), 0);
    CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
    CHECK_IS(works(start), 0);
    CHECK_IS(kdreg_monitor(monitor, start, length, 1, &region), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    CHECK_IS(works(start), 0);
}

/* With a reaper: when it has come round. */
static void reaped_by_itself(void)
{
    check_says("memory discarded, and nobody calls the library again");
    kdreg_cache_t *cache = harm_cache(0, 0);
    char *start = apart();
    harm_use(cache, start, length);
    REQUIRE(madvise(start, page, MADV_DONTNEED) == 0, "madvise");
    CHECK_EVENTUALLY(works(start) == 0, 60, "own userfaultfd on memory that nothing is cached of any more");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void owned_by_the_application(kdreg_cache_t *cache, bool by_kernel)
{
    check_says("memory that the application watches: registered, and cached once it is let go of");
    char *start = apart();
    int fd = open_own();
    CHECK_IS(watch(fd, start, length), 0);
    harm_use(cache, start, length);
    CHECK(by_kernel || !harm_cached(cache, start, length), "an entry over memory that another userfaultfd watches was found");
    close(fd);
    harm_use(cache, start, length);
    CHECK(by_kernel || harm_cached(cache, start, length), "memory that nobody else watches any more is not cached");
}

int main(void)
{
    check_watchdog(280);
    page = (size_t)sysconf(_SC_PAGESIZE);
    length = 256 * page;
    int fd = open_own();
    if (fd < 0) {
        printf("skipped: no userfaultfd with asynchronous write-protection here (Linux 6.7)\n");
        return CHECK_SKIPPED;
    }
    close(fd);
    bool by_kernel = harm_by_kernel();
    kdreg_cache_t *cache = harm_cache(0, 0);
    never_given(cache);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        once_not_cached(&ways[i], page);
        once_not_cached(&ways[i], length);
    }
    once_all_is_gone();
    reaped_by_itself();
    owned_by_the_application(cache, by_kernel);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    return check_result("ownwatch");
}
