/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* On what terms the library's threads run: not on those of whoever opened it. And nobody waits for them on account of threads that poll with a
 * real-time priority, be it on one processor or on all. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "caches.h"
#include "plain.h"

enum { REGION = 65536, ROUNDS = 50 };

static cpu_set_t process;       /* the processors that the process has */
static int niceness, opener_is; /* its niceness, and that of the opener */

static int processors(int *first)
{
    int count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &process)) {
            if (count++ == 0)
                *first = cpu;
        }
    return count;
}

static int processor(int number)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &process) && number-- == 0)
            return cpu;
    return -1;
}

static void bind_to(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    REQUIRE(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity: %s", strerror(errno));
}

static bool become_realtime(int priority)
{
    struct sched_param parameters = {.sched_priority = priority};
    return sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

static kdreg_cache_t *make_cache(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    return new_cache(NULL, &attr);
}

static void use(kdreg_cache_t *cache, void *memory)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, memory, REGION, KDREG_ACCESS_READ, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
}

/* A line of /proc/self/task/THREAD/status, behind its name. */
static bool status_of(int thread, const char *name, char *value, size_t size)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    FILE *file = fopen(path, "r");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) {
            snprintf(value, size, "%s", line + strlen(name));
            value[strcspn(value, "\n")] = '\0';
            found = true;
        }
    if (file)
        fclose(file);
    return found;
}

/* Looks at the library's threads; how many there are. */
static int look_at_threads(int expected)
{
    int seen = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks, "/proc/self/task: %s", strerror(errno));
    struct dirent *task;
    while ((task = readdir(tasks))) {
        int thread = atoi(task->d_name);
        char name[64], blocked[64];
        if (!thread || !status_of(thread, "Name:\t", name, sizeof name) || strncmp(name, "kdreg-", 6) != 0)
            continue;
        seen++;
        cpu_set_t set;
        CHECK(sched_getaffinity(thread, sizeof set, &set) == 0 && CPU_EQUAL(&set, &process), "%s has %d processors, the process %d", name,
              CPU_COUNT(&set), CPU_COUNT(&process));
        CHECK(sched_getscheduler(thread) == SCHED_OTHER, "%s has policy %d", name, sched_getscheduler(thread));
        CHECK(getpriority(PRIO_PROCESS, (id_t)thread) == expected, "%s has niceness %d", name, getpriority(PRIO_PROCESS, (id_t)thread));
        REQUIRE(status_of(thread, "SigBlk:\t", blocked, sizeof blocked), "no SigBlk of %s", name);
        /* All but SIGKILL, SIGSTOP and those of the C library. */
        CHECK(strtoull(blocked, NULL, 16) == 0xfffffffe7ffbfeffULL, "%s blocks signals %s", name, blocked);
    }
    closedir(tasks);
    return seen;
}

static void *opens(void *unused)
{
    int first = 0;
    processors(&first);
    bind_to(first);
    id_t self = (id_t)syscall(SYS_gettid);
    setpriority(PRIO_PROCESS, self, niceness + 3);
    opener_is = getpriority(PRIO_PROCESS, self);
    /* Whether a thread may be less nice than that. */
    bool nice_can_fall = setpriority(PRIO_PROCESS, self, niceness) == 0;
    setpriority(PRIO_PROCESS, self, opener_is);
    struct sched_param parameters = {0};
    if (!become_realtime(10)) {
        printf("  (no real-time priority to be had: the opener is SCHED_BATCH instead)\n");
        sched_setscheduler(0, SCHED_BATCH, &parameters);
    }
    kdreg_cache_t *cache = make_cache();
    char *memory = check_space(REGION);
    use(cache, memory);
    /* A thread has what it is to have once it has begun. */
    double until = check_now() + 30;
    char name[64];
    int named = 0;
    while (named < 1 && check_now() < until) {
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *task;
        named = 0;
        while (tasks && (task = readdir(tasks)))
            named += status_of(atoi(task->d_name), "Name:\tkdreg-", name, sizeof name);
        closedir(tasks);
        check_sleep_ms(20);
    }
    check_sleep_ms(20);
    CHECK(look_at_threads(nice_can_fall ? niceness : opener_is) > 0, "no thread of the library's is there");
    munmap(memory, REGION);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    (void)unused;
    return NULL;
}

/* Threads that poll, and one that frees. */
static kdreg_cache_t *cache;
static char *buffers[ROUNDS];
static atomic_int polling, freed, over;

static void *polls(void *cpu)
{
    bind_to((int)(intptr_t)cpu);
    REQUIRE(become_realtime(1), "SCHED_FIFO: %s", strerror(errno));
    char *memory = check_space(REGION);
    use(cache, memory);
    atomic_fetch_add(&polling, 1);
    /* 20 s: fifty times what the kernel keeps for ordinary threads is longer. */
    double until = check_now() + 20;
    while (!atomic_load(&over) && check_now() < until)
        ;
    munmap(memory, REGION);
    return NULL;
}

struct freer {
    int cpu, priority, pollers;
};

static void *frees(void *argument)
{
    const struct freer *freer = argument;
    bind_to(freer->cpu);
    if (freer->priority)
        REQUIRE(become_realtime(freer->priority), "SCHED_FIFO: %s", strerror(errno));
    while (atomic_load(&polling) < freer->pollers)
        check_sleep_ms(1);
    double until = check_now() + 20;
    for (int round = 0; round < ROUNDS && check_now() < until; round++) {
        munmap(buffers[round], REGION);
        atomic_fetch_add(&freed, 1);
    }
    atomic_store(&over, 1);
    return NULL;
}

/* Real-time threads poll on the first `pollers` processors. The freer is on the last: with a priority above theirs where they have that, too. */
static void poll_on(int pollers, bool opener_polls)
{
    pthread_t threads[256], freer_thread;
    int first, all = processors(&first);
    struct freer freer = {processor(all - 1), pollers == all ? 2 : 0, pollers};
    atomic_store(&polling, 0);
    atomic_store(&freed, 0);
    atomic_store(&over, 0);
    if (!opener_polls)
        cache = make_cache();
    else {
        /* From now on this thread's. */
        bind_to(first);
        REQUIRE(become_realtime(1), "SCHED_FIFO: %s", strerror(errno));
        cache = make_cache();
    }
    for (int round = 0; round < ROUNDS; round++)
        use(cache, buffers[round] = check_space(REGION));
    pthread_attr_t attr;
    struct sched_param ordinary = {0};
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(freer.cpu, &last);
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_OTHER);
    pthread_attr_setschedparam(&attr, &ordinary);
    pthread_attr_setaffinity_np(&attr, sizeof last, &last);
    REQUIRE(pthread_create(&freer_thread, &attr, frees, &freer) == 0, "pthread_create");
    int started = 0;
    for (int number = opener_polls; number < pollers; number++) {
        pthread_attr_setaffinity_np(&attr, sizeof process, &process);
        REQUIRE(pthread_create(&threads[started++], &attr, polls, (void *)(intptr_t)processor(number)) == 0, "pthread_create");
    }
    if (opener_polls)
        polls((void *)(intptr_t)first);
    for (int number = 0; number < started; number++)
        pthread_join(threads[number], NULL);
    pthread_join(freer_thread, NULL);
    CHECK(atomic_load(&freed) == ROUNDS, "of %d buffers %d were unmapped in 20 s of polling", ROUNDS, atomic_load(&freed));
    pthread_attr_destroy(&attr);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

/* In a child, since what is learnt of real-time threads stays. */
static void in_child(int pollers, bool opener_polls)
{
    pid_t child = check_fork();
    if (child == 0) {
        check_watchdog(100);
        poll_on(pollers, opener_polls);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "with real-time threads polling on %d processors", pollers);
}

int main(void)
{
    check_watchdog(300);
    REQUIRE(sched_getaffinity(0, sizeof process, &process) == 0, "sched_getaffinity: %s", strerror(errno));
    niceness = getpriority(PRIO_PROCESS, 0);
    check_says("an opener that is bound, nice, and has a policy of its own");
    pthread_t opener;
    REQUIRE(pthread_create(&opener, NULL, opens, NULL) == 0, "pthread_create");
    pthread_join(opener, NULL);

    int first, all = processors(&first);
    pid_t child = check_fork();
    if (child == 0)
        _exit(!become_realtime(1));
    if (!check_child_succeeded(child)) {
        printf("  skipped: threads that poll with a real-time priority, which needs root\n");
    } else if (all < 2) {
        printf("  skipped: threads that poll on one processor of several: there is one\n");
    } else {
        check_says("an opener that polls on its processor, while another thread unmaps");
        in_child(1, true);
        check_says("threads that poll on all processors but one");
        in_child(all - 1, false);
        check_says("threads that poll on all processors, while one of higher priority unmaps");
        in_child(all, false);
    }
    return check_result("terms");
}
