/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that is not there, in the calls of a cache besides getting and finding; what memory.c says holds of them, too: what they return is what
 * they did. */
#include "refusing.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/uio.h>

enum { LIST = 40, PLACES = 1024 };

static kdreg_cache_t *cache, *member, *made;
static kdreg_group_t *group, *made_group;
static char *memory;
static size_t page, next_page;
static long live, ended, asked_to_end;

static int do_register(void *context, struct kdreg_registration *registration)
{
    (void)context;
    __atomic_add_fetch(&live, 1, __ATOMIC_SEQ_CST);
    registration->handle = registration->addr;
    return 0;
}

static int do_deregister(void *context, const struct kdreg_registration *registration)
{
    (void)context, (void)registration;
    __atomic_sub_fetch(&live, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void on_event(void *context, const struct kdreg_cache_event *event) { (void)context, (void)event; }

static struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;

/* Apart from the last, so that it is to be registered, and the last is not merged with it. */
static char *next_place(void) { return memory + next_page++ % PLACES * 4 * page; }

static int makes_group(void)
{
    struct kdreg_group_attr limits = KDREG_GROUP_ATTR_INIT;
    limits.max_entries = 64;
    return kdreg_group_create(&limits, &made_group);
}
static void destroys_group(void) { CHECK_IS(kdreg_group_destroy(made_group), 0); }

static int makes_member(void)
{
    attr.group = group;
    int error = kdreg_cache_create(NULL, &attr, &made);
    attr.group = NULL;
    return error;
}
static void destroys(void) { CHECK_IS(kdreg_cache_destroy(made), 0); }

static int gets_in_group(void)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(member, next_place(), page, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(member, entry);
}
static int evicts_in_group(void) { return kdreg_group_evict(group, page) < 0; }

static int gets_with(void)
{
    struct kdreg_get_attr with = {.size = sizeof with, .access = KDREG_ACCESS_READ, .flags = KDREG_GET_NO_MERGE, .alignment = 2 * page};
    kdreg_entry_t *entry;
    int error = kdreg_cache_get_with(cache, next_place(), page, &with, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

/* Beside the last: what is there is merged with it. */
static int merges(void)
{
    kdreg_entry_t *entry;
    char *place = next_place();
    for (int i = 0; i < 3; i++) {
        int error = kdreg_cache_get(cache, place + (size_t)i * page, page, KDREG_ACCESS_READ, &entry);
        if (error)
            return error;
        int answer = kdreg_entry_check(cache, entry, place + (size_t)i * page, page);
        CHECK(answer == KDREG_ENTRY_UNCHANGED || answer == KDREG_ENTRY_UNKNOWN, "kdreg_entry_check: %d", answer);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
    return 0;
}

static int gets_list(void)
{
    struct iovec list[LIST];
    kdreg_entry_t *entries[LIST];
    for (int i = 0; i < LIST; i++)
        list[i] = (struct iovec){next_place(), page};
    int error = kdreg_cache_getv(cache, list, LIST, KDREG_ACCESS_READ, entries);
    return error ? error : kdreg_cache_putv(cache, entries, LIST);
}

static void done(void *count) { __atomic_add_fetch((long *)count, 1, __ATOMIC_SEQ_CST); }

/* One that is held, whatever is refused. */
static kdreg_entry_t *held;
static int holds(void)
{
    int error = kdreg_cache_hold(cache, held);
    return error ? error : kdreg_cache_put(cache, held);
}
static int prioritizes(void) { return kdreg_cache_prioritize(cache, held, 7); }

static int drops(void)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, next_place(), page, KDREG_ACCESS_READ, &entry);
    if (error)
        return error;
    long before = asked_to_end;
    error = kdreg_cache_drop(cache, entry, done, &ended);
    asked_to_end += !error;
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(ended, error ? before : before + 1);
    return error;
}

static sem_t told;
static int outcome;

static void ready(void *context, int status, kdreg_entry_t *entry)
{
    (void)context;
    CHECK(!entry == !!status, "status %d with an entry", status);
    if (entry)
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    outcome = status;
    sem_post(&told);
}

static const struct kdreg_get_attr reading = {.size = sizeof reading, .access = KDREG_ACCESS_READ};

static int prefetches(void)
{
    int error = kdreg_cache_prefetch(cache, next_place(), page, &reading, ready, NULL);
    if (error)
        return error;
    while (sem_wait(&told))
        ;
    return outcome;
}

static int polls(void)
{
    char *place = next_place();
    kdreg_entry_t *entry;
    int status;
    while ((status = kdreg_cache_try_get(cache, place, page, &reading, &entry)) == -EAGAIN)
        check_sleep_ms(1);
    return status ? status : kdreg_cache_put(cache, entry);
}

/* The first prefetch of a cache, which has a thread started. */
static int begins_ahead(void)
{
    int error = kdreg_cache_create(NULL, &attr, &made);
    if (error)
        return error;
    error = kdreg_cache_prefetch(made, memory, page, &reading, NULL, NULL);
    CHECK_IS(kdreg_cache_destroy(made), 0);
    return error;
}

static int drains(void)
{
    int error = kdreg_cache_create(NULL, &attr, &made);
    if (error)
        return error;
    long before = ended;
    CHECK_IS(kdreg_cache_drain(made, done, &ended), 0);
    CHECK_IS(ended, before + 1);
    CHECK_IS(kdreg_cache_drain(made, NULL, NULL), 0);
    return kdreg_cache_destroy(made);
}

static int visit(void *context, kdreg_entry_t *entry)
{
    CHECK_IS(kdreg_cache_hold(context, entry), 0);
    return kdreg_cache_put(context, entry);
}
static int visits(void) { return kdreg_cache_each(cache, visit, cache); }
static int evicts(void) { return kdreg_cache_evict(cache, page) < 0; }

static int tells(void)
{
    struct kdreg_cache_info info = KDREG_CACHE_INFO_INIT;
    return kdreg_cache_caps(cache) ? kdreg_cache_info(cache, &info) : -EIO;
}

static char heard[100000];
static size_t receivers;
static void hears(void *context, int level, const char *message) { (void)context, (void)level, (void)message; }
static int adds_a_log(void) { return kdreg_add_log(hears, &heard[++receivers % sizeof heard], KDREG_LOG_DEBUG); }
static void removes_the_log(void) { CHECK_IS(kdreg_remove_log(hears, &heard[receivers % sizeof heard]), 0); }

static const struct call calls[] = {
    {"kdreg_group_create", makes_group, destroys_group},
    {"kdreg_cache_create in a group", makes_member, destroys},
    {"kdreg_cache_get in a group", gets_in_group, nothing},
    {"kdreg_group_evict", evicts_in_group, nothing},
    {"kdreg_cache_get_with", gets_with, nothing},
    {"kdreg_cache_get, merged", merges, nothing},
    {"kdreg_cache_getv", gets_list, nothing},
    {"kdreg_cache_hold", holds, nothing},
    {"kdreg_cache_prioritize", prioritizes, nothing},
    {"kdreg_cache_drop", drops, nothing},
    {"kdreg_cache_prefetch, the first", begins_ahead, nothing},
    {"kdreg_cache_prefetch", prefetches, nothing},
    {"kdreg_cache_try_get", polls, nothing},
    {"kdreg_cache_drain", drains, nothing},
    {"kdreg_cache_each", visits, nothing},
    {"kdreg_cache_evict", evicts, nothing},
    {"kdreg_cache_info and _caps", tells, nothing},
    {"kdreg_add_log", adds_a_log, removes_the_log},
};

static long in_use(kdreg_cache_t *of)
{
    struct kdreg_cache_stats stats = KDREG_CACHE_STATS_INIT;
    CHECK_IS(kdreg_cache_stats(of, &stats), 0);
    return (long)stats.in_use;
}

int main(void)
{
    check_watchdog(500);
    page = (size_t)sysconf(_SC_PAGESIZE);
    memory = check_space(PLACES * 4 * page);
    sem_init(&told, 0, 0);
    kdreg_set_log(NULL, NULL, KDREG_LOG_ERROR);
    attr.reg_with = do_register;
    attr.dereg_with = do_deregister;
    attr.event = on_event;
    attr.entry_size = 32;
    attr.max_entries = 200;
    kdreg_t *monitor = check_open(0);
    struct kdreg_group_attr limits = KDREG_GROUP_ATTR_INIT;
    limits.max_entries = 8;
    CHECK_IS(kdreg_group_create(&limits, &group), 0);
    REQUIRE(kdreg_cache_create(NULL, &attr, &cache) == 0, "kdreg_cache_create");
    REQUIRE(makes_member() == 0, "kdreg_cache_create in a group");
    member = made;
    REQUIRE(kdreg_cache_get(cache, memory + (4 * PLACES - 2) * page, page, KDREG_ACCESS_READ, &held) == 0, "kdreg_cache_get");
    check_says("each allocation of a call refused in turn, of those of a cache, of its entries, and of groups");
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++) {
        refuse_each(&calls[index], "");
        CHECK_EVENTUALLY(in_use(cache) == 1, 60, "after %s %ld entries are in use", calls[index].name, in_use(cache));
        CHECK_IS(in_use(member), 0);
    }
    CHECK_IS(kdreg_cache_put(cache, held), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_cache_destroy(member), 0);
    CHECK_IS(kdreg_group_destroy(group), 0);
    CHECK_IS(live, 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("memory_calls");
}
