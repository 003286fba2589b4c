/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Stations: an address that one thread releases while others wait for it. The kernel hands it over as soon as the mapping is gone, which is
 * before the releasing call returns, and before a monitor that learns of it through messages has heard a word. */
#include <sched.h>
#include <sys/mman.h>

#include "../../tools/newer/newer.h"
#include "storm.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { STATIONS = 4, PAGES = 4, SPACING = 2 * PAGES };
enum { FREE, BUSY, RELEASING, STATES };

static struct station {
    atomic_int state;          /* BUSY: the thread that set it owns everything below. RELEASING: whoever takes it to BUSY may have the address */
    atomic_int in_flight;      /* releasing calls that have not returned */
    char *addr;
    unsigned releases;         /* tells one RELEASING from the next */
    bool mapped;
    uint64_t stamps[PAGES];
    struct kdreg_region region;   /* the releasing thread's, for the taker to look at */
    struct history history;
} stations[STATIONS];
static char *scratch;

void stations_create(void)
{
    char *base = arena(STATIONS * SPACING);
    scratch = arena(MAX_THREADS * 2 * PAGES);
    for (int i = 0; i < STATIONS; i++) {
        struct station *station = &stations[i];
        memset(station, 0, sizeof *station);
        station->addr = base + (size_t)i * SPACING * file_page_size();
        REQUIRE(munmap(station->addr, PAGES * file_page_size()) == 0, "munmap: %s", strerror(errno));
    }
}

static bool in_window(struct station *station)
{
    return atomic_load(&station->in_flight) > 0;
}

/* Looks up what this thread mapped itself, whatever the previous owner's call is still doing. */
static void look(struct worker *worker, enum lookup kind, struct station *station)
{
    bool window = in_window(station);
    worker->windows += window;
    lookup(worker, kind, station->addr, PAGES, station->stamps, window, &station->history);
}

static void take_over(struct worker *worker, struct station *station)
{
    struct kdreg_region theirs = station->region;
    size_t length = PAGES * file_page_size();
    uint64_t fresh[RUN];
    size_t first = file_take(PAGES, fresh);
    char *mapped = MAP_FAILED;
    for (int tries = 0; tries < 1000000 && mapped == MAP_FAILED && !atomic_load(&storm.stop); tries++)
        mapped = mmap(station->addr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file_descriptor(), (off_t)(first * file_page_size()));
    if (mapped == MAP_FAILED) {
        file_drop(fresh, PAGES);
        station->mapped = false;
        atomic_store(&station->state, FREE);
        return;
    }
    bool window = in_window(station);
    bool claims_valid = theirs.word && kdreg_valid(&theirs);
    memcpy(station->stamps, fresh, sizeof station->stamps);
    station->mapped = true;
    look(worker, FIND, station);
    if (claims_valid && window && !(storm.caps & KDREG_CAP_STRICT)) {
        worker->stale_in_window++;
    } else if (claims_valid) {
        atomic_fetch_add(&storm.stale, 1);
        report(worker, "STALE: the previous owner's region reads valid on an address just handed over", station->addr, 0, 1, &station->history);
    }
    history_add(&station->history, worker, "taken over", fresh[0]);
    worker->handovers++;
    for (int i = 0; i < 3; i++)
        look(worker, GET, station);
    atomic_store(&station->state, FREE);
}

static void release(struct worker *worker, struct station *station)
{
    size_t length = PAGES * file_page_size();
    if (!station->mapped) {
        if (!file_map_fresh(station->addr, PAGES, MAP_FIXED_NOREPLACE, station->stamps)) {
            atomic_store(&station->state, FREE);
            return;
        }
        station->mapped = true;
    }
    look(worker, GET, station);
    struct kdreg_region region;
    memset(&region, 0, sizeof region);
    bool watching = kdreg_monitor(storm.monitor, station->addr, length, 2, &region) == 0;
    uint64_t before[PAGES];
    memcpy(before, station->stamps, sizeof before);
    station->region = region;
    station->mapped = false;
    bool by_mremap = worker_random(worker, 4) == 0;
    char *addr = station->addr, *aside = scratch + (size_t)worker->index * 2 * length;
    history_add(&station->history, worker, by_mremap ? "released by mremap" : "released by munmap", before[0]);

    atomic_fetch_add(&station->in_flight, 1);
    /* This release and no other: while its call returns, the address may be taken over and released again. */
    int releasing = RELEASING + (int)((station->releases++ & 0xffffff) * STATES);
    atomic_store(&station->state, releasing);
    for (uint64_t spin = worker_random(worker, 400); spin; spin--)
        atomic_load(&station->state);   /* lets a taker get ready */
    if (by_mremap)
        REQUIRE(mremap(addr, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, aside) == aside, "mremap: %s", strerror(errno));
    else
        REQUIRE(munmap(addr, length) == 0, "munmap: %s", strerror(errno));
    bool still_valid = watching && kdreg_valid(&region);
    atomic_fetch_sub(&station->in_flight, 1);

    worker->changes++;
    if (still_valid) {
        atomic_fetch_add(&storm.stale, 1);
        report(worker, "STALE: a monitored region reads valid after munmap or mremap returned", addr, 0, 1, NULL);
    }
    if (watching)
        kdreg_unmonitor(storm.monitor, &region);
    if (by_mremap)
        mmap(aside, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    file_drop(before, PAGES);
    if (!atomic_compare_exchange_strong(&station->state, &releasing, BUSY))
        return;   /* taken over */
    must_miss(worker, addr, PAGES, in_window(station), &station->history);
    atomic_store(&station->state, FREE);
}

void stations_step(struct worker *worker)
{
    struct station *station = &stations[worker_random(worker, STATIONS)];
    for (int patience = 0; patience < 300; patience++) {
        int state = atomic_load(&station->state);
        if (state % STATES == RELEASING && atomic_compare_exchange_strong(&station->state, &state, BUSY)) {
            take_over(worker, station);
            return;
        }
        if (state == FREE && atomic_compare_exchange_strong(&station->state, &state, BUSY)) {
            release(worker, station);
            return;
        }
    }
    sched_yield();
}
