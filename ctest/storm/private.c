/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Private anonymous memory, one piece per thread: discards and moves. Only its owner looks it up: a registration made by another thread
 * while a discard is under way is the documented gap of the userfaultfd monitor. */
#include <sys/mman.h>

#include "../../tools/newer/newer.h"
#include "storm.h"

enum { PAGES = RUN, SPACING = 2 * PAGES };

static _Thread_local struct {
    char *addr, *aside;
    uint64_t stamps[PAGES];
    struct history history;
} mine;

static void stamp(size_t first, size_t pages)
{
    for (size_t i = first; i < first + pages; i++) {
        mine.stamps[i] = stamp_anonymous();
        *(volatile uint64_t *)(void *)(mine.addr + i * file_page_size()) = mine.stamps[i];
    }
}

static bool create(void)
{
    size_t length = PAGES * file_page_size();
    char *space = arena(2 * SPACING);
    mine.addr = space;
    mine.aside = space + SPACING * file_page_size();
    return mmap(mine.addr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mine.addr;
}

void anonymous_step(struct worker *worker)
{
    size_t size = file_page_size();
    if (!mine.addr) {
        REQUIRE(create(), "mmap: %s", strerror(errno));
        stamp(0, PAGES);
    }
    size_t first = worker_random(worker, PAGES), pages = 1 + worker_random(worker, PAGES - first);
    char *addr = mine.addr + first * size;
    size_t length = pages * size;
    lookup(worker, GET, addr, pages, mine.stamps + first, false, &mine.history);
    if (worker_random(worker, 4))
        return;
    kdreg_entry_t *held = worker_random(worker, 3) ? NULL : hold(worker, addr, pages);
    const char *what = "nothing";
    switch (worker_random(worker, 5)) {
    case 0:
        what = "MADV_DONTNEED";
        REQUIRE(madvise(addr, length, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
        break;
    case 1:
        what = "MADV_FREE";
        REQUIRE(madvise(addr, length, MADV_FREE) == 0, "madvise: %s", strerror(errno));
        break;
    case 2:
        what = "mmap over it";
        REQUIRE(mmap(addr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == addr, "mmap: %s", strerror(errno));
        break;
    case 3:
        what = "mremap away and back";
        if (mremap(addr, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, mine.aside) == mine.aside) {
            must_miss(worker, addr, pages, false, &mine.history);
            REQUIRE(mremap(mine.aside, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, addr) == addr, "mremap back: %s", strerror(errno));
            mmap(mine.aside, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            break;
        }
        REQUIRE(errno == EFAULT, "mremap: %s", strerror(errno));
        __attribute__((fallthrough));   /* pieces: this kernel does not move them in one call */
    case 4:
        what = "munmap, mmap";
        REQUIRE(munmap(addr, length) == 0, "munmap: %s", strerror(errno));
        must_miss(worker, addr, pages, false, &mine.history);
        REQUIRE(mmap(addr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == addr, "mmap: %s", strerror(errno));
        break;
    }
    worker->changes++;
    must_miss(worker, addr, pages, false, &mine.history);
    stamp(first, pages);
    history_add(&mine.history, worker, what, mine.stamps[first]);
    lookup(worker, FIND, addr, pages, mine.stamps + first, false, &mine.history);
    if (held) {
        must_be_invalid(worker, held, addr, &mine.history);
        let_go(worker, held);
    }
}
