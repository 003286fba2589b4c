/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A group of which one cache is of memory regions and one of buffers of an io_uring: its limits hold for both together. */
#include "device.h"
#include "../uring.h"

#include <kdreg/uring.h>
#include <kdreg/verbs.h>
#include <pthread.h>
#include <sys/syscall.h>

enum { SIZE = 65536, MOST = 4 };

static kdreg_group_t *group;
static kdreg_cache_t *cache;
static kdreg_uring_t *uring;
static char *memory;

static struct kdreg_cache_stats of_cache(void)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_cache_stats(cache, &stats), 0);
    return stats;
}

static struct kdreg_cache_stats of_uring(void)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_IS(kdreg_uring_stats(uring, &stats), 0);
    return stats;
}

/* Places are apart from each other, so that nothing is merged. */
static char *place(int index) { return memory + (size_t)index * 2 * SIZE; }

static void use_region(int index)
{
    struct ibv_mr *mr = NULL;
    kdreg_entry_t *entry = NULL;
    int error = kdreg_verbs_cache_get(cache, place(index), SIZE, IBV_ACCESS_LOCAL_WRITE, &mr, &entry);
    REQUIRE(error == 0, "kdreg_verbs_cache_get: %s", kdreg_strerror(error));
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
}

static void use_buffer(int index)
{
    int slot = kdreg_uring_get(uring, place(index), SIZE);
    REQUIRE(slot >= 0, "kdreg_uring_get: %s", kdreg_strerror(slot));
    CHECK_IS(kdreg_uring_put(uring, slot), 0);
}

/* So many bytes are kept by each, and no more are registered. */
static void kept(int regions, int buffers)
{
    CHECK_IS(of_cache().bytes, (uint64_t)regions * SIZE);
    CHECK_IS(of_uring().bytes, (uint64_t)buffers * SIZE);
    CHECK_IS(of_cache().registrations - of_cache().deregistrations, regions);
    CHECK_IS(of_uring().registrations - of_uring().deregistrations, buffers);
}

static void *churn(void *argument)
{
    (void)argument;
    for (int i = 0; i < 300; i++)
        use_region(8 + i % 6);
    return NULL;
}

int main(void)
{
    check_watchdog(250);
    bool watches;
    CHECK_IS(kdreg_close(check_open_any(&watches)), 0);
    if (!watches) {
        printf("skipped: no backend that watches memory works here\n");
        return CHECK_SKIPPED;
    }
    int ring = open_ring();
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    memory = check_space((size_t)16 * 2 * SIZE);
    memset(memory, 1, (size_t)16 * 2 * SIZE);

    check_says("the bytes of a group are those of its memory regions and buffers together");
    struct kdreg_group_attr limits = KDREG_GROUP_ATTR_INIT;
    limits.max_bytes = (size_t)MOST * SIZE;
    CHECK_IS(kdreg_group_create(&limits, &group), 0);
    struct kdreg_verbs_attr verbs_attr = KDREG_VERBS_ATTR_INIT;
    verbs_attr.group = group;
    verbs_attr.flags = KDREG_CACHE_NO_REAPER;
    REQUIRE(kdreg_verbs_cache_create(pd, &verbs_attr, &cache) == 0, "kdreg_verbs_cache_create");
    struct kdreg_uring_attr uring_attr = KDREG_URING_ATTR_INIT;
    uring_attr.slots = 32;
    uring_attr.group = group;
    REQUIRE(kdreg_uring_create(NULL, ring, &uring_attr, &uring) == 0, "kdreg_uring_create");
    use_region(0);
    use_buffer(0);
    use_region(1);
    use_buffer(1);
    kept(2, 2);
    use_buffer(2); /* the first region goes */
    kept(1, 3);
    use_region(2); /* the first buffer */
    kept(2, 2);
    for (int i = 3; i < 3 + MOST; i++)
        use_region(i);
    kept(MOST, 0);
    for (int i = 3; i < 3 + MOST; i++)
        use_buffer(i);
    kept(0, MOST);
    CHECK_IS(kdreg_group_evict(group, SIZE), 1);
    kept(0, MOST - 1);

    check_says("what is held stays, and what does not fit beside it is not kept");
    int slots[MOST];
    for (int i = 0; i < MOST; i++)
        REQUIRE((slots[i] = kdreg_uring_get(uring, place(i), SIZE)) >= 0, "kdreg_uring_get");
    use_region(9);
    kept(0, MOST);
    CHECK_IS(of_cache().uncached, 1);
    for (int i = 0; i < MOST; i++)
        CHECK_IS(kdreg_uring_put(uring, slots[i]), 0);

    check_says("buffers that end while another thread makes room in them");
    CHECK_IS(kdreg_group_destroy(group), -EBUSY);
    for (int round = 0; round < 20; round++) {
        pthread_t other;
        REQUIRE(pthread_create(&other, NULL, churn, NULL) == 0, "pthread_create");
        for (int i = 0; i < 20; i++)
            use_buffer(i % 3);
        CHECK_IS(kdreg_uring_destroy(uring), 0);
        pthread_join(other, NULL);
        REQUIRE(kdreg_uring_create(NULL, ring, &uring_attr, &uring) == 0, "kdreg_uring_create");
    }
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    CHECK_IS(kdreg_group_destroy(group), -EBUSY);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_group_destroy(group), 0);
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    close(ring);
    return check_result("verbs_grouped");
}
