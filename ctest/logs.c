/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Several who want the library's messages, and take them from nobody. */
#include <pthread.h>

#include "check.h"
#include "plain.h"

struct listener {
    atomic_int messages, highest;
};

static void hear(void *context, int level, const char *message)
{
    struct listener *listener = context;
    CHECK(level >= KDREG_LOG_ERROR && level <= KDREG_LOG_DEBUG && message && message[0], "level %d", level);
    atomic_fetch_add(&listener->messages, 1);
    if (level > listener->highest)
        listener->highest = level;
}

/* One error, of the environment; and at the level of debugging a registration and its end. */
static void say(void)
{
    kdreg_t *monitor = NULL;
    setenv("KDREG_BACKEND", "no such backend", 1);
    CHECK_IS(kdreg_open(NULL, &monitor), -EINVAL);
    setenv("KDREG_BACKEND", "none", 1);
    CHECK_IS(kdreg_open(NULL, &monitor), 0);
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister, .flags = KDREG_CACHE_NO_REAPER};
    kdreg_cache_t *cache = NULL;
    kdreg_entry_t *entry = NULL;
    static char memory[1];
    CHECK_IS(kdreg_cache_create(monitor, &attr, &cache), 0);
    CHECK_IS(kdreg_cache_get(cache, memory, 1, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
}

static int taken(struct listener *listener)
{
    return atomic_exchange(&listener->messages, 0);
}

static void *change(void *context)
{
    for (int i = 0; i < 5000; i++) {
        CHECK_IS(kdreg_add_log(hear, context, KDREG_LOG_ERROR + i % 2), 0);
        CHECK_IS(kdreg_remove_log(hear, context), 0);
    }
    return NULL;
}

int main(void)
{
    check_watchdog(250);
    struct listener program = {0}, first = {0}, second = {0};
    check_says("each hears up to its own level, and none loses what it has to another");
    CHECK_IS(kdreg_set_log(hear, &program, KDREG_LOG_ERROR), 0);
    CHECK_IS(kdreg_add_log(hear, &first, KDREG_LOG_ERROR), 0);
    CHECK_IS(kdreg_add_log(hear, &second, KDREG_LOG_DEBUG), 0);
    say();
    CHECK_IS(taken(&program), 1);
    CHECK_IS(taken(&first), 1);
    CHECK(taken(&second) > 1 && second.highest > KDREG_LOG_WARN, "the second heard up to level %d", second.highest);
    struct listener other = {0};
    CHECK_IS(kdreg_set_log(hear, &other, KDREG_LOG_ERROR), 0);
    say();
    CHECK(taken(&program) == 0 && taken(&other) == 1 && taken(&first) == 1 && taken(&second) > 1, "another one was set");

    check_says("set and added: once; another level; removed");
    CHECK_IS(kdreg_add_log(hear, &other, KDREG_LOG_ERROR), 0);
    CHECK_IS(kdreg_add_log(hear, &second, KDREG_LOG_ERROR), 0);
    say();
    CHECK_IS(taken(&other), 1);
    CHECK_IS(taken(&first), 1);
    CHECK_IS(taken(&second), 1);
    CHECK_IS(kdreg_remove_log(hear, &first), 0);
    CHECK_IS(kdreg_remove_log(hear, &first), -ENOENT);
    CHECK_IS(kdreg_remove_log(hear, &second), 0);
    CHECK_IS(kdreg_remove_log(hear, &other), 0);
    say();
    CHECK(taken(&first) == 0 && taken(&second) == 0 && taken(&other) == 1, "who was removed still hears");

    check_says("threads that come and go, and what is in force afterwards");
    pthread_t threads[4];
    struct listener own[4] = {0};
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, change, &own[i]) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    taken(&other);
    CHECK_IS(kdreg_add_log(hear, &first, KDREG_LOG_DEBUG), 0);
    say();
    CHECK(taken(&first) > 1 && taken(&other) == 1, "after all that");

    check_says("bad arguments");
    CHECK_IS(kdreg_add_log(NULL, NULL, KDREG_LOG_ERROR), -EINVAL);
    CHECK_IS(kdreg_add_log(hear, &first, 0), -EINVAL);
    CHECK_IS(kdreg_add_log(hear, &first, 5), -EINVAL);
    CHECK_IS(kdreg_remove_log(NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_remove_log(hear, &second), -ENOENT);
    return check_result("logs");
}
