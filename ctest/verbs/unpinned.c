/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* RDMA transfers without leave to pin anything, registered on demand: every byte right while the memory is unmapped, moved, swapped out,
 * migrated and discarded, between transfers and under them, and nothing pinned. How often the device faulted in transfers is counted, with
 * prefetching and without. For soft-RoCE: with packets of a page each, and advising.c preloaded. */
#include "faults.h"
#include "loopback.h"
#include "said.h"

#include <fcntl.h>
#include <kdreg/verbs.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4, SIZE = PAGES * PAGE, SLOTS = 4, TRANSFERS = 120 };

/* Pages that were away when they were transferred, or had been elsewhere: what is not seen to happen was not tested. */
static struct {
    unsigned unmapped, moved, discarded, swapped, migrated;
} upsets;
static bool swap;
static int other_node; /* 0: there is none */

static long pinned_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "VmPin: %ld", &kib);
    if (file)
        fclose(file);
    return kib;
}

/* Root without its leave to pin. */
static void bound(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    struct rlimit none = {0, 0};
    REQUIRE(syscall(SYS_capget, &header, data) == 0, "capget: %s", strerror(errno));
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    data[0].permitted &= ~(1u << CAP_IPC_LOCK);
    REQUIRE(syscall(SYS_capset, &header, data) == 0 && setrlimit(RLIMIT_MEMLOCK, &none) == 0, "giving up: %s", strerror(errno));
}

/* The pages go to the swap disk; what they hold stays. */
static void swap_out(unsigned char *memory)
{
    REQUIRE(madvise(memory, SIZE, MADV_PAGEOUT) == 0, "MADV_PAGEOUT: %s", strerror(errno));
    upsets.swapped += pages_swapped(memory, SIZE);
}

/* The pages go to the memory node where they are not; what they hold stays. */
static void migrate(unsigned char *memory)
{
    int status[PAGES], nodes[PAGES];
    void *pages[PAGES];
    for (int i = 0; i < PAGES; i++)
        pages[i] = memory + PAGE * i;
    if (!other_node || syscall(SYS_move_pages, 0, PAGES, pages, NULL, status, 0) != 0)
        return;
    for (int i = 0; i < PAGES; i++)
        nodes[i] = !status[i];
    if (syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, 2 /* MPOL_MF_MOVE */) == 0)
        for (int i = 0; i < PAGES; i++)
            upsets.migrated += status[i] == nodes[i];
}

/* The address is other memory's afterwards, which holds anything. */
static void replace(unsigned char *memory, unsigned how)
{
    void *aside;
    switch (how % 3) {
    case 0: /* munmap and mmap, in one step: another thread's mapping could take the place in between */
        REQUIRE(fresh(memory, SIZE) == memory, "the same address");
        upsets.unmapped++;
        break;
    case 1:
        aside = fresh(NULL, SIZE);
        memset(aside, 0x5a, SIZE);
        REQUIRE(mremap(aside, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, memory) == memory, "mremap: %s", strerror(errno));
        upsets.moved++;
        break;
    default:
        REQUIRE(madvise(memory, SIZE, MADV_DONTNEED) == 0, "MADV_DONTNEED: %s", strerror(errno));
        upsets.discarded++;
    }
}

static struct ibv_mr *get(kdreg_cache_t *cache, unsigned char *memory, int access, kdreg_entry_t **entry)
{
    struct ibv_mr *mr;
    int err = kdreg_verbs_cache_get(cache, memory, SIZE, access, &mr, entry);
    REQUIRE(err == 0, "kdreg_verbs_cache_get: %s", kdreg_strerror(err));
    return mr;
}

/* Takes pages away while the device is about to use them. */
struct thief {
    pthread_t thread;
    atomic_bool stop;
    unsigned char *buffers[2 * SLOTS];
    unsigned taken;
};

static void *steal(void *argument)
{
    struct thief *thief = argument;
    for (unsigned i = 0; !atomic_load(&thief->stop); i++) {
        unsigned char *memory = thief->buffers[i % (2 * SLOTS)];
        /* What is being replaced is not there for a moment. */
        if (i / (2 * SLOTS) % 2)
            migrate(memory);
        else
            thief->taken += madvise(memory, SIZE, MADV_PAGEOUT) == 0;
        sched_yield();
    }
    return NULL;
}

/* How often the device faulted in transfers; below 0 where that cannot be known. */
static long storm(struct loopback *loopback, const char *prefetch, bool stolen)
{
    setenv("KDREG_VERBS_ODP_PREFETCH", prefetch, 1);
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(loopback->pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    unsigned char *from[SLOTS], *to[SLOTS], *expected = fresh(NULL, SIZE);
    for (int i = 0; i < SLOTS; i++) /* not neighbours: each is a registration of its own */
        from[i] = fresh(NULL, 3 * SIZE), to[i] = fresh(NULL, 3 * SIZE);
    struct thief thief = {0};
    for (int i = 0; i < SLOTS; i++)
        thief.buffers[2 * i] = from[i], thief.buffers[2 * i + 1] = to[i];
    unsigned corrupted = 0;
    long pinned = 0, faults = 0;
    memset(&upsets, 0, sizeof upsets);
    if (stolen)
        REQUIRE(pthread_create(&thief.thread, NULL, steal, &thief) == 0, "a thread");
    for (unsigned i = 0; i < TRANSFERS; i++) {
        unsigned char *source = from[i % SLOTS], *target = to[i / SLOTS % SLOTS];
        kdreg_entry_t *entry[2];
        if (i % 3 == 1)
            replace(source, i / 3);
        if (i % 4 == 2)
            replace(target, i / 4);
        fill(source, SIZE, i);
        fill(expected, SIZE, i);
        /* What soft-RoCE writes into a page that is clean can be lost with it: soft_roce.c. */
        memset(target, (int)i, SIZE);
        /* soft-RoCE prefetches only what it may write to: so the source is registered for that, too. */
        struct ibv_mr *sent = get(cache, source, IBV_ACCESS_LOCAL_WRITE, &entry[0]);
        struct ibv_mr *received = get(cache, target, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, &entry[1]);
        /* While the device has translations. */
        if (i % 8 == 5)
            swap_out(source);
        if (i % 8 == 7)
            migrate(source), migrate(target);
        long before = faults_count();
        rdma_write(loopback, source, sent->lkey, target, received->rkey, SIZE);
        faults += faults_count() - before;
        long now = pinned_kib();
        pinned = now < 0 || now > pinned ? now : pinned;
        CHECK_IS(kdreg_cache_put(cache, entry[0]), 0);
        CHECK_IS(kdreg_cache_put(cache, entry[1]), 0);
        if (i % 8 == 3)
            swap_out(target);
        corrupted += memcmp(expected, target, SIZE) != 0 || memcmp(expected, source, SIZE) != 0;
    }
    if (stolen) {
        atomic_store(&thief.stop, true);
        pthread_join(thief.thread, NULL);
        CHECK(thief.taken, "pages were taken under transfers");
    }
    if (faults_count() < 0)
        faults = -1;
    printf("| prefetching up to %s bytes%s: %d transfers, %u corrupted, %ld KiB pinned, %ld faults; %u ranges unmapped, %u moved, %u discarded, "
           "%u pages swapped out, %u migrated\n",
           prefetch, stolen ? ", another thread taking pages" : "", TRANSFERS,
           corrupted, pinned, faults, upsets.unmapped, upsets.moved, upsets.discarded, upsets.swapped, upsets.migrated);
    CHECK_IS(corrupted, 0);
    CHECK_IS(pinned, 0);
    CHECK(upsets.unmapped && upsets.moved && upsets.discarded, "each change was made");
    CHECK(!swap || upsets.swapped, "pages were swapped out");
    CHECK(!other_node || upsets.migrated, "pages were migrated");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    for (int i = 0; i < SLOTS; i++)
        munmap(from[i], 3 * SIZE), munmap(to[i], 3 * SIZE);
    munmap(expected, SIZE);
    return faults;
}

/* Whoever may pin nothing and has nothing on demand is told why nothing is registered. */
static void pinned(struct loopback *loopback)
{
    unsigned char *memory = fresh(NULL, SIZE);
    struct ibv_mr *mr;
    kdreg_entry_t *entry;
    CHECK(!ibv_reg_mr(loopback->pd, memory, SIZE, 0) && errno == EPERM, "nothing can be pinned");
    setenv("KDREG_VERBS_ODP", "off", 1);
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(loopback->pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    CHECK_IS(said_begin(), 0);
    CHECK_IS(kdreg_verbs_cache_get(cache, memory, SIZE, 0, &mr, &entry), -EPERM);
    CHECK(strstr(said, "RLIMIT_MEMLOCK is 0"), "the log says '%s'", said);
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, SIZE);
}

/* What auto does where nothing can be pinned: small as it is, the registration is on demand. */
static void automatic(struct loopback *loopback)
{
    setenv("KDREG_VERBS_ODP", "auto", 1);
    kdreg_cache_t *cache;
    REQUIRE(kdreg_verbs_cache_create(loopback->pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    unsigned char *memory = fresh(NULL, SIZE);
    kdreg_entry_t *entry;
    get(cache, memory, IBV_ACCESS_LOCAL_WRITE, &entry);
    CHECK_IS(pinned_kib(), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, SIZE);
}

static bool anything_in(const char *file, int lines)
{
    char line[256];
    FILE *opened = fopen(file, "r");
    while (opened && fgets(line, sizeof line, opened))
        lines--;
    if (opened)
        fclose(opened);
    return lines < 0;
}

int main(void)
{
    check_watchdog(350);
    swap = anything_in("/proc/swaps", 1);
    other_node = access("/sys/devices/system/node/node1", F_OK) == 0;
    /* Before the device is opened: who has other rights than then is refused. */
    bound();
    /* soft-RoCE copies whole pages alone right (docs/verbs.md): so each packet is one. */
    setenv("KDREG_VERBS_ODP_PAGES", "1", 1);
    CHECK(system("ip link set dummy0 mtu 9000") == 0, "a packet has room for a page");
    struct loopback loopback = open_loopback();
    struct ibv_device_attr_ex attr;
    if (ibv_query_device_ex(loopback.context, NULL, &attr) || !(attr.odp_caps.general_caps & IBV_ODP_SUPPORT)) {
        printf("skipped: this device has no on-demand paging\n");
        return CHECK_SKIPPED;
    }
    pinned(&loopback);
    faults_begin();
    setenv("KDREG_VERBS_ODP", "on", 1);
    long without = storm(&loopback, "0", false), with = storm(&loopback, "67108864", false);
    CHECK(with < 0 || with < without - without / 4, "%ld faults with prefetching, %ld without", with, without);
    storm(&loopback, "0", true);
    storm(&loopback, "67108864", true);
    automatic(&loopback);
    faults_end();
    close_loopback(&loopback);
    CHECK(system("ip link set dummy0 mtu 1500") == 0, "as before");
    return check_result("unpinned");
}
