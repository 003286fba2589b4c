/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* RDMA transfers from and to buffers that are unmapped and mapped again, every byte verified.
 *
 *   transfers            registered for each transfer by the adaptor
 *   transfers plain      by ibv_reg_mr() and ibv_dereg_mr(): what any program does, and what the preload is for
 *   transfers naive      by a cache that has no monitor. It must corrupt data, or this program would see nothing. */
#include "loopback.h"

#include <kdreg/verbs.h>

enum { SLOTS = 4, SIZE = 16384, TRANSFERS = 600 };

enum way { ADAPTOR, PLAIN, NAIVE };

/* One end of a transfer: memory at an address of its own, mapped anew now and then. */
struct end {
    unsigned char *memory;
    int access;
    struct ibv_mr *mr;
    struct ibv_mr *kept; /* the naive cache's */
    kdreg_entry_t *entry;
};

static enum way way;
static kdreg_cache_t *cache;
static struct loopback loopback;

static void begin(struct end *end)
{
    if (way == ADAPTOR) {
        int err = kdreg_verbs_cache_get(cache, end->memory, SIZE, end->access, &end->mr, &end->entry);
        REQUIRE(err == 0, "kdreg_verbs_cache_get: %s", kdreg_strerror(err));
    } else if (way == PLAIN || !end->kept) {
        end->mr = ibv_reg_mr(loopback.pd, end->memory, SIZE, end->access);
        REQUIRE(end->mr, "ibv_reg_mr: %s", strerror(errno));
        end->kept = way == NAIVE ? end->mr : NULL;
    } else {
        end->mr = end->kept;
    }
}

static void finish(struct end *end)
{
    if (way == ADAPTOR)
        CHECK_IS(kdreg_cache_put(cache, end->entry), 0);
    else if (way == PLAIN)
        CHECK_IS(ibv_dereg_mr(end->mr), 0);
}

/* New memory at the same address, without an own registration in the way. */
static void remap(struct end *end)
{
    // In one step: a mapping of another thread's could take the place in between.
    REQUIRE(fresh(end->memory, SIZE) == end->memory, "the same address");
}

int main(int argc, char **argv)
{
    check_watchdog(350);
    if (argc > 1)
        way = strcmp(argv[1], "naive") == 0 ? NAIVE : PLAIN;
    loopback = open_loopback();
    if (way == ADAPTOR)
        REQUIRE(kdreg_verbs_cache_create(loopback.pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    struct end from[SLOTS] = {{0}}, to[SLOTS] = {{0}};
    for (int i = 0; i < SLOTS; i++) {
        /* Not neighbours: each is a registration of its own. */
        from[i] = (struct end){.memory = fresh(NULL, 3 * SIZE), .access = 0};
        to[i] = (struct end){.memory = fresh(NULL, 3 * SIZE), .access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE};
    }
    unsigned corrupted = 0, remapped = 0;
    for (unsigned i = 0; i < TRANSFERS; i++) {
        struct end *source = &from[i % SLOTS], *target = &to[i / SLOTS % SLOTS];
        if (i % 7 == 3)
            remap(source), remapped++;
        if (i % 11 == 5)
            remap(target), remapped++;
        fill(source->memory, SIZE, i);
        begin(source);
        begin(target);
        rdma_write(&loopback, source->memory, source->mr->lkey, target->memory, target->mr->rkey, SIZE);
        finish(source);
        finish(target);
        corrupted += memcmp(source->memory, target->memory, SIZE) != 0;
    }
    printf("%d transfers, %u times remapped, %u corrupted\n", TRANSFERS, remapped, corrupted);
    if (way == NAIVE) {
        CHECK(corrupted > 0, "a cache without a monitor is seen to corrupt data");
        for (int i = 0; i < SLOTS; i++)
            CHECK_IS(ibv_dereg_mr(from[i].kept) | ibv_dereg_mr(to[i].kept), 0);
    } else {
        CHECK_IS(corrupted, 0);
    }
    if (way == ADAPTOR) {
        struct kdreg_cache_stats stats = {.size = sizeof stats};
        CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
        printf("%llu hits, %llu registrations\n", (unsigned long long)stats.hits, (unsigned long long)stats.registrations);
        CHECK(stats.hits + stats.misses == 2 * TRANSFERS, "every registration was looked up");
        CHECK(stats.registrations >= remapped && stats.registrations <= remapped + 4 * SLOTS, "%llu registrations for %u remappings",
              (unsigned long long)stats.registrations, remapped);
        CHECK_IS(kdreg_cache_destroy(cache), 0);
    }
    close_loopback(&loopback);
    return check_result("transfers");
}
