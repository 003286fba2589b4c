/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What must hold after the change: one event for each region that changed, with a reason that fits, and no hit over what changed. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cell.h"

/* Takes so many, or more. Returns how many. */
static int take_events(int expected)
{
    struct pollfd pollfd = {.fd = kdreg_fd(cell.monitor), .events = POLLIN};
    int taken = 0;
    while (taken < expected) {
        if (poll(&pollfd, 1, EVENT_WAIT_MS) != 1 || !(pollfd.revents & POLLIN))
            failed("%d of %d events pending, and the descriptor does not poll readable", taken, expected);
        struct kdreg_event events[REGIONS + 1];
        int count = kdreg_check(cell.monitor, events, REGIONS + 1);
        if (count < 0)
            failed("kdreg_check: %s", kdreg_strerror(count));
        for (int i = 0; i < count; i++) {
            if (events[i].cookie < 1 || events[i].cookie > REGIONS)
                failed("an event with the unknown cookie %llu", (unsigned long long)events[i].cookie);
            struct watched *watched = &cell.watched[events[i].cookie - 1];
            watched->events++;
            watched->reason = events[i].reason;
            if (events[i].addr != watched->addr || events[i].length != watched->length)
                failed("event for region %d says %p+%zu, it was %p+%zu", (int)events[i].cookie - 1, (const void *)events[i].addr, events[i].length,
                       (const void *)watched->addr, watched->length);
        }
        taken += count;
    }
    return taken;
}

/* Its programs tell of changes to any memory, and in one of its modes not why. */
static bool is_bpf(void)
{
    return strcmp(kdreg_backend_name(cell.monitor), "bpf") == 0;
}

static bool readable(void)
{
    struct pollfd pollfd = {.fd = kdreg_fd(cell.monitor), .events = POLLIN};
    return poll(&pollfd, 1, 0) != 0;
}

/* A word that changed is the last word; a check that gave up while changes were still being taken in is not. */
static bool has_changed(const struct kdreg_region *region)
{
    for (int patience = 0; patience < EVENT_WAIT_MS && !kdreg_valid(region); patience++) {
        if (__atomic_load_n(region->word, __ATOMIC_ACQUIRE) != region->generation)
            return true;
        usleep(1000);
    }
    return !kdreg_valid(region);
}

static int changed_regions(void)
{
    int changed = 0;
    for (int i = 0; i < REGIONS; i++)
        changed += !cell.watched[i].refused && has_changed(&cell.watched[i].region);
    return changed;
}

/* Where changes to any memory make it readable, until it is looked for events. */
static bool quiet_again(void)
{
    struct kdreg_event event;
    return is_bpf() && kdreg_check(cell.monitor, &event, 1) == 0 && !readable();
}

/* One event for each region that has changed, those that change meanwhile included. */
static void take_all_events(void)
{
    for (int taken = 0, changed = changed_regions(); changed > taken || readable(); changed = changed_regions()) {
        if (changed == taken && changed_regions() == taken && !quiet_again())
            failed("the descriptor still polls readable after all %d events were taken", taken);
        taken += take_events(changed - taken);
    }
}

void judge_events(const struct change *change, uint64_t caps)
{
    take_all_events();
    for (int i = 0; i < REGIONS; i++) {
        struct watched *watched = &cell.watched[i];
        bool invalid = !watched->refused && has_changed(&watched->region);
        if (watched->events > (invalid ? 1u : 0u))
            failed("region %d is %s and has %u events", i, invalid ? "invalid" : "valid", watched->events);
        if (watched->events < (invalid ? 1u : 0u))
            failed_unless_moved("region %d is invalid and has no event", i);
        if (!invalid)
            continue;
        /* The kernel moves pages when it likes, and where it copies pages for a child it announces them as given up. */
        unsigned by_itself = caps & KDREG_CAP_MIGRATE ? 1u << KDREG_REASON_MIGRATE : 0;
        if ((caps & KDREG_CAP_MIGRATE) && change->flags & FORKS)
            by_itself |= 1u << KDREG_REASON_DISCARD;
        if (!watched->touched && !(by_itself >> watched->reason & 1))
            failed_unless_moved("region %d shares no page with the change and was invalidated (reason %u)", i, watched->reason);
        /* A backend that sees what the kernel does to pages may hear first that they are given up, or moved, as part of something larger. */
        unsigned fitting = change->reasons;
        if (caps & KDREG_CAP_MIGRATE)
            fitting |= 1u << KDREG_REASON_MIGRATE | 1u << KDREG_REASON_DISCARD;
        if (is_bpf())
            fitting |= 1u << KDREG_REASON_UNKNOWN;
        if (watched->touched && change->needs && !(fitting >> watched->reason & 1))
            failed("region %d: reason %u does not fit this change", i, watched->reason);
    }
}

void judge_cache(bool detected)
{
    for (int i = 0; i < ENTRIES; i++) {
        struct watched *watched = &cell.watched[entry_over[i]];
        int error = kdreg_cache_put(cell.cache, cell.entries[i]);
        if (error)
            failed("kdreg_cache_put: %s", kdreg_strerror(error));
        kdreg_entry_t *found = NULL;
        error = kdreg_cache_find(cell.cache, watched->addr, watched->length, KDREG_ACCESS_READ, &found);
        bool must_miss = watched->refused || (watched->touched && detected);
        if (must_miss && error != -ENOENT)
            failed("kdreg_cache_find over changed region %d gives %d, not -ENOENT", entry_over[i], error);
        if (error != 0 && error != -ENOENT)
            failed("kdreg_cache_find: %s", kdreg_strerror(error));
        if (!must_miss && kdreg_valid(&watched->region) && error)
            failed_unless_moved("kdreg_cache_find over untouched region %d misses", entry_over[i]);
        if (!error)
            kdreg_cache_put(cell.cache, found);
    }
}
