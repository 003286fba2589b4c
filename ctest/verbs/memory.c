/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that is not there, in the calls of the verbs adaptor and the cache's own on its caches: what ../memory.c says holds of them, too. Over the
 * stand-in, whose registrations are allocated by this program, as a driver's are. */
#include "device.h"
#include "fake.h"

#include "../refusing.h"

#include <kdreg/verbs.h>

static struct ibv_pd *pd;
static kdreg_cache_t *cache, *made;
static char *memory;
static size_t next_page;

static int probes(void) { return kdreg_verbs_probe(); }
static int makes(void) { return kdreg_verbs_cache_create(pd, NULL, &made); }
static void destroys(void) { CHECK_IS(kdreg_cache_destroy(made), 0); }
static int gets_at(char *at, int access)
{
    kdreg_entry_t *entry;
    struct ibv_mr *mr;
    int error = kdreg_verbs_cache_get(cache, at, 4096, access, &mr, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}
static int gets(void) { return gets_at(memory + next_page++ % 1024 * 65536, IBV_ACCESS_LOCAL_WRITE); }
static int gets_much(void)
{
    /* Until something has to grow. */
    for (int index = 0; index < 300; index++) {
        int error = gets();
        if (error)
            return error;
    }
    return 0;
}
static int hits(void) { return gets_at(memory, IBV_ACCESS_LOCAL_WRITE); }
static int finds(void)
{
    kdreg_entry_t *entry;
    struct ibv_mr *mr;
    int error = kdreg_verbs_cache_find(cache, memory, 4096, IBV_ACCESS_LOCAL_WRITE, &mr, &entry);
    if (error == -ENOENT)
        return hits(); /* evicted: it is there the next time */
    return error ? error : kdreg_cache_put(cache, entry);
}
static int gets_what_is_no_right(void)
{
    int error = gets_at(memory, IBV_ACCESS_ZERO_BASED);
    return error == -EINVAL ? 0 : error;
}
static int gets_too_much(void)
{
    /* The device's refusal is -ENOMEM itself. */
    fake_limit(1);
    int error = gets_at(memory + 1024 * 65536, 0);
    fake_limit(0);
    return error == -ENOMEM ? 0 : error ? error : -EIO;
}
static int flushes(void) { return kdreg_cache_flush(cache) < 0; }
static int reaps(void) { return kdreg_cache_reap(cache) < 0; }

static const struct call calls[] = {
    {"kdreg_verbs_probe", probes, nothing},
    {"kdreg_verbs_cache_create", makes, destroys},
    {"kdreg_verbs_cache_get that registers", gets, nothing},
    {"kdreg_verbs_cache_get, many", gets_much, nothing},
    {"kdreg_verbs_cache_get that hits", hits, nothing},
    {"kdreg_verbs_cache_get of what is no right", gets_what_is_no_right, nothing},
    {"kdreg_verbs_cache_get of too much", gets_too_much, nothing},
    {"kdreg_verbs_cache_find", finds, nothing},
    {"kdreg_cache_flush", flushes, nothing},
    {"kdreg_cache_reap", reaps, nothing},
};

static void hears(void *context, int level, const char *message) { (void)context, (void)level, (void)message; }

int main(void)
{
    check_watchdog(250);
    if (!fake_last) {
        printf("skipped: a real libibverbs may do what it likes without memory\n");
        return CHECK_SKIPPED;
    }
    memory = check_space(1025 * 65536);
    struct ibv_context *context = open_device();
    pd = alloc_pd(context);
    check_says("each allocation refused in turn, in a process that has not used the library");
    refuse_first(&calls[0]);
    refuse_first(&calls[1]);
    REQUIRE(kdreg_verbs_cache_create(pd, NULL, &cache) == 0, "kdreg_verbs_cache_create");
    REQUIRE(hits() == 0, "kdreg_verbs_cache_get");
    check_says("each allocation of a call refused in turn");
    for (int level = KDREG_LOG_ERROR; level <= KDREG_LOG_DEBUG; level += KDREG_LOG_DEBUG - KDREG_LOG_ERROR) {
        CHECK_IS(kdreg_set_log(hears, NULL, level), 0);
        for (size_t index = 0; index < sizeof calls / sizeof *calls; index++)
            refuse_each(&calls[index], level == KDREG_LOG_DEBUG ? ", heard" : "");
    }
    CHECK(kdreg_cache_flush(cache) >= 0, "flush");
    CHECK_IS(fake_live(), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    ibv_dealloc_pd(pd);
    ibv_close_device(context);
    return check_result("verbs_memory");
}
