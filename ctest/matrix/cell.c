/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One cell: map, monitor, change, look. In a child process of its own, so that a crash or a hang is one failed cell.
 *
 * The pages are there, so the kernel may move them meanwhile (compaction, khugepaged), and a backend that sees that says so, rightly. A cell that
 * fails in a way that this explains is run again, a few times: what is wrong with the monitor stays wrong. A missed change is never excused. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../tools/newer/newer.h"
#include "cell.h"

enum { HANG_SECONDS = 60, TRIES = 10 };

__attribute__((noreturn)) static void done(enum outcome outcome, int error)
{
    cell.verdict->outcome = outcome;
    cell.verdict->error = error;
    _exit(0);
}

static int register_nothing(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)length;
    (void)access;
    *handle = addr;
    return 0;
}

static int deregister_nothing(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)length;
    return handle == addr ? 0 : -EINVAL;
}

static void observe(void)
{
    for (int i = 0; i < REGIONS; i++)
        cell.watched[i].valid_after = !cell.watched[i].refused && kdreg_valid(&cell.watched[i].region);
    for (int i = 0; i < ENTRIES; i++)
        cell.entry_valid_after[i] = kdreg_entry_valid(cell.cache, cell.entries[i]);
}

static void open_all(uint32_t backend)
{
    struct kdreg_attr attr = {.size = sizeof attr, .backend = backend};
    unsetenv("KDREG_BACKEND");
    int error = kdreg_open(&attr, &cell.monitor);
    if (error)
        failed("kdreg_open: %s", kdreg_strerror(error));
    struct kdreg_cache_attr cache = {
        .size = sizeof cache, .reg = register_nothing, .dereg = deregister_nothing, .flags = KDREG_CACHE_NO_MERGE | KDREG_CACHE_NO_REAPER};
    error = kdreg_cache_create(cell.monitor, &cache, &cell.cache);
    if (error)
        failed("kdreg_cache_create: %s", kdreg_strerror(error));
}

/* Present pages get a stamp each; small pages unless huge ones are what is tested. */
static void touch(const struct kind *kind)
{
    struct memory *memory = &cell.memory;
    if (memory->unit == memory->page)
        madvise(memory->base, UNITS * memory->unit, MADV_NOHUGEPAGE);
    (void)kind;
    for (int unit = 0; unit < UNITS; unit++) {
        volatile char *first = memory->base + (size_t)unit * memory->unit;
        if (memory->writable)
            *first = (char)(unit + 1);
        else
            (void)*first;
    }
}

static void read_frames(uint64_t frames[UNITS])
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (int unit = 0; unit < UNITS; unit++) {
        uintptr_t address = (uintptr_t)cell.memory.base + (size_t)unit * cell.memory.unit;
        uint64_t entry = 0;
        if (fd < 0 || pread(fd, &entry, sizeof entry, (off_t)(address / cell.memory.page * sizeof entry)) != sizeof entry)
            entry = 0;
        frames[unit] = entry >> 63 ? entry & ((1ull << 55) - 1) : 0;   /* zero for the unprivileged */
    }
    if (fd >= 0)
        close(fd);
}

static void lay_out(void)
{
    /* target; a few bytes nested in it; one overlapping it; two neighbours that touch it or the overlap but share no page */
    static const struct {
        int first, count, offset, length;
    } plan[REGIONS] = {{4, 4, 0, 0}, {5, 1, 100, 200}, {6, 4, 0, 0}, {0, 4, 0, 0}, {10, 2, 0, 0}};
    for (int i = 0; i < REGIONS; i++) {
        struct watched *watched = &cell.watched[i];
        watched->first = plan[i].first;
        watched->count = plan[i].count;
        watched->addr = cell.memory.base + (size_t)plan[i].first * cell.memory.unit + plan[i].offset;
        watched->length = plan[i].length ? (size_t)plan[i].length : (size_t)plan[i].count * cell.memory.unit;
    }
}

/* Returns how many regions the backend refused. */
static int monitor_all(void)
{
    int refused = 0;
    for (int i = 0; i < REGIONS; i++) {
        struct watched *watched = &cell.watched[i];
        int error = kdreg_monitor(cell.monitor, watched->addr, watched->length, (uint64_t)i + 1, &watched->region);
        if (error == -EOPNOTSUPP || error == -EBUSY) {
            watched->refused = true;
            refused++;
        } else if (error) {
            failed("kdreg_monitor of region %d: %s", i, kdreg_strerror(error));
        } else if (!kdreg_valid(&watched->region)) {
            failed_unless_moved("region %d is not valid right after kdreg_monitor", i);
        }
    }
    for (int i = 0; i < ENTRIES; i++) {
        struct watched *watched = &cell.watched[entry_over[i]];
        int error = kdreg_cache_get(cell.cache, watched->addr, watched->length, cell.memory.writable ? KDREG_ACCESS_READ | KDREG_ACCESS_WRITE : KDREG_ACCESS_READ, &cell.entries[i]);
        if (error)
            failed("kdreg_cache_get over region %d: %s", entry_over[i], kdreg_strerror(error));
        bool valid = kdreg_entry_valid(cell.cache, cell.entries[i]);
        if (valid && watched->refused)
            failed("a new entry over region %d counts as valid though it cannot be watched", entry_over[i]);
        if (!valid && !watched->refused)
            failed_unless_moved("a new entry over region %d is not valid", entry_over[i]);
    }
    return refused;
}

static void close_all(void)
{
    for (int i = 0; i < REGIONS; i++) {
        if (cell.watched[i].refused)
            continue;
        int first = kdreg_unmonitor(cell.monitor, &cell.watched[i].region), second = kdreg_unmonitor(cell.monitor, &cell.watched[i].region);
        if (first != 0 || second != -EINVAL)
            failed("kdreg_unmonitor of region %d gives %d, then %d", i, first, second);
    }
    struct kdreg_event late;
    if (kdreg_check(cell.monitor, &late, 1) != 0)
        failed("an event after everything was unmonitored (cookie %llu)", (unsigned long long)late.cookie);
    int error = kdreg_cache_destroy(cell.cache);
    if (error)
        failed("kdreg_cache_destroy: %s", kdreg_strerror(error));
    error = kdreg_close(cell.monitor);
    if (error)
        failed("kdreg_close: %s", kdreg_strerror(error));
}

/* With what moved: regions none of whose pages moved need not be seen. */
static bool narrow_to_moved(void)
{
    uint64_t after[UNITS];
    read_frames(after);
    bool any = false;
    for (int i = 0; i < REGIONS; i++) {
        struct watched *watched = &cell.watched[i];
        bool moved = false;
        for (int unit = watched->first; unit < watched->first + watched->count; unit++)
            moved |= cell.frames[unit] && cell.frames[unit] != after[unit];
        watched->touched = moved;
        any |= moved;
    }
    return any;
}

static void cell_child(uint32_t backend, const struct kind *kind, const struct change *change, const struct way *way, const struct extent *extent)
{
    alarm(HANG_SECONDS);
    open_all(backend);
    struct memory *memory = &cell.memory;
    memory->page = (size_t)sysconf(_SC_PAGESIZE);
    memory->unit = memory->page;
    memory->fd = memory->shmid = -1;
    memory->writable = true;
    int error = kind->map(memory);
    if (error) {
        snprintf(cell.verdict->why, sizeof cell.verdict->why, "memory");
        done(NOT_APPLICABLE, error);
    }
    if (change->suits && !change->suits(kind, memory))
        done(NOT_APPLICABLE, 0);
    touch(kind);
    if (change->prepare && (error = change->prepare(memory)))
        done(NOT_APPLICABLE, error);
    lay_out();
    int refused = monitor_all();
    int first = extent->first, count = extent->count;
    struct call call;
    error = change->plan(memory, &first, &count, &call);
    if (error)
        done(NOT_APPLICABLE, error);
    if (change->flags & IF_PAGES_MOVED)
        read_frames(cell.frames);

    uint64_t caps = kdreg_caps(cell.monitor);
    long result = way->make(&call, observe);
    if (call.number == SYS_brk && result != call.args[0] && result >= 0)
        result = -ENOMEM;
    if (result < 0 && result > -4096)
        done(NOT_APPLICABLE, (int)result);

    for (int i = 0; i < REGIONS; i++)
        cell.watched[i].touched = cell.watched[i].first < first + count && first < cell.watched[i].first + cell.watched[i].count;
    if (change->flags & IF_PAGES_MOVED && !narrow_to_moved())
        done(NOT_APPLICABLE, 0);

    bool claimed = change->needs && (caps & change->needs) == change->needs, seen = true, harmed = false;
    for (int i = 0; i < REGIONS; i++) {
        struct watched *watched = &cell.watched[i];
        if (watched->refused)
            continue;
        harmed |= !watched->valid_after;
        if (!watched->touched)
            continue;
        seen &= !watched->valid_after;
        if (claimed && watched->valid_after)
            failed("STALE: region %d still reads valid after the call returned", i);
    }
    for (int i = 0; i < ENTRIES; i++) {
        struct watched *watched = &cell.watched[entry_over[i]];
        if (claimed && watched->touched && cell.entry_valid_after[i])
            failed("STALE: the cache entry over region %d still counts as valid after the call returned", entry_over[i]);
    }
    judge_events(change, caps);
    judge_cache(claimed || seen);
    close_all();

    if (refused == REGIONS)
        done(REFUSED, 0);
    if (change->needs)
        done(claimed ? DETECTED : seen ? UNCLAIMED_SEEN : UNCLAIMED, 0);
    if (harmed && !(caps & KDREG_CAP_MIGRATE))
        failed("a harmless call invalidated a region");
    if (harmed && change->flags & TAKES_NOTHING && backend == KDREG_BACKEND_KERNEL && cell.memory.unit == cell.memory.page)
        failed_unless_moved("a change of protection that takes nothing away invalidated a region");
    done(harmed ? DROPPED : KEPT, 0);
}

static void run_once(uint32_t backend, const struct kind *kind, const struct change *change, const struct way *way, const struct extent *extent,
                     struct verdict *verdict)
{
    struct verdict *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(verdict, 0, sizeof *verdict);
    verdict->outcome = FAILED;
    if (shared == MAP_FAILED) {
        snprintf(verdict->why, sizeof verdict->why, "no memory for the result");
        return;
    }
    *shared = *verdict;
    snprintf(shared->why, sizeof shared->why, "the cell ended without a result");
    pid_t child = fork();
    if (child == 0) {
        cell.verdict = shared;
        cell_child(backend, kind, change, way, extent);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        snprintf(shared->why, sizeof shared->why, "fork: %s", strerror(errno));
    *verdict = *shared;
    munmap(shared, sizeof *shared);
    if (child > 0 && WIFSIGNALED(status)) {
        verdict->outcome = FAILED;
        int killer = WTERMSIG(status);
        if (killer == SIGALRM)
            snprintf(verdict->why, sizeof verdict->why, "hung for %d seconds", HANG_SECONDS);
        else
            snprintf(verdict->why, sizeof verdict->why, "killed by signal %d (%s)", killer, strsignal(killer));
    }
}

void cell_run(uint32_t backend, const struct kind *kind, const struct change *change, const struct way *way, const struct extent *extent,
              struct verdict *verdict)
{
    for (int i = 0; i < TRIES; i++) {
        run_once(backend, kind, change, way, extent, verdict);
        if (verdict->outcome != FAILED || !verdict->moved)
            return;
    }
}
