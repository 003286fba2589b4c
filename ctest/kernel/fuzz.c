/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A seeded, bounded fuzzer of everything a client can do to the device and to
 * its status pages: ioctl, read, poll, mmap, mprotect, madvise, fork, close,
 * with good and bad arguments, by several threads. The process must survive
 * and the kernel must not complain (the rig looks at its log).
 *
 *   fuzz [SECONDS [SEED [STEPS]]]
 *
 * It ends after SECONDS or after STEPS, whichever is first; 0 means no limit.
 * KDREG_FUZZ_SECONDS, KDREG_FUZZ_SEED and KDREG_FUZZ_STEPS say the same. A day
 * by hand, where the module is loaded: fuzz 86400 7
 */
#include "kt.h"
#include "random.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

#define THREADS 3
#define FDS 6
#define AREA_PAGES 64
/* Reads and batches may run past the scratch memory, but not past this: what
 * lies behind it is the program's own. */
#define FENCE_PAGES 4096

static unsigned long steps;
static unsigned long seconds = 15;
static double end; /* on the clock of now() */
static atomic_ulong made;
static uint64_t seed = 1;
static size_t page;
static char *area;              /* memory that is being monitored and changed */
static char *scratch;           /* arguments; parts of it come and go */
static atomic_int fds[FDS];
/* Status mappings. The lock protects the record only, and keeps one thread at a
 * time on one mapping: whoever changes what is no longer there changes a
 * stack or a library instead. */
static struct mapping {
    pthread_mutex_t lock;
    char *base;
    size_t pages;
} mappings[FDS];
static pthread_mutex_t children = PTHREAD_MUTEX_INITIALIZER;

/* A pointer that the kernel may be asked to write to: any number, but never
 * into this program, whose data would be gone. What could be memory of its own
 * lies in the fence instead. */
static uint64_t pointer(void)
{
    uint64_t n = number();

    if (n < 65536 || n >> 47)
        return n;
    return (uintptr_t)scratch + 4 * page + n % (FENCE_PAGES * page);
}

/* Somewhere in the area, mostly. */
static uint64_t address(void)
{
    return below(20) ? (uintptr_t)area + below(AREA_PAGES * page) : number();
}

static uint64_t length(void)
{
    return below(10) ? 1 + below(8 * page) : number();
}

static int some_fd(unsigned i)
{
    return atomic_load(&fds[i]);
}

static void reopen(unsigned i)
{
    int flags = O_CLOEXEC | (below(8) ? O_RDWR | O_NONBLOCK : (int)below(3) | O_NONBLOCK);
    int fd = open(below(2) ? KDREG_DEVICE_NAME : KDREG2_DEVICE_NAME, flags);

    if (fd >= 0)
        close(atomic_exchange(&fds[i], fd));
}

static void configure(unsigned i)
{
    struct kdreg2_config_data data = {.max_regions = below(4) ? 1 + below(3000) : number()};

    /* The status pages of a million slots are all right, thousands of such
     * mappings are not. */
    if (data.max_regions > 1 << 16 && below(16))
        data.max_regions = 100;
    if (ioctl(some_fd(i), KDREG2_IOCTL_CONFIG_DATA, &data) == 0) {
        struct mapping *m = &mappings[i];

        pthread_mutex_lock(&m->lock);
        if (m->base && below(8))
            munmap(m->base, (1 + below(m->pages)) * page);
        m->base = (char *)data.status_data;
        m->pages = (data.max_regions * sizeof(uint32_t) + page - 1) / page;
        pthread_mutex_unlock(&m->lock);
    }
}

static void *argument(void)
{
    switch (below(8)) {
    case 0: return NULL;
    case 1: return (void *)(uintptr_t)pointer();
    case 2: return scratch + 4 * page - below(64);
    default: return scratch + below(4 * page - 64);
    }
}

static void raw_ioctl(unsigned i)
{
    static const unsigned long requests[] = {
        KDREG2_IOCTL_CONFIG_DATA, KDREG2_IOCTL_MONITOR,      KDREG2_IOCTL_UNMONITOR,
        KDREG2_IOCTL_FLUSH,       KDREG2_IOCTL_UNMONITOR_ALL, KDREG_IOCTL_FEATURES,
        KDREG_IOCTL_MONITOR_BATCH, KDREG_IOCTL_UNMONITOR_BATCH,
    };
    unsigned long request = requests[below(8)];
    uint64_t *words = (uint64_t *)(scratch + 8 * below(256));

    for (int n = 0; n < 8; n++)
        words[n] = n ? number() : pointer(); /* the first is where a batch is */
    /* Almost always small, as above. */
    if (request == KDREG2_IOCTL_CONFIG_DATA && below(50))
        words[0] %= 5000;
    if (below(4) == 0)
        request ^= 1UL << below(32);
    ioctl(some_fd(i), request, below(2) ? (void *)words : argument());
}

static void batch(unsigned i)
{
    struct kdreg_batch b = {.entries = below(4) ? (uintptr_t)scratch + below(4 * page) : pointer(),
                            .count = (uint32_t)(below(8) ? 1 + below(200) : number())};
    struct kdreg_monitor_entry m[64];

    if (below(2)) {
        for (unsigned n = 0; n < 64; n++)
            m[n] = (struct kdreg_monitor_entry){.addr = address(),
                                                .length = length(),
                                                .cookie = below(4) ? below(400) : number(),
                                                .changes = (uint32_t)below(130),
                                                .flags = (uint32_t)below(3)};
        b.entries = (uintptr_t)m;
        b.count = (uint32_t)(1 + below(64));
        if (ioctl(some_fd(i), KDREG_IOCTL_MONITOR_BATCH, &b) == 0 && below(2)) {
            struct kdreg_unmonitor_entry u[64];

            for (unsigned n = 0; n < b.count; n++)
                u[n] = (struct kdreg_unmonitor_entry){.cookie = m[n].cookie,
                                                      .location = m[n].location,
                                                      .generation = m[n].generation};
            b.entries = (uintptr_t)u;
            ioctl(some_fd(i), KDREG_IOCTL_UNMONITOR_BATCH, &b);
        }
        return;
    }
    ioctl(some_fd(i), below(2) ? KDREG_IOCTL_MONITOR_BATCH : KDREG_IOCTL_UNMONITOR_BATCH, &b);
}

static void monitor(unsigned i)
{
    struct kdreg2_monitoring_params p;
    uint64_t cookie = below(4) ? below(1000) : number();

    if (kt_try_monitor(some_fd(i), (void *)(uintptr_t)address(), length(), cookie, &p) == 0 &&
        below(3) == 0)
        kt_unmonitor(some_fd(i), below(8) ? cookie : number(),
                     below(8) ? p
                              : (struct kdreg2_monitoring_params){number(), (uint32_t)number()});
}

static void change(void)
{
    char *p = area + below(AREA_PAGES) * page;
    size_t n = (1 + below(4)) * page;

    if (p + n > area + AREA_PAGES * page)
        return;
    switch (below(6)) {
    case 0: munmap(p, n); /* and back below, as something else may move in */ break;
    case 1: mprotect(p, n, PROT_READ); mprotect(p, n, PROT_READ | PROT_WRITE); return;
    case 2: madvise(p, n, below(2) ? MADV_DONTNEED : (int)below(30)); return;
    case 3: mremap(p, n, n, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0); break;
    case 4: process_vm_writev(getpid(), &(struct iovec){area, n}, 1, &(struct iovec){p, n}, 1, 0); return;
    default: break;
    }
    mmap(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
}

static void status_page(unsigned i)
{
    struct mapping *m = &mappings[i];
    char buffer[64];

    pthread_mutex_lock(&m->lock);
    if (m->base && m->pages) {
        size_t first = below(m->pages), count = 1 + below(m->pages - first);
        char *p = m->base + first * page;
        size_t n = (count < 4 ? count : 1 + below(4)) * page;

        switch (below(6)) {
        case 0: mprotect(p, n, (int)below(8)); break;
        case 1: madvise(p, n, (int)below(30)); break;
        case 2: {
            size_t wanted = below(4) * page;
            char *moved = mremap(m->base, m->pages * page, wanted, MREMAP_MAYMOVE);

            if (moved != MAP_FAILED) {
                m->base = moved;
                m->pages = wanted / page;
            }
            break;
        }
        case 3: process_vm_readv(getpid(), &(struct iovec){buffer, 64}, 1, &(struct iovec){p, 64}, 1, 0); break;
        case 4: mlock(p, n); munlock(p, n); break;
        default: msync(p, n, (int)below(8)); break;
        }
    }
    pthread_mutex_unlock(&m->lock);
}

static void read_events(unsigned i)
{
    struct pollfd p = {.fd = some_fd(i), .events = (short)any()};

    poll(&p, 1, 0);
    switch (below(4)) {
    case 0: (void)!pread(some_fd(i), scratch, 64, (off_t)number()); break;
    case 1: (void)!write(some_fd(i), scratch, below(100)); break;
    default: (void)!read(some_fd(i), argument(), below(2) ? below(3000) : number()); break;
    }
    void *m = mmap(NULL, page, (int)below(8), below(2) ? MAP_SHARED : MAP_PRIVATE, some_fd(i),
                   (off_t)(below(4) * page));
    if (m != MAP_FAILED)
        munmap(m, page);
}

static void fork_child(unsigned i)
{
    /* One at a time. */
    if (pthread_mutex_trylock(&children) != 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        struct kdreg2_event event;

        ioctl(some_fd(i), KDREG2_IOCTL_FLUSH);
        (void)!read(some_fd(i), &event, sizeof event);
        munmap(area, AREA_PAGES * page);
        if (below(2))
            close(some_fd(i));
        _exit(0);
    }
    if (child > 0) {
        int status;

        if (below(4) == 0)
            kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    pthread_mutex_unlock(&children);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Is it time to stop? Counts the step, and tells every minute how far it got. */
static bool over(unsigned self, unsigned long n)
{
    static double told; /* the first thread's */

    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    if (steps && n >= steps / THREADS)
        return true;
    if (n % 64)
        return false;
    double t = now();
    if (self == 0 && t - told > 60) {
        told = t;
        fprintf(stderr, "%lu steps\n", atomic_load(&made));
    }
    return seconds && t > end;
}

static void *worker(void *argument_)
{
    unsigned self = (unsigned)(uintptr_t)argument_;

    state = seed * 1000003 + self;
    for (unsigned long n = 0; !over(self, n); n++) {
        unsigned i = (unsigned)below(FDS);

        switch (below(40)) {
        /* Seldom, because close() waits for grace periods. */
        case 0: if (below(10) == 0) reopen(i); break;
        case 1: configure(i); break;
        case 2: ioctl(some_fd(i), KDREG2_IOCTL_FLUSH); break;
        case 3: ioctl(some_fd(i), KDREG2_IOCTL_UNMONITOR_ALL); break;
        case 4: if (below(20) == 0) fork_child(i); break;
        case 5: mprotect(scratch + 2 * page, 2 * page, (int)below(4)); break;
        case 6: case 7: status_page(i); break;
        case 8: case 9: case 10: case 11: raw_ioctl(i); break;
        case 12: case 13: case 14: case 15: batch(i); break;
        case 16: case 17: case 18: case 19: case 20: read_events(i); break;
        case 21: case 22: case 23: case 24: case 25: change(); break;
        default: monitor(i); break;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    struct rlimit locked = {1 << 20, 1 << 20};

    if (getenv("KDREG_FUZZ_SECONDS"))
        seconds = strtoul(getenv("KDREG_FUZZ_SECONDS"), NULL, 0);
    if (getenv("KDREG_FUZZ_SEED"))
        seed = strtoull(getenv("KDREG_FUZZ_SEED"), NULL, 0);
    if (getenv("KDREG_FUZZ_STEPS"))
        steps = strtoul(getenv("KDREG_FUZZ_STEPS"), NULL, 0);
    if (argc > 1)
        seconds = strtoul(argv[1], NULL, 0);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 0);
    if (argc > 3)
        steps = strtoul(argv[3], NULL, 0);
    end = now() + (double)seconds;
    page = kt_page();
    setrlimit(RLIMIT_MEMLOCK, &locked);
    area = kt_map(AREA_PAGES * page);
    scratch = mmap(NULL, (4 + FENCE_PAGES) * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(scratch != MAP_FAILED, "%m");
    CHECK(mprotect(scratch, 4 * page, PROT_READ | PROT_WRITE) == 0, "%m");
    fprintf(stderr, "seed %llu, %lu seconds, %lu steps (0: no limit)\n", (unsigned long long)seed,
            seconds, steps);
    for (unsigned i = 0; i < FDS; i++) {
        atomic_store(&fds[i], kt_open());
        pthread_mutex_init(&mappings[i].lock, NULL);
        state = i;
        configure(i);
    }
    /* The first half of the scratch memory stays writable, so that the threads
     * can put arguments there. */
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, worker, (void *)i) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);

    printf("%lu steps\n", atomic_load(&made));

    /* After all this, a fresh descriptor and an old one work as ever. */
    for (int round = 0; round < 2; round++) {
        int fd = kt_open();

        if (round) {
            close(fd);
            fd = some_fd(0);
            if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
                break;
            CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
            CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
        }
        const struct kdreg2_status_data *status = kt_config(fd, 50);
        char *memory = kt_space(page);
        struct kdreg2_monitoring_params p = kt_monitor(fd, memory, page, 1);

        CHECK(!kt_changed(status, p));
        munmap(memory, page);
        CHECK(kt_changed(status, p));
        CHECK(kt_event(fd).u.mapping_change.cookie == 1);
    }
    return 0;
}
