/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The library's threads never run the program's signal handlers, whatever is thrown at the process, and installs none of its own. */
#include <dirent.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "check.h"
#include "plain.h"

static size_t page;
static pid_t own_threads[16];
static atomic_int own_count, strangers, handled;

static void handler(int signal_number)
{
    (void)signal_number;
    atomic_fetch_add(&handled, 1);
    pid_t me = (pid_t)syscall(SYS_gettid);
    for (int i = 0; i < atomic_load(&own_count); i++)
        if (own_threads[i] == me)
            return;
    atomic_fetch_add(&strangers, 1);
}

static void join_own(void)
{
    own_threads[atomic_load(&own_count)] = (pid_t)syscall(SYS_gettid);
    atomic_fetch_add(&own_count, 1);
}

static unsigned long long blocked_by(const char *task)
{
    char path[288], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "SigBlk: %llx", &mask);
    if (file)
        fclose(file);
    return mask;
}

/* Every signal that can be blocked; 32 and 33 belong to the C library's threads. */
static unsigned long long all_signals(void)
{
    unsigned long long mask = ~0ull;
    static const int never[] = {SIGKILL, SIGSTOP, 32, 33};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        mask &= ~(1ull << (never[i] - 1));
    return mask;
}

static void library_threads_block_all(void)
{
    check_says("every thread of the library's blocks every signal");
    DIR *tasks = opendir("/proc/self/task");
    int foreign = 0;
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        pid_t id = (pid_t)atoi(entry->d_name);
        bool own = id == 0;
        for (int i = 0; i < atomic_load(&own_count); i++)
            own |= own_threads[i] == id;
        if (own)
            continue;
        foreign++;
        unsigned long long blocked = blocked_by(entry->d_name);
        CHECK((blocked & all_signals()) == all_signals(), "thread %s blocks %#llx of %#llx", entry->d_name, blocked, all_signals());
    }
    closedir(tasks);
    printf("    %d threads of the library's\n", foreign);
}

static void dispositions_are_untouched(const struct sigaction *before)
{
    check_says("no signal's disposition was changed, and the caller's mask is as it was");
    for (int i = 1; i < 65; i++) {
        struct sigaction now;
        if (i == 32 || i == 33 || i == SIGALRM || sigaction(i, NULL, &now))
            continue;
        CHECK(now.sa_handler == before[i].sa_handler, "signal %d has another handler", i);
    }
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int i = 1; i < 32; i++)
        CHECK(!sigismember(&mask, i), "signal %d is blocked in the calling thread", i);
}

static atomic_bool stop, ready;

static void *pester(void *argument)
{
    (void)argument;
    join_own();   /* the program's own: it blocks nothing, and handles what it is given */
    atomic_store(&ready, true);
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGHUP, SIGURG, SIGPROF};
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        kill(getpid(), signals[i % (sizeof signals / sizeof *signals)]);
        check_sleep_ms(0);
    }
    return NULL;
}

static void works_under_signals(kdreg_t *monitor, kdreg_cache_t *cache)
{
    check_says("changes are seen, and events and releases arrive, in a storm of signals");
    double until = check_now() + 3;
    int rounds = 0, lost = 0;
    while (check_now() < until) {
        char *memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct kdreg_region region;
        kdreg_entry_t *entry;
        REQUIRE(memory != MAP_FAILED, "mmap");
        int error = kdreg_monitor(monitor, memory, page, 1, &region);
        REQUIRE(error == 0, "kdreg_monitor, interrupted by signals: %s", kdreg_strerror(error));
        error = kdreg_cache_get(cache, memory, 4 * page, KDREG_ACCESS_READ, &entry);
        REQUIRE(error == 0, "kdreg_cache_get, interrupted by signals: %s", kdreg_strerror(error));
        REQUIRE(kdreg_cache_put(cache, entry) == 0, "kdreg_cache_put");
        lost += !kdreg_valid(&region);
        munmap(memory, 4 * page);
        CHECK(!kdreg_valid(&region), "a change is missed");
        CHECK_IS(kdreg_cache_find(cache, memory, page, KDREG_ACCESS_READ, &entry), -ENOENT);
        struct kdreg_event event;
        while (kdreg_check(monitor, &event, 1) > 0)
            ;
        kdreg_unmonitor(monitor, &region);
        rounds++;
    }
    printf("    %d rounds, %d signals handled, %d regions invalid though nothing had changed\n", rounds, atomic_load(&handled), lost);
    /* That may be: where the monitor's thread does not get a processor in time, the last round's change counts against this one's region. */
    CHECK(lost <= rounds / 20, "%d of %d regions were invalid though nothing had changed", lost, rounds);
}

int main(void)
{
    struct sigaction before[65], action;
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(280);
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;   /* without SA_RESTART: calls are interrupted */
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGHUP, SIGURG, SIGPROF, SIGVTALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    for (int i = 1; i < 65; i++)
        sigaction(i, NULL, &before[i]);
    join_own();
    kdreg_t *monitor = check_open(0);
    kdreg_cache_t *cache = NULL;
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    REQUIRE(kdreg_cache_create(monitor, &attr, &cache) == 0, "kdreg_cache_create");
    library_threads_block_all();
    dispositions_are_untouched(before);

    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, pester, NULL) == 0, "pthread_create");
    while (!atomic_load(&ready))
        check_sleep_ms(1);
    /* Sent to the process: any thread that does not block them may get them. The main thread is often asleep in the kernel. */
    struct itimerval interval = {{0, 200}, {0, 200}};
    setitimer(ITIMER_PROF, &interval, NULL);
    setitimer(ITIMER_VIRTUAL, &interval, NULL);
    works_under_signals(monitor, cache);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    memset(&interval, 0, sizeof interval);
    setitimer(ITIMER_PROF, &interval, NULL);
    setitimer(ITIMER_VIRTUAL, &interval, NULL);
    CHECK(atomic_load(&handled) > 0, "not one signal was handled");
    CHECK(atomic_load(&strangers) == 0, "%d signals were handled by a thread that is not the program's", atomic_load(&strangers));
    library_threads_block_all();
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("signals");
}
