/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* upheavals DAEMON [--changes N] [--kills N]
 * Clients work while kdregd is killed, started anew, and taken apart in every way there is; after each no change of theirs is undetected, be
 * it that all goes on as before, or that nothing is certain any more. DAEMON is the script of that name: it starts and ends kdregd. */
#include <getopt.h>

#include "../check.h"
#include "wire.h"
#include "worker.h"

enum { WORKERS = 2, ENTRIES = 64 };

/* What is so once it has happened. */
enum then {
    GOES_ON, /* changes are seen, and something is certain */
    ENDED,   /* nothing is ever certain for those who were there */
    EITHER,  /* the kernel lets it happen or does not: one of the two */
};

static const struct {
    const char *what;
    const char *commands; /* arguments of DAEMON, one after the other */
    enum then then;
    bool serves; /* whether somebody new is served afterwards */
} upheavals[] = {
    {"nothing happens", "", GOES_ON, true},
    {"kdregd is killed", "kill", GOES_ON, false},
    {"kdregd is started again", "start", GOES_ON, true},
    {"kdregd is stopped by SIGTERM and started again", "term start", GOES_ON, true},
    {"another build's takes its place", "upgrade", GOES_ON, true},
    {"somebody detaches the links", "detach", EITHER, true},
    {"kernel.ftrace_enabled is set to 0", "ftrace-off", EITHER, false},
    {"kernel.ftrace_enabled is set to 1, and kdregd is started anew", "ftrace-on uninstall start", ENDED, true},
    {"the BPF file system is unmounted", "unmount", EITHER, false},
    {"and kdregd is killed", "kill", ENDED, false},
    {"and both are there again", "mount start", ENDED, true},
    {"the names in the BPF file system are removed, and kdregd is killed", "unpin kill", ENDED, false},
    {"kdregd is started once more", "start", ENDED, true},
    {"kdregd is uninstalled", "uninstall", ENDED, false},
};

static const char *script;

static void command(const char *words)
{
    char line[512], copy[128], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        snprintf(line, sizeof line, "%s %s", script, word);
        fflush(NULL);
        int status = system(line);
        REQUIRE(status == 0, "%s: status %#x", line, (unsigned)status);
    }
}

static void start(struct plan *plan, pid_t *workers)
{
    static unsigned generation;
    atomic_store(plan->stop, false);
    atomic_store(&plan->counts->ready, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        plan->seed = 100 * ++generation + i;
        workers[i] = worker_start(plan);
    }
    CHECK_EVENTUALLY(atomic_load(&plan->counts->ready) == WORKERS, 120, "those who work do not begin");
}

static void stop(struct plan *plan, pid_t *workers)
{
    atomic_store(plan->stop, true);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK(check_child_succeeded(workers[i]), "one of those who work failed");
}

/* So many more changes, that all begin from now on but for one of each thread. */
static void go_on(const struct plan *plan, unsigned long changes)
{
    unsigned long wanted = atomic_load(&plan->counts->changes) + changes;
    while (atomic_load(&plan->counts->changes) < wanted)
        check_sleep_ms(5);
}

/* As the library does, again where it is told to try again. */
static bool is_served(void)
{
    static struct wire_received received;
    int connection = wire_enrol(ENTRIES, &received);
    for (unsigned i = 0; i < 600 && connection >= 0 && wire_asks_again(&received); i++) {
        wire_close(&received);
        close(connection);
        check_sleep_ms(100);
        connection = wire_enrol(ENTRIES, &received);
    }
    bool granted = connection >= 0 && received.length > 0 && received.header.kind == WIRE_GRANT;
    if (!granted)
        printf("  somebody new is not served: %s\n", connection < 0 ? strerror(-connection) : received.header.kind == WIRE_REFUSED ? received.refused.text : "no answer");
    wire_close(&received);
    if (connection >= 0)
        close(connection);
    return granted;
}

/* Changes after something has happened: what was lost, and whether anything was certain. */
static bool look(const struct plan *plan, const char *what, enum then then, unsigned long changes)
{
    struct counts before;
    go_on(plan, 2 * WORKERS);
    counts_copy(&before, plan->counts);
    go_on(plan, changes);
    /* Nothing is certain while a guard is held, which passes. */
    for (unsigned i = 0; i < 600 && then == GOES_ON && atomic_load(&plan->counts->certain) == atomic_load(&before.certain); i++) {
        check_sleep_ms(100);
        go_on(plan, 1);
    }
    counts_say("  afterwards", plan->counts, &before);
    unsigned long certain = atomic_load(&plan->counts->certain) - atomic_load(&before.certain);
    CHECK(atomic_load(&plan->counts->undetected) == 0, "%s: %lu changes were undetected", what, atomic_load(&plan->counts->undetected));
    CHECK(then != GOES_ON || certain > 0, "%s: nothing is certain any more", what);
    CHECK(then != ENDED || certain == 0, "%s: %lu regions were said to be valid, of which nobody can know", what, certain);
    atomic_store(&plan->counts->undetected, 0);
    return certain > 0;
}

/* At any moment, with changes under way. */
static void kills(const struct plan *plan, unsigned times, unsigned long changes)
{
    check_says("kdregd is killed %u times at any moment, and started again", times);
    for (unsigned i = 0; i < times; i++) {
        /* While somebody enrols, every second time. */
        pid_t child = check_fork();
        if (child == 0) {
            for (unsigned j = 0; i % 2 && j < 20; j++) {
                static struct wire_received received;
                int connection = wire_enrol(ENTRIES, &received);
                wire_close(&received);
                if (connection >= 0)
                    close(connection);
            }
            _exit(0);
        }
        struct timespec pause = {0, (long)(i * 7919 % 60000) * 1000};
        nanosleep(&pause, NULL);
        command("kill");
        go_on(plan, 10);
        command("start");
        CHECK(check_child_succeeded(child), "somebody who enrols meanwhile hangs");
    }
    CHECK(is_served(), "nobody new is served");
    look(plan, "after all", GOES_ON, changes);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"changes", required_argument, NULL, 'c'}, {"kills", required_argument, NULL, 'k'}, {NULL, 0, NULL, 0}};
    unsigned long changes = 200;
    unsigned times = 4;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'c': changes = strtoul(optarg, NULL, 10); break;
        case 'k': times = (unsigned)atoi(optarg); break;
        default: return 2;
        }
    if (optind + 1 != argc || changes == 0)
        return 2;
    script = argv[optind];
    /* For each of what happens. */
    unsigned limit = 1200 + (unsigned)(changes / 2);
    check_watchdog(limit);
    atomic_bool *stopped;
    struct plan plan = {.threads = 2, .cpu = -1};
    plan.counts = counts_make(&stopped);
    plan.stop = stopped;
    pid_t workers[WORKERS];
    command("start");
    start(&plan, workers);
    bool alive = true;
    for (size_t i = 0; i < sizeof upheavals / sizeof *upheavals; i++) {
        check_says("%s", upheavals[i].what);
        check_watchdog(limit);
        command(upheavals[i].commands);
        bool served = is_served();
        CHECK(!upheavals[i].serves || served, "%s: nobody new is served", upheavals[i].what);
        /* What has ended stays so, whatever comes. */
        enum then then = alive ? upheavals[i].then : ENDED;
        alive = look(&plan, upheavals[i].what, then, changes);
        if (!alive && served) {
            stop(&plan, workers);
            start(&plan, workers);
            alive = look(&plan, "for those who begin now", GOES_ON, changes);
        }
        if (i == 3) {
            check_watchdog(limit + 300 * times);
            kills(&plan, times, changes);
        }
    }
    stop(&plan, workers);
    /* What they had mapped is gone with them. */
    command("left");
    CHECK_IS(atomic_load(&plan.counts->failed), 0);
    return check_result("upheavals");
}
