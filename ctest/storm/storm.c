/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* storm [--seconds N] [--threads N] [--seed N] [--backend NAME] [--relaxed] [--evict] [--fork] [--fifo] [--pin]
 * Exit status 1 when one lookup handed out a registration of memory that was no longer there. See storm.h. */
#include <sched.h>

#include "storm.h"

static const uint32_t backends[] = {KDREG_BACKEND_KERNEL, KDREG_BACKEND_BPF, KDREG_BACKEND_USERFAULTFD, KDREG_BACKEND_NONE};
static const char *const backend_names[] = {[KDREG_BACKEND_KERNEL] = "kernel", [KDREG_BACKEND_BPF] = "bpf",
                                            [KDREG_BACKEND_USERFAULTFD] = "userfaultfd", [KDREG_BACKEND_NONE] = "none"};

static void *work(void *argument)
{
    struct worker *worker = argument;
    schedule_worker();
    while (!atomic_load(&storm.stop)) {
        uint64_t dice = worker_random(worker, 1000);
        if (dice < 1) {
            atomic_store(&worker->doing, "swathe");
            swathe_step(worker);
        } else if (dice < 300) {
            atomic_store(&worker->doing, "stations");
            stations_step(worker);
        } else if (dice < 500) {
            atomic_store(&worker->doing, "private memory");
            anonymous_step(worker);
        } else {
            atomic_store(&worker->doing, "slots");
            slots_step(worker);
        }
    }
    atomic_store(&worker->doing, "ended");
    return NULL;
}

static void fork_loop(void)
{
    for (unsigned round = 0; !atomic_load(&storm.stop); round++) {
        pid_t child = fork();
        if (child == 0) {
            struct timespec pause = {0, (long)(round % 4) * 1000000};
            nanosleep(&pause, NULL);
            _exit(0);
        }
        if (child > 0)
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
        struct timespec breath = {0, 500000};
        nanosleep(&breath, NULL);
    }
}

static void *forker(void *argument)
{
    (void)argument;
    schedule_worker();
    fork_loop();
    return NULL;
}

static void hang(int signal_number)
{
    (void)signal_number;
    dprintf(2, "FAILED: the storm does not end (a deadlock?)\n");
    for (int i = 0; i < storm.options.threads; i++)
        dprintf(2, "    thread %d: %s\n", i, atomic_load(&storm.workers[i].doing));
    _exit(1);
}

static void sum_up(double seconds)
{
    struct worker total;
    memset(&total, 0, sizeof total);
    for (int i = 0; i < storm.options.threads; i++) {
        total.operations += storm.workers[i].operations;
        total.hits += storm.workers[i].hits;
        total.misses += storm.workers[i].misses;
        total.changes += storm.workers[i].changes;
        total.handovers += storm.workers[i].handovers;
        total.windows += storm.workers[i].windows;
        total.stale_in_window += storm.workers[i].stale_in_window;
    }
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    int error = kdreg_cache_stats(storm.cache, &stats);
    CHECK(error == 0, "kdreg_cache_stats: %s", kdreg_strerror(error));
    printf("  %llu lookups and checks (%.0f/s), %llu hits, %llu misses, %llu changes of mappings\n", (unsigned long long)total.operations,
           (double)total.operations / seconds, (unsigned long long)total.hits, (unsigned long long)total.misses, (unsigned long long)total.changes);
    printf("  %llu addresses handed over, %llu lookups made before the releasing call had returned\n", (unsigned long long)total.handovers,
           (unsigned long long)total.windows);
    printf("  cache: %llu registrations, %llu merges, %llu invalidations, %llu evictions, %llu uncached, %llu duplicates, %llu failed registrations\n",
           (unsigned long long)stats.registrations, (unsigned long long)stats.merges, (unsigned long long)stats.invalidations,
           (unsigned long long)stats.evictions, (unsigned long long)stats.uncached, (unsigned long long)stats.duplicates,
           (unsigned long long)stats.register_failures);
    if (storm.caps & KDREG_CAP_STRICT)
        printf("  stale hits: %ld\n", atomic_load(&storm.stale));
    else
        printf("  stale hits: %ld; in the window of a hand-over, which this monitor leaves open: %llu\n", atomic_load(&storm.stale),
               (unsigned long long)total.stale_in_window);
    bool watches = (storm.caps & KDREG_CAP_UNMAP) != 0;
    CHECK(!watches || atomic_load(&storm.broken) || (total.hits > 0 && stats.invalidations > 0), "nothing was ever found, or never invalidated: the storm showed nothing");
    CHECK(watches || total.hits == stats.registrations, "a monitor that watches nothing had %llu hits for %llu registrations", (unsigned long long)total.hits,
          (unsigned long long)stats.registrations);
    CHECK(!storm.options.evict || !watches || stats.evictions > 0, "nothing was evicted");
    CHECK(stats.in_use == 0, "%llu entries in use after the storm", (unsigned long long)stats.in_use);
}

/* Whether what sum_up() asks for has happened by now. */
static bool shown_enough(void)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    return !(storm.caps & KDREG_CAP_UNMAP) || (kdreg_cache_stats(storm.cache, &stats) == 0 && stats.hits > 0 && stats.invalidations > 0 &&
                                               (!storm.options.evict || stats.evictions > 0));
}

static bool run(uint32_t backend)
{
    struct kdreg_attr attr = {.size = sizeof attr, .backend = backend, .flags = storm.options.relaxed ? KDREG_OPEN_PRIVATE | KDREG_OPEN_RELAXED : 0};
    int error = kdreg_open(&attr, &storm.monitor);
    REQUIRE(error == 0, "kdreg_open: %s", kdreg_strerror(error));
    storm.caps = kdreg_caps(storm.monitor);
    struct kdreg_cache_attr cache = {.size = sizeof cache, .reg = pin_register, .dereg = pin_deregister};
    if (storm.options.evict) {
        cache.max_entries = 24;
        cache.max_bytes = 96 * file_page_size();
        cache.max_unreleased = 16 * file_page_size();
    }
    error = kdreg_cache_create(storm.monitor, &cache, &storm.cache);
    REQUIRE(error == 0, "kdreg_cache_create: %s", kdreg_strerror(error));
    printf("storm: backend %s, capabilities %#llx, %d threads, %d s, seed %llu%s%s%s%s%s\n", kdreg_backend_name(storm.monitor), (unsigned long long)storm.caps,
           storm.options.threads, storm.options.seconds, (unsigned long long)storm.options.seed, storm.options.relaxed ? ", relaxed" : "",
           storm.options.evict ? ", evicting" : "", storm.options.forks ? ", forking" : "",
           storm.options.fifo ? ", SCHED_FIFO" : "", storm.options.pin ? ", on one processor" : "");
    fflush(stdout);

    alarm((unsigned)storm.options.seconds + 300);
    atomic_store(&storm.stop, false);
    atomic_store(&storm.stale, 0);
    atomic_store(&storm.broken, 0);
    storm.started = check_now();
    slots_create();
    stations_create();
    pthread_t threads[MAX_THREADS], forking;
    memset(storm.workers, 0, sizeof storm.workers);
    schedule_begin();
    for (int i = 0; i < storm.options.threads; i++) {
        struct worker *worker = &storm.workers[i];
        worker->index = i;
        worker->random = storm.options.seed * 0x9e3779b97f4a7c15ull + (uint64_t)i * 0xbf58476d1ce4e5b9ull + 1;
        atomic_store(&worker->doing, "starting");
        REQUIRE(pthread_create(&threads[i], NULL, work, worker) == 0, "pthread_create");
    }
    if (storm.options.forks)
        REQUIRE(pthread_create(&forking, NULL, forker, NULL) == 0, "pthread_create");
    enum { PATIENCE = 240 };   /* seconds for what takes less than one */
    while (!atomic_load(&storm.stop) &&
           (check_now() - storm.started < storm.options.seconds ||
            (!(schedule_enough() && shown_enough()) && check_now() - storm.started < PATIENCE)))
        check_sleep_ms(50);
    double seconds = check_now() - storm.started;
    CHECK(schedule_enough() || atomic_load(&storm.stop), "the handler does not get its share beside real-time threads");
    atomic_store(&storm.stop, true);
    for (int i = 0; i < storm.options.threads; i++)
        pthread_join(threads[i], NULL);
    if (storm.options.forks)
        pthread_join(forking, NULL);
    schedule_end();

    sum_up(seconds);
    error = kdreg_cache_destroy(storm.cache);
    CHECK(error == 0, "kdreg_cache_destroy: %s", kdreg_strerror(error));
    CHECK(atomic_load(&pins_alive) == 0, "%ld registrations were never deregistered", atomic_load(&pins_alive));
    error = kdreg_close(storm.monitor);
    CHECK(error == 0, "kdreg_close: %s", kdreg_strerror(error));
    CHECK(atomic_load(&storm.broken) == 0, "%ld reports, %ld stale hits", atomic_load(&storm.broken), atomic_load(&storm.stale));
    return atomic_load(&storm.broken) == 0;
}

static bool wanted(uint32_t backend)
{
    if (storm.options.backend)
        return strcmp(storm.options.backend, backend_names[backend]) == 0;
    return true;
}

static void parse(int argc, char **argv)
{
    struct options *options = &storm.options;
    options->seconds = 20;
    options->seed = (uint64_t)time(NULL);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    options->threads = processors < 3 ? 6 : processors > 16 ? 32 : (int)processors * 2;
    options->backend = getenv("KDREG_BACKEND");
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--relaxed") == 0)
            options->relaxed = true;
        else if (strcmp(argv[i], "--evict") == 0)
            options->evict = true;
        else if (strcmp(argv[i], "--fork") == 0)
            options->forks = true;
        else if (strcmp(argv[i], "--fifo") == 0)
            options->fifo = true;
        else if (strcmp(argv[i], "--pin") == 0)
            options->pin = true;
        else if (strcmp(argv[i], "--seconds") == 0 && ++i)
            options->seconds = atoi(value);
        else if (strcmp(argv[i], "--threads") == 0 && ++i)
            options->threads = atoi(value);
        else if (strcmp(argv[i], "--seed") == 0 && ++i)
            options->seed = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--backend") == 0 && ++i)
            options->backend = value;
        else {
            fprintf(stderr, "usage: storm [--seconds N] [--threads N] [--seed N] [--backend NAME] [--relaxed] [--evict] [--fork] "
                            "[--fifo] [--pin]\n");
            exit(2);
        }
    }
    if (options->seconds < 1 || options->threads < 1 || options->threads > MAX_THREADS) {
        fprintf(stderr, "storm: seconds from 1, threads from 1 to %d\n", MAX_THREADS);
        exit(2);
    }
    unsetenv("KDREG_BACKEND");   /* it would override what is asked for here */
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    if (storm.options.fifo && !schedule_possible())
        return CHECK_SKIPPED;
    signal(SIGALRM, hang);
    file_create((size_t)RUN * 8192);
    int ran = 0;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        uint32_t backend = backends[i];
        struct kdreg_backend_info info = {.size = sizeof info};
        if (!wanted(backend) || (backend == KDREG_BACKEND_NONE && !storm.options.backend))
            continue;
        if (kdreg_probe(backend, &info) || info.error) {
            printf("backend %s does not work here: %s\n", info.name, info.reason);
            continue;
        }
        run(backend);
        ran++;
    }
    if (!ran) {
        REQUIRE(!check_kernel_can_watch(), "the kernel can watch memory, but no backend works (run kdreg_info to see why)");
        printf("skipped: no such backend works here\n");
        return CHECK_SKIPPED;
    }
    return check_result("storm");
}
