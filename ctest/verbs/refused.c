/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Registrations that the kernel refuses: read-only memory, and more than RLIMIT_MEMLOCK. An errno, and a message that says what to do. Over a
 * real device, as root to begin with. */
#include "device.h"
#include "said.h"

#include <grp.h>
#include <kdreg/verbs.h>
#include <sys/resource.h>

#define SIZE ((size_t)64 * 1024)

static void read_only(kdreg_cache_t *cache)
{
    check_says("read-only memory can be registered for reading, and not for the device to write");
    char *buffer = fresh(NULL, SIZE);
    memset(buffer, 1, SIZE);
    REQUIRE(mprotect(buffer, SIZE, PROT_READ) == 0, "mprotect: %s", strerror(errno));
    struct ibv_mr *mr = NULL;
    kdreg_entry_t *entry;
    for (int i = 0; i < 2; i++) {
        said[0] = 0;
        CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, IBV_ACCESS_LOCAL_WRITE, &mr, &entry), -EFAULT);
        CHECK(mr == NULL, "nothing was written");
        CHECK(i || strstr(said, "read-only"), "the log says '%s'", said);
        CHECK(!i || !said[0], "once is enough: '%s'", said);
        if (said[0])
            printf("  %s\n", said);
    }
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, IBV_ACCESS_REMOTE_READ, &mr, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    check_says("and what is registered stays when more rights are refused");
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, SIZE, IBV_ACCESS_LOCAL_WRITE, &mr, &entry), -EFAULT);
    CHECK_IS(kdreg_verbs_cache_find(cache, buffer, SIZE, IBV_ACCESS_REMOTE_READ, &mr, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    munmap(buffer, SIZE);
}

static void unmapped(kdreg_cache_t *cache)
{
    char *buffer = fresh(NULL, 2 * SIZE);
    munmap(buffer + SIZE, SIZE);
    struct ibv_mr *mr;
    kdreg_entry_t *entry;
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer, 2 * SIZE, 0, &mr, &entry), -EFAULT);
    munmap(buffer, SIZE);
}

static void memlock(kdreg_cache_t *cache)
{
    char *buffer = fresh(NULL, 32 * SIZE);
    struct ibv_mr *mr;
    kdreg_entry_t *held[3], *entry;
    for (size_t i = 0; i < 10; i++) {
        int err = kdreg_verbs_cache_get(cache, buffer + 2 * i * SIZE, SIZE, IBV_ACCESS_LOCAL_WRITE, &mr, &entry);
        REQUIRE(err == 0, "registration %zu: %s", i, kdreg_strerror(err));
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
    CHECK(stats.evictions >= 6, "%llu evictions", (unsigned long long)stats.evictions);
    CHECK(kdreg_cache_flush(cache) > 0, "something was idle");
    for (size_t i = 0; i < 3; i++)
        REQUIRE(kdreg_verbs_cache_get(cache, buffer + 2 * i * SIZE, SIZE, 0, &mr, &held[i]) == 0, "three fit");
    said[0] = 0;
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer + 8 * SIZE, 2 * SIZE, 0, &mr, &entry), -ENOMEM);
    CHECK(strstr(said, "RLIMIT_MEMLOCK") && strstr(said, "256 KiB") && strstr(said, "ulimit -l"), "the log says '%s'", said);
    printf("  %s\n", said);
    for (size_t i = 0; i < 3; i++)
        CHECK_IS(kdreg_cache_put(cache, held[i]), 0);
    CHECK_IS(kdreg_verbs_cache_get(cache, buffer + 8 * SIZE, 2 * SIZE, 0, &mr, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    munmap(buffer, 32 * SIZE);
}

/* To root no limit applies, and what root has opened the kernel does not let another user write to: a device opened anew. The monitor's
 * device may be root's alone, and can be used by whoever has it. */
static void as_nobody(kdreg_t *monitor)
{
    check_says("a small RLIMIT_MEMLOCK: what is idle makes room, what is in use does not");
    struct rlimit limit = {4 * SIZE, 4 * SIZE};
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "setrlimit: %s", strerror(errno));
    REQUIRE(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0, "leaving root: %s", strerror(errno));
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    struct kdreg_verbs_attr attr = {.size = sizeof attr, .monitor = monitor};
    kdreg_cache_t *cache;
    int err = kdreg_verbs_cache_create(pd, &attr, &cache);
    REQUIRE(err == 0, "kdreg_verbs_cache_create: %s", kdreg_strerror(err));
    memlock(cache);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
}

int main(void)
{
    check_watchdog(240);
    if (geteuid() != 0) {
        printf("skipped: only root can become somebody else\n");
        return CHECK_SKIPPED;
    }
    CHECK_IS(said_begin(), 0);
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    kdreg_t *monitor;
    REQUIRE(kdreg_open(NULL, &monitor) == 0, "kdreg_open");
    kdreg_cache_t *cache;
    int err = kdreg_verbs_cache_create(pd, NULL, &cache);
    REQUIRE(err == 0, "kdreg_verbs_cache_create: %s", kdreg_strerror(err));
    read_only(cache);
    unmapped(cache);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    as_nobody(monitor);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("refused");
}
