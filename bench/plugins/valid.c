/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * kdreg_valid() alone, on words that are current: the instructions that a
 * caller runs on the kernel backend, whether or not the module is here.
 */
#include "plugin.h"

#include <kdreg.h>

static const char *const variants[] = {"word current, as on the kernel backend", NULL};

struct words {
    struct kdreg_region *regions;
    uint32_t *words;
};

static void end(void *cache)
{
    struct words *w = cache;

    free(w->regions);
    free(w->words);
    free(w);
}

static void *start(const char *variant, const struct bench_setup *setup, char *why, size_t room)
{
    struct words *w = calloc(1, sizeof *w);

    (void)variant, (void)setup;
    return w ? w : bench_refuse(why, room, "out of memory");
}

static int watch(void *cache, const struct bench_key *keys, size_t count)
{
    struct words *w = cache;

    (void)keys;
    free(w->regions);
    free(w->words);
    w->regions = calloc(count, sizeof *w->regions);
    w->words = calloc(count, sizeof *w->words);
    if (!w->regions || !w->words)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        w->words[i] = 1;
        w->regions[i] = (struct kdreg_region){.word = &w->words[i], .generation = 1};
    }
    return 0;
}

static size_t valid(void *cache, size_t count, size_t times)
{
    struct words *w = cache;
    size_t yes = 0;

    while (times) {
        size_t now = times < count ? times : count;

        for (size_t i = 0; i < now; i++)
            yes += kdreg_valid(&w->regions[i]);
        times -= now;
    }
    return yes;
}

/* No cache. */
static int hit(void *cache, const struct bench_key *keys, size_t count)
{
    (void)cache, (void)keys, (void)count;
    return -ENOSYS;
}

const struct bench_plugin bench_plugin = {
    .version = BENCH_PLUGIN_VERSION,
    .variants = variants,
    .open = start,
    .close = end,
    .hit = hit,
    .watch = watch,
    .valid = valid,
};
