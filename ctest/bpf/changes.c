/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* changes [--changes N] [--processes N] [--threads N] [--hostile] [--any]
 * Processes change memory that they watch until so many changes were made, all together; none may be undetected when its call has returned.
 *
 * --hostile: all on one processor, of which real-time processes take the others off at any instruction, as do their own changes, and
 *            something loops in bpf(2). On a kernel that can be preempted a program that is skipped while another task is inside it shows
 *            here, unless the guard notices.
 * --any:     it does not matter whether anything was certain before it was changed (a backend that is known to have ended). */
#include <getopt.h>

#include "../check.h"
#include "worker.h"

enum { SECONDS = 1500, HOSTILE = 3 };

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    REQUIRE(*text && !*end && value, "'%s' is no number", text);
    return value;
}

int main(int argc, char **argv)
{
    unsigned long wanted = 20000;
    unsigned processes = 2, threads = 2, started = 0;
    bool hostile = false, any = false;
    static const struct option options[] = {{"changes", required_argument, NULL, 'c'}, {"processes", required_argument, NULL, 'p'},
                                            {"threads", required_argument, NULL, 't'}, {"hostile", no_argument, NULL, 'h'},
                                            {"any", no_argument, NULL, 'a'},           {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'c': wanted = number(optarg); break;
        case 'p': processes = (unsigned)number(optarg); break;
        case 't': threads = (unsigned)number(optarg); break;
        case 'h': hostile = true; break;
        case 'a': any = true; break;
        default: return 2;
        }
    /* Only a hang reaches it: it grows with what is to be done. */
    check_watchdog(SECONDS + (unsigned)(wanted / 20));
    /* The backend has to work before anything is started that relies on it. */
    kdreg_t *monitor = check_open(0);
    printf("backend %s\n", kdreg_backend_name(monitor));
    CHECK_IS(kdreg_close(monitor), 0);
    struct plan plan = {.threads = threads, .cpu = hostile ? 0 : -1};
    atomic_bool *stop;
    struct counts *counts = counts_make(&stop);
    plan.counts = counts;
    plan.stop = stop;
    pid_t ids[processes + HOSTILE + 1];
    for (; started < processes; started++) {
        plan.seed = started * 1000 + 1;
        ids[started] = worker_start(&plan);
    }
    unsigned workers = started;
    if (hostile) {
        struct plan rude = plan;
        rude.threads = 1;
        for (int i = 0; i < HOSTILE; i++, workers++) {
            rude.priority = 10 + i;
            rude.pause = 1000u << i;
            rude.seed = 777000 + (uint64_t)i;
            ids[started++] = worker_start(&rude);
        }
        ids[started++] = looper_start(&plan);
    }
    check_says("%lu changes by %u processes%s: each is known when its call returns", wanted, workers, hostile ? " that take one processor from each other" : "");
    unsigned long next = wanted / 10;
    while (atomic_load(&counts->changes) < wanted && !atomic_load(&counts->undetected)) {
        int status;
        pid_t gone = waitpid(-1, &status, WNOHANG);
        REQUIRE(gone <= 0, "process %d ended by itself, with status %#x", (int)gone, (unsigned)status);
        check_sleep_ms(20);
        if (atomic_load(&counts->changes) >= next) {
            counts_say("  so far", counts, NULL);
            next += wanted / 10 + 1;
        }
    }
    atomic_store(stop, true);
    for (unsigned i = 0; i < started; i++)
        CHECK(check_child_succeeded(ids[i]), "process %d failed", (int)ids[i]);
    counts_say("in all", counts, NULL);
    CHECK_IS(atomic_load(&counts->undetected), 0);
    CHECK_IS(atomic_load(&counts->failed), 0);
    CHECK(any || atomic_load(&counts->certain) > 0, "nothing was certain ever");
    return check_result("changes");
}
