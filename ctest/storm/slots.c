/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Slots of file memory side by side, so that registrations merge across them. A slot is changed under its write lock and looked up under
 * its read lock: whoever holds either knows what is mapped there. Nothing stops a merged registration from reaching into a neighbour
 * that is being changed at that moment. */
#include <sys/mman.h>

#include "../../tools/newer/newer.h"
#include "storm.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { SLOTS = 24, PAGES = RUN };

static struct slot {
    pthread_rwlock_t lock;     /* guards what is mapped at addr, and stamps */
    char *addr;
    size_t hole, hole_pages;   /* what somebody else's mmap took from it, until they go */
    uint64_t stamps[PAGES];
    struct history history;
} slots[SLOTS];
static char *scratch;          /* PAGES per worker */

void slots_create(void)
{
    size_t length = PAGES * file_page_size();
    char *base = arena(SLOTS * PAGES);
    scratch = arena(MAX_THREADS * 2 * PAGES);
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &slots[i];
        memset(slot, 0, sizeof *slot);
        pthread_rwlock_init(&slot->lock, NULL);
        slot->addr = base + (size_t)i * length;
        REQUIRE(file_map_fresh(slot->addr, PAGES, MAP_FIXED, slot->stamps), "mapping a slot: %s", strerror(errno));
    }
}

static void refill(struct slot *slot, size_t first, size_t pages)
{
    bool filled = file_map_fresh(slot->addr + first * file_page_size(), pages, MAP_FIXED_NOREPLACE, slot->stamps + first) != NULL;
    slot->hole = first;
    slot->hole_pages = filled ? 0 : pages;
}

static void change(struct worker *worker, struct slot *slot, const char *what, size_t first, size_t pages)
{
    size_t size = file_page_size(), length = pages * size;
    char *addr = slot->addr + first * size, *aside = scratch + (size_t)worker->index * 2 * PAGES * size;
    uint64_t before[PAGES];
    memcpy(before, slot->stamps + first, pages * sizeof *before);
    switch (what[0]) {
    case 'o':   /* over */
        REQUIRE(file_map_fresh(addr, pages, MAP_FIXED, slot->stamps + first), "mmap over: %s", strerror(errno));
        break;
    case 'u':   /* unmap */
        REQUIRE(munmap(addr, length) == 0, "munmap: %s", strerror(errno));
        must_miss(worker, addr, pages, false, &slot->history);
        refill(slot, first, pages);
        break;
    case 'a':   /* away */
        if (mremap(addr, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, aside) != aside) {
            REQUIRE(errno == EFAULT, "mremap away: %s", strerror(errno));   /* pieces: the slot is several mappings by now */
            REQUIRE(munmap(addr, length) == 0, "munmap: %s", strerror(errno));
        }
        must_miss(worker, addr, pages, false, &slot->history);
        refill(slot, first, pages);
        REQUIRE(mmap(aside, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == aside, "mmap aside: %s", strerror(errno));
        break;
    case 'i':   /* in: another mapping is moved onto it */
        REQUIRE(file_map_fresh(aside, pages, MAP_FIXED, slot->stamps + first), "mmap aside: %s", strerror(errno));
        REQUIRE(mremap(aside, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, addr) == addr, "mremap onto: %s", strerror(errno));
        mmap(aside, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        break;
    }
    /* The old pages may serve others from here on: nothing maps them, and no registration of them may be handed out. */
    file_drop(before, pages);
    history_add(&slot->history, worker, what, slot->stamps[first]);
}

static void write_step(struct worker *worker, struct slot *slot)
{
    static const char *const kinds[] = {"over it", "unmapped, mapped again", "away by mremap, mapped again", "in by mremap"};
    size_t size = file_page_size();
    if (slot->hole_pages) {
        refill(slot, slot->hole, slot->hole_pages);
        return;
    }
    bool part = worker_random(worker, 3) == 0;
    size_t first = part ? worker_random(worker, PAGES - 1) : 0, pages = part ? 1 + worker_random(worker, PAGES - first - 1) : PAGES;
    char *addr = slot->addr + first * size;
    kdreg_entry_t *held = worker_random(worker, 4) ? NULL : hold(worker, slot->addr, PAGES);
    struct kdreg_region region;
    bool watching = worker_random(worker, 4) == 0 && kdreg_monitor(storm.monitor, addr, pages * size, 1, &region) == 0;
    const char *what = kinds[worker_random(worker, sizeof kinds / sizeof *kinds)];
    change(worker, slot, what, first, pages);
    worker->changes++;
    if (watching) {
        if (kdreg_valid(&region)) {
            atomic_fetch_add(&storm.stale, 1);
            report(worker, "STALE: a monitored region reads valid after the change", addr, 0, 1, &slot->history);
        }
        kdreg_unmonitor(storm.monitor, &region);
    }
    if (!slot->hole_pages)
        lookup(worker, worker_random(worker, 2) ? FIND : GET, addr, pages, slot->stamps + first, false, &slot->history);
    if (held) {
        must_be_invalid(worker, held, slot->addr, &slot->history);
        let_go(worker, held);
    }
}

static void read_step(struct worker *worker, int at)
{
    struct slot *slot = &slots[at];
    size_t first = worker_random(worker, PAGES), pages = 1 + worker_random(worker, PAGES - first);
    if (!slot->hole_pages)
        lookup(worker, worker_random(worker, 4) ? GET : FIND, slot->addr + first * file_page_size(), pages, slot->stamps + first, false, &slot->history);
}

void slots_step(struct worker *worker)
{
    int at = (int)worker_random(worker, SLOTS);
    struct slot *slot = &slots[at];
    if (worker_random(worker, 8) == 0) {
        pthread_rwlock_wrlock(&slot->lock);
        write_step(worker, slot);
        pthread_rwlock_unlock(&slot->lock);
        return;
    }
    pthread_rwlock_rdlock(&slot->lock);
    for (int i = 0; i < 4; i++)
        read_step(worker, at);
    pthread_rwlock_unlock(&slot->lock);
}
