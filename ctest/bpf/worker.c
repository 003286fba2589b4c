/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See worker.h. */
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include "../check.h"
#include "../../tools/newer/newer.h"
#include "worker.h"

enum { PAGES = 16, REGIONS = 4, EVENTS = 16 };

struct counts *counts_make(atomic_bool **stop)
{
    struct both {
        struct counts counts;
        atomic_bool stop;
    } *both = mmap(NULL, sizeof *both, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(both != MAP_FAILED, "mmap: %s", strerror(errno));
    *stop = &both->stop;
    return &both->counts;
}

static atomic_ulong *const_cast(const atomic_ulong *number)
{
    return (atomic_ulong *)(uintptr_t)number;
}

void counts_copy(struct counts *to, const struct counts *from)
{
    const atomic_ulong *source = &from->changes;
    atomic_ulong *target = &to->changes;
    for (size_t i = 0; i < sizeof *to / sizeof *target; i++)
        atomic_store(&target[i], atomic_load(const_cast(&source[i])));
}

void counts_say(const char *what, const struct counts *counts, const struct counts *earlier)
{
    static const struct counts none;
    if (!earlier)
        earlier = &none;
#define SINCE(name) (atomic_load(const_cast(&counts->name)) - atomic_load(const_cast(&earlier->name)))
    printf("%s: %lu changes, %lu regions looked at, %lu undetected; before the change %lu were certain and %lu not; %lu refused, %lu events\n",
           what, SINCE(changes), SINCE(checks), SINCE(undetected), SINCE(certain), SINCE(uncertain), SINCE(refused), SINCE(told));
#undef SINCE
    fflush(stdout);
}

/* What a thread changes: a block of its own. */
struct block {
    const struct plan *plan;
    kdreg_t *monitor;
    uint64_t caps;
    uint64_t random;
    size_t page;
    char *memory;
    bool shared; /* pages of a memory file, at the same offsets */
    int file;
};

static uint64_t dice(struct block *block, uint64_t below)
{
    block->random ^= block->random << 13;
    block->random ^= block->random >> 7;
    block->random ^= block->random << 17;
    return (block->random * 0x2545f4914f6cdd1dull >> 32) % below;
}

static bool map_again(struct block *block, char *at, size_t length)
{
    int flags = block->shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    return mmap(at, length, PROT_READ | PROT_WRITE, flags | MAP_FIXED, block->shared ? block->file : -1,
                block->shared ? at - block->memory : 0) == at;
}

static bool change_unmap(struct block *block, char *at, size_t length)
{
    (void)block;
    return munmap(at, length) == 0;
}

static bool change_over(struct block *block, char *at, size_t length)
{
    return map_again(block, at, length);
}

static bool change_discard(struct block *block, char *at, size_t length)
{
    return madvise(at, length, block->shared ? MADV_REMOVE : MADV_DONTNEED) == 0;
}

static bool change_rights(struct block *block, char *at, size_t length)
{
    (void)block;
    return mprotect(at, length, PROT_READ) == 0;
}

static bool change_move(struct block *block, char *at, size_t length)
{
    char *elsewhere = mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, block->memory + (PAGES + 1) * block->page);
    return elsewhere != MAP_FAILED && munmap(elsewhere, length) == 0;
}

static bool change_hole(struct block *block, char *at, size_t length)
{
    return fallocate(block->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at - block->memory, (off_t)length) == 0;
}

static const struct {
    const char *name;
    uint64_t cap;
    bool of_files;
    bool (*make)(struct block *block, char *at, size_t length);
} kinds[] = {
    {"munmap", KDREG_CAP_UNMAP, false, change_unmap},        {"mmap over", KDREG_CAP_UNMAP, false, change_over},
    {"madvise", KDREG_CAP_DISCARD, false, change_discard},   {"mprotect", KDREG_CAP_PROTECT, false, change_rights},
    {"mremap", KDREG_CAP_REMAP, false, change_move},         {"fallocate", KDREG_CAP_FILE, true, change_hole},
};

static void drain(struct block *block)
{
    struct kdreg_event events[EVENTS];
    int taken;
    while ((taken = kdreg_check(block->monitor, events, EVENTS)) > 0)
        atomic_fetch_add(&block->plan->counts->told, (unsigned long)taken);
    if (taken < 0)
        atomic_fetch_add(&block->plan->counts->failed, 1);
}

static void report(const struct block *block, const char *what, const char *at, size_t pages)
{
    static atomic_uint reports;
    if (atomic_fetch_add(&reports, 1) < 5)
        fprintf(stderr, "UNDETECTED by process %d: %s of %zu pages at %p of a %s block\n", (int)getpid(), what, pages, (const void *)at,
                block->shared ? "shared" : "private");
}

/* One change of pages that are there, watched as a whole and in parts. */
static void step(struct block *block)
{
    struct counts *counts = block->plan->counts;
    size_t kind = dice(block, sizeof kinds / sizeof *kinds);
    if ((kinds[kind].of_files && !block->shared) || !(block->caps & kinds[kind].cap))
        return;
    size_t pages = 1 + dice(block, 8), first = dice(block, PAGES - pages), length = pages * block->page;
    char *at = block->memory + first * block->page;
    for (size_t i = 0; i < pages; i++)
        *(volatile char *)(at + i * block->page) = 1;
    struct kdreg_region regions[REGIONS];
    bool watched[REGIONS] = {false}, before[REGIONS] = {false};
    for (int i = 0; i < REGIONS; i++) {
        size_t from = i ? dice(block, length) : 0, bytes = i ? 1 + dice(block, length - from) : length;
        int error = kdreg_monitor(block->monitor, at + from, bytes, 0, &regions[i]);
        watched[i] = error == 0;
        if (error == -ENXIO)
            atomic_fetch_add(&counts->refused, 1);
        else if (error)
            atomic_fetch_add(&counts->failed, 1), fprintf(stderr, "kdreg_monitor: %s\n", kdreg_strerror(error));
    }
    for (int i = 0; i < REGIONS; i++)
        if (watched[i] && (before[i] = kdreg_valid(&regions[i])))
            atomic_fetch_add(&counts->certain, 1);
        else
            atomic_fetch_add(&counts->uncertain, 1);
    if (!kinds[kind].make(block, at, length)) {
        fprintf(stderr, "%s: %s\n", kinds[kind].name, strerror(errno));
        atomic_fetch_add(&counts->failed, 1);
    }
    for (int i = 0; i < REGIONS; i++) {
        if (!watched[i])
            continue;
        if (kdreg_valid(&regions[i])) {
            atomic_fetch_add(&counts->undetected, 1);
            report(block, kinds[kind].name, at, pages);
        }
        atomic_fetch_add(&counts->checks, 1);
        /* Whether or not its event was taken meanwhile by another thread. */
        if (dice(block, 2))
            kdreg_unmonitor(block->monitor, &regions[i]);
    }
    atomic_fetch_add(&counts->changes, 1);
    if (!map_again(block, at, length))
        atomic_fetch_add(&counts->failed, 1);
    drain(block);
}

int integer_open(void)
{
    int file = open("/proc/sys/kernel/panic", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0, "/proc/sys/kernel/panic: %s", strerror(errno));
    return file;
}

void integer_read(int file)
{
    char text[32];
    REQUIRE(pread(file, text, sizeof text, 0) > 0, "/proc/sys/kernel/panic: %s", strerror(errno));
}

static void *work(void *argument)
{
    struct block *block = argument;
    const struct plan *plan = block->plan;
    int integer = integer_open();
    if (plan->priority) {
        struct sched_param priority = {.sched_priority = plan->priority};
        if (sched_setscheduler(0, SCHED_FIFO, &priority))
            atomic_fetch_add(&plan->counts->failed, 1);
    }
    while (!atomic_load(plan->stop)) {
        if (plan->priority) {
            struct timespec pause = {0, (long)(1 + dice(block, plan->pause)) * 1000};
            nanosleep(&pause, NULL);
            integer_read(integer);
        }
        step(block);
    }
    close(integer);
    return NULL;
}

/* The block, and room beside it for what is moved away. */
static void make_block(struct block *block, unsigned number)
{
    block->page = (size_t)sysconf(_SC_PAGESIZE);
    block->shared = number % 2;
    block->file = -1;
    /* Low in the address space, far from where mmap without an address looks: what is unmapped for a moment is nobody else's. */
    size_t length = (2 * PAGES + 4) * block->page;
    char *space = mmap((char *)0x200000000000u + number * 2 * length, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(space != MAP_FAILED, "mmap: %s", strerror(errno));
    block->memory = space + block->page;
    if (block->shared) {
        block->file = memfd_create("kdreg-worker", MFD_CLOEXEC);
        REQUIRE(block->file >= 0 && ftruncate(block->file, (off_t)(PAGES * block->page)) == 0, "memfd: %s", strerror(errno));
    }
    REQUIRE(map_again(block, block->memory, PAGES * block->page), "mmap: %s", strerror(errno));
}

static void stay_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    REQUIRE(cpu < 0 || sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity: %s", strerror(errno));
}

int worker_run(const struct plan *plan)
{
    unsigned threads = plan->threads ? plan->threads : 1;
    struct block blocks[threads];
    pthread_t ids[threads];
    kdreg_t *monitor = check_open(0);
    stay_on(plan->cpu);
    for (unsigned i = 0; i < threads; i++) {
        blocks[i] = (struct block){.plan = plan, .monitor = monitor, .caps = kdreg_caps(monitor),
                                   .random = (plan->seed + i + 1) * 0x9e3779b97f4a7c15ull};
        make_block(&blocks[i], i + (unsigned)plan->seed);
    }
    atomic_fetch_add(&plan->counts->ready, 1);
    for (unsigned i = 0; i < threads; i++)
        REQUIRE(pthread_create(&ids[i], NULL, work, &blocks[i]) == 0, "pthread_create");
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    drain(&blocks[0]);
    CHECK_IS(kdreg_close(monitor), 0);
    return atomic_load(&check_failures) != 0;
}

pid_t worker_start(const struct plan *plan)
{
    pid_t parent = getpid(), child = check_fork();
    REQUIRE(child >= 0, "fork: %s", strerror(errno));
    if (child)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int status = worker_run(plan);
    fflush(NULL);
    _exit(status);
}
