/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a network card's driver does: remember which pages are behind the addresses now. */
#include <sys/uio.h>

#include "storm.h"

enum { MAGIC_ALIVE = 0x70696e21, MAGIC_DEAD = 0x64656164 };

struct pin {
    atomic_uint magic;
    atomic_int users;      /* lookups that hold it: it must not be deregistered under them */
    char *addr;
    size_t pages;
    uint64_t stamps[];
};
atomic_long pins_alive;

int pin_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)access;
    size_t size = file_page_size(), pages = length / size;
    if ((uintptr_t)addr % size || length % size || !pages) {
        report(NULL, "register was asked for a range that is not whole pages", addr, 0, length, NULL);
        return -EINVAL;
    }
    struct pin *pin = malloc(sizeof *pin + pages * sizeof *pin->stamps);
    if (!pin)
        return -ENOMEM;
    pin->addr = addr;
    pin->pages = pages;
    /* Page by page through the page tables; a hole is refused, as a driver would. */
    for (size_t done = 0; done < pages;) {
        enum { BATCH = 64 };
        struct iovec to[BATCH], from[BATCH];
        size_t batch = pages - done < BATCH ? pages - done : BATCH;
        for (size_t i = 0; i < batch; i++) {
            to[i] = (struct iovec){&pin->stamps[done + i], sizeof *pin->stamps};
            from[i] = (struct iovec){pin->addr + (done + i) * size, sizeof *pin->stamps};
        }
        ssize_t got = process_vm_readv(getpid(), to, batch, from, batch, 0);
        if (got != (ssize_t)(batch * sizeof *pin->stamps)) {
            free(pin);
            return -EFAULT;
        }
        done += batch;
    }
    atomic_init(&pin->users, 0);
    atomic_init(&pin->magic, MAGIC_ALIVE);
    atomic_fetch_add(&pins_alive, 1);
    *handle = pin;
    return 0;
}

int pin_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    struct pin *pin = handle;
    if (atomic_load(&pin->magic) != MAGIC_ALIVE)
        report(NULL, "deregistered twice", addr, MAGIC_ALIVE, atomic_load(&pin->magic), NULL);
    else if (atomic_load(&pin->users))
        report(NULL, "deregistered while a lookup held it", addr, 0, (uint64_t)atomic_load(&pin->users), NULL);
    else if (pin->addr != addr || pin->pages * file_page_size() != length)
        report(NULL, "deregistered with another range than it was registered with", addr, pin->pages * file_page_size(), length, NULL);
    atomic_store(&pin->magic, MAGIC_DEAD);
    atomic_fetch_sub(&pins_alive, 1);
    free(pin);
    return 0;
}

/* Compares what the registration pinned with what is there now; returns the first page that differs, or -1. */
static long first_difference(const struct pin *pin, const char *addr, size_t pages, const uint64_t *stamps, uint64_t *found)
{
    size_t skip = (size_t)(addr - pin->addr) / file_page_size();
    for (size_t i = 0; i < pages; i++) {
        uint64_t pinned = pin->stamps[skip + i];
        *found = pinned && stamp_of_file(pinned) ? file_read_through(pinned) : pinned;
        if (*found != stamps[i])
            return (long)i;
    }
    return -1;
}

bool lookup(struct worker *worker, enum lookup kind, char *addr, size_t pages, const uint64_t *stamps, bool window, struct history *history)
{
    size_t size = file_page_size(), length = pages * size;
    /* Some lookups are for a few bytes inside. */
    size_t skip = worker_random(worker, 4) ? 0 : worker_random(worker, size / 2);
    kdreg_entry_t *entry = NULL;
    int error = (kind == FIND ? kdreg_cache_find : kdreg_cache_get)(storm.cache, addr + skip, length - 2 * skip, KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry);
    worker->operations++;
    if (error) {
        worker->misses++;
        if (kind == GET && error != -EFAULT)
            report(worker, "kdreg_cache_get failed on memory that is mapped", addr, 0, (uint64_t)-error, history);
        else if (kind == GET)
            report(worker, "kdreg_cache_get says EFAULT on memory that is mapped", addr, 0, 0, history);
        else if (error != -ENOENT)
            report(worker, "kdreg_cache_find failed", addr, ENOENT, (uint64_t)-error, history);
        return false;
    }
    struct pin *pin = kdreg_entry_handle(entry);
    char *base = kdreg_entry_base(entry);
    if (base > addr || base + kdreg_entry_length(entry) < addr + length || base != pin->addr || atomic_load(&pin->magic) != MAGIC_ALIVE) {
        report(worker, "the entry does not cover what was asked for, or is released", addr, (uintptr_t)addr, (uintptr_t)base, history);
        kdreg_cache_put(storm.cache, entry);
        return false;
    }
    atomic_fetch_add(&pin->users, 1);
    uint64_t found = 0;
    long page = first_difference(pin, addr, pages, stamps, &found);
    if (page >= 0 && window && !(storm.caps & KDREG_CAP_STRICT)) {
        worker->stale_in_window++;
    } else if (page >= 0) {
        atomic_fetch_add(&storm.stale, 1);
        report(worker, window ? "STALE HIT on an address just handed over" : "STALE HIT", addr + (size_t)page * size, stamps[page], found, history);
    }
    worker->hits++;
    atomic_fetch_sub(&pin->users, 1);
    error = kdreg_cache_put(storm.cache, entry);
    if (error)
        report(worker, "kdreg_cache_put failed", addr, 0, (uint64_t)-error, history);
    return true;
}

void must_be_invalid(struct worker *worker, kdreg_entry_t *entry, char *addr, struct history *history)
{
    worker->operations++;
    if (kdreg_entry_valid(storm.cache, entry)) {
        atomic_fetch_add(&storm.stale, 1);
        report(worker, "STALE: an entry held over a change still counts as valid", addr, 0, 1, history);
    }
}

void must_miss(struct worker *worker, char *addr, size_t pages, bool window, struct history *history)
{
    static const uint64_t nothing[RUN] = {1, 1, 1, 1, 1, 1, 1, 1};
    lookup(worker, FIND, addr, pages, nothing, window, history);
}

kdreg_entry_t *hold(struct worker *worker, char *addr, size_t pages)
{
    kdreg_entry_t *entry = NULL;
    worker->operations++;
    if (kdreg_cache_get(storm.cache, addr, pages * file_page_size(), KDREG_ACCESS_READ | KDREG_ACCESS_WRITE, &entry))
        return NULL;
    worker->hits++;
    struct pin *pin = kdreg_entry_handle(entry);
    atomic_fetch_add(&pin->users, 1);
    return entry;
}

void let_go(struct worker *worker, kdreg_entry_t *entry)
{
    struct pin *pin = kdreg_entry_handle(entry);
    char *addr = pin->addr;
    if (atomic_load(&pin->magic) != MAGIC_ALIVE)
        report(worker, "released while it was held", addr, MAGIC_ALIVE, atomic_load(&pin->magic), NULL);
    atomic_fetch_sub(&pin->users, 1);
    int error = kdreg_cache_put(storm.cache, entry);
    if (error)
        report(worker, "kdreg_cache_put failed", addr, 0, (uint64_t)-error, NULL);
}
