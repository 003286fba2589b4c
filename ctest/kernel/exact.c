/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Exactly the regions that overlap a change become invalid: random regions,
 * nested, overlapping and equal ones among them, added singly and in batches
 * and taken away in no order, against a plain list of what is monitored.
 */
#include "kt.h"

#include <inttypes.h>

#define REGIONS 3000
#define PAGES 512
#define BATCH 100 /* more than the module takes at a time */

static uint64_t state;

static uint64_t below(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

/* The list: region i has the cookie i. */
static struct kdreg_monitor_entry regions[REGIONS];
static bool monitored[REGIONS];
static char *area;
static int fd;
static const struct kdreg2_status_data *status;

static struct kdreg2_monitoring_params params(unsigned i)
{
    return (struct kdreg2_monitoring_params){.location = regions[i].location,
                                             .generation = regions[i].generation};
}

static struct kdreg_monitor_entry some_region(unsigned i)
{
    size_t size = PAGES * kt_page(), at = below(size), length;

    switch (below(8)) {
    case 0: length = size; break;
    case 1: length = kt_page() * 40; break;
    case 2: length = 1; break;
    default: length = kt_page() / 2; break;
    }
    /* Often at the same places. */
    if (below(3) == 0)
        at = at / (16 * kt_page()) * (16 * kt_page());
    length = 1 + below(length);
    if (length > size - at)
        length = size - at;
    return (struct kdreg_monitor_entry){.addr = (uintptr_t)area + at,
                                        .length = length,
                                        .cookie = i,
                                        .changes = below(6) ? 0 : KDREG_CHANGE_UNMAP};
}

static unsigned add_some(void)
{
    struct kdreg_monitor_entry batch[BATCH];
    struct kdreg_batch b = {.entries = (uintptr_t)batch};
    unsigned wanted = 1 + (unsigned)below(BATCH), i = (unsigned)below(REGIONS);

    for (unsigned n = 0; n < REGIONS && b.count < wanted; n++, i = (i + 1) % REGIONS)
        if (!monitored[i])
            batch[b.count++] = some_region(i);
    if (b.count == 0)
        return 0;
    if (below(2)) {
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &b) == 0 && b.done == b.count, "%m");
    } else {
        b.count = b.count < 8 ? b.count : 8;
        for (unsigned n = 0; n < b.count; n++) {
            struct kdreg2_monitoring_params p;

            batch[n].changes = 0;
            p = kt_monitor(fd, (void *)(uintptr_t)batch[n].addr, batch[n].length, batch[n].cookie);
            batch[n].location = p.location;
            batch[n].generation = p.generation;
        }
    }
    for (unsigned n = 0; n < b.count; n++) {
        CHECK(batch[n].status == 0, "%d", batch[n].status);
        regions[batch[n].cookie] = batch[n];
        monitored[batch[n].cookie] = true;
    }
    return b.count;
}

static unsigned take_some(void)
{
    unsigned taken = 0;

    for (unsigned n = (unsigned)below(60); n > 0; n--) {
        unsigned i = (unsigned)below(REGIONS);

        if (monitored[i]) {
            CHECK(kt_unmonitor(fd, i, params(i)) == 0, "%m");
            monitored[i] = false;
            taken++;
        }
    }
    return taken;
}

/* Discards some pages and compares. Returns how many regions that concerned. */
static unsigned change(void)
{
    size_t page = below(PAGES), pages = 1 + below(below(10) ? 3 : PAGES);
    unsigned expected = 0, events = 0;
    static struct kdreg2_event event[REGIONS];

    if (pages > PAGES - page)
        pages = PAGES - page;
    uintptr_t start = (uintptr_t)area + page * kt_page(), end = start + pages * kt_page();

    CHECK(madvise((void *)start, pages * kt_page(), MADV_DONTNEED) == 0, "%m");
    for (unsigned i = 0; i < REGIONS; i++) {
        bool touched = monitored[i] && regions[i].changes == 0 && regions[i].addr < end &&
                       regions[i].addr + regions[i].length > start;

        if (monitored[i])
            CHECK(kt_changed(status, params(i)) == touched,
                  "region %u, %#" PRIx64 " + %" PRIu64 ", discarded %#" PRIxPTR " to %#" PRIxPTR, i,
                  (uint64_t)regions[i].addr, (uint64_t)regions[i].length, start, end);
        expected += touched;
    }
    ssize_t size = read(fd, event, sizeof event);
    if (size > 0)
        events = (unsigned)((size_t)size / sizeof *event);
    CHECK(events == expected, "%u events, %u regions", events, expected);
    for (unsigned n = 0; n < events; n++) {
        uint64_t cookie = event[n].u.mapping_change.cookie;

        CHECK(cookie < REGIONS && monitored[cookie], "cookie %" PRIu64, cookie);
        monitored[cookie] = false;
    }
    return events;
}

int main(void)
{
    unsigned long rounds = 4000 / kt_slowness(), added = 0, taken = 0, changed = 0;
    const char *seed = getenv("KDREG_SEED");

    state = seed ? strtoull(seed, NULL, 0) | 1 : 0x9e3779b97f4a7c15;
    area = kt_space(PAGES * kt_page());
    fd = kt_open();
    status = kt_config(fd, REGIONS);
    for (unsigned long n = 0; n < rounds; n++) {
        switch (below(4)) {
        case 0:
        case 1: added += add_some(); break;
        case 2: taken += take_some(); break;
        default: changed += change(); break;
        }
    }
    CHECK(kt_active(status) == added - taken - changed);
    /* The rest at once. */
    munmap(area, PAGES * kt_page());
    for (unsigned i = 0; i < REGIONS; i++)
        CHECK(!monitored[i] || kt_changed(status, params(i)), "region %u", i);
    CHECK(kt_active(status) == 0);
    printf("%lu rounds: %lu regions added, %lu taken away, %lu changed, %lu left at the end\n", rounds,
           added, taken, changed, added - taken - changed);
    CHECK(changed > rounds && added - taken - changed > 0);
    return 0;
}
