/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg_harmless [--table | --check FILE | --costs] [--only TEXT] [--kind NAME] [--state NAME] [--rounds N] [--tries N]
 * Makes every call on every kind of memory in a process of its own, without libkdreg and with it in each state of a cache, and compares what
 * the call returned, what the memory holds, its protection, mappings and huge pages. --table prints the tables as Markdown; --check compares
 * results with tables printed before; --costs prints what costs more with the library, in larger programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harmless.h"

static struct results results;
static const char *only, *only_kind, *only_state;
static int rounds = 1;
static bool brief;   /* two states only: KDREG_TEST_SLOWNESS in the environment, as where a kernel that checks itself is emulated */

static void gather(void)
{
    for (const struct call *const *table = call_tables; *table; table++)
        for (const struct call *call = *table; call->name; call++)
            if ((!only || strstr(call->name, only)) && results.call_count < MAX_CALLS)
                results.calls[results.call_count++] = call;
    results.seen = calloc((size_t)results.call_count * (size_t)kind_count * STATES, sizeof *results.seen);
}

/* In a process of its own: cells are to fork from one that has never had the library open. */
static const char *backend_here(void)
{
    static char name[32];
    int pipes[2];
    if (pipe(pipes))
        return "none";
    pid_t child = fork();
    if (child == 0) {
        kdreg_t *monitor = NULL;
        if (kdreg_open(NULL, &monitor) == 0)
            (void)!write(pipes[1], kdreg_backend_name(monitor), strlen(kdreg_backend_name(monitor)));
        _exit(0);
    }
    close(pipes[1]);
    (void)!read(pipes[0], name, sizeof name - 1);
    close(pipes[0]);
    return name;
}

/* Further rounds are for the times alone: the shortest counts. */
static void run_again(int call, int kind, enum state state)
{
    struct seen again, *seen = seen_at(&results, call, kind, state);
    for (int round = 1; round < rounds; round++) {
        cell_run(&kinds[kind], results.calls[call], state, &again, NULL, 0);
        if (again.outcome == MADE && again.seconds < seen->seconds)
            seen->seconds = again.seconds;
    }
}

static void run_row(int call, int kind)
{
    const struct call *row = results.calls[call];
    for (enum state state = WITHOUT; state <= WITHOUT_DISCARD; state++) {
        struct seen *seen = seen_at(&results, call, kind, state);
        cell_run(&kinds[kind], row, state, seen, NULL, 0);
        if (seen->outcome == NOT_HERE && strncmp(seen->why, "memory", 6) == 0) {
            snprintf(results.kind_why[kind], sizeof results.kind_why[kind], "%.90s", seen->why);
            return;
        }
        if (seen->outcome == NOT_HERE)
            return;
        if (seen->outcome == FAILED) {
            results.failed++;
            fprintf(stderr, "FAILED: %s | %s | %s: %s\n", row->name, kinds[kind].name, state_names[state], seen->why);
            return;
        }
        run_again(call, kind, state);
    }
    for (enum state state = PART; state < STATES; state++) {
        if (only_state ? strcmp(only_state, state_names[state]) != 0 : brief && state != PART && state != FLUSHED)
            continue;
        judge_cell(&results, call, kind, state);
        if (results.kind_why[kind][0])
            return;
        run_again(call, kind, state);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: kdreg_harmless [--table | --check FILE | --costs] [--only TEXT] [--kind NAME] [--state NAME] [--rounds N] [--tries N]\n");
    return 2;
}

int main(int argc, char **argv)
{
    bool table = false, costs = false;
    const char *check = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--table") == 0)
            table = true;
        else if (strcmp(argv[i], "--costs") == 0)
            costs = true;
        else if (strcmp(argv[i], "--check") == 0 && i + 1 < argc)
            check = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--kind") == 0 && i + 1 < argc)
            only_kind = argv[++i];
        else if (strcmp(argv[i], "--state") == 0 && i + 1 < argc)
            only_state = argv[++i];
        else if (strcmp(argv[i], "--tries") == 0 && i + 1 < argc)
            tries = atoi(argv[++i]);
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = atoi(argv[++i]);
        else
            return usage();
    }
    results.backend = backend_here();
    brief = getenv("KDREG_TEST_SLOWNESS") && atoi(getenv("KDREG_TEST_SLOWNESS")) > 1;
    if (costs) {
        costs_print();
        return 0;
    }
    gather();
    if (!results.seen || !results.call_count)
        return usage();
    kinds_prepare();
    for (int kind = 0; kind < kind_count; kind++) {
        if (only_kind && strcmp(only_kind, kinds[kind].name) != 0) {
            snprintf(results.kind_why[kind], sizeof results.kind_why[kind], "not asked for");
            continue;
        }
        for (int call = 0; call < results.call_count && !results.kind_why[kind][0]; call++)
            if (results.calls[call]->kinds & kinds[kind].bit)
                run_row(call, kind);
    }
    kinds_release();
    if (!only && !only_state && !brief)
        judge_vanished(&results);
    if (table)
        table_print(&results);
    unsigned different = check && strcmp(results.backend, "userfaultfd") == 0 ? table_compare(&results, check) : 0;
    for (int kind = 0; kind < kind_count; kind++)
        if (results.kind_why[kind][0])
            fprintf(stderr, "left out: %s (%s)\n", kinds[kind].name, results.kind_why[kind]);
    fprintf(stderr, "backend %s: %u cells, %u differences without a name, %u named that do not occur, %u failed; %u differ from the table\n",
            results.backend, results.cells, results.unnamed, results.vanished, results.failed, different);
    return results.unnamed || results.vanished || results.failed || different;
}
