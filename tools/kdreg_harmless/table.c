/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The table in Markdown: what each call returns, and what it costs with the library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "harmless.h"

static void append(char *text, size_t size, const char *more)
{
    strncat(text, more, size - strlen(text) - 1);
}

void result_cell(const struct results *results, int call, int kind, char *text, size_t size)
{
    char value[32], mark[64];
    unsigned marked = 0;
    const struct call *row = results->calls[call];
    snprintf(text, size, "%s", result_text(row, seen_at(results, call, kind, WITHOUT)->value[RESULT], value));
    for (int i = 0; i < exception_count; i++) {
        const struct exception *exception = &exceptions[i];
        if (strcmp(exception->call, row->name) != 0 || !(exception->kinds & kinds[kind].bit) || marked >> exception->reason & 1)
            continue;
        marked |= 1u << exception->reason;
        if (exception->aspect == RESULT)
            snprintf(mark, sizeof mark, "; %s [%d]", result_text(row, exception->result, value), exception->reason + 1);
        else
            snprintf(mark, sizeof mark, " [%d]", exception->reason + 1);
        append(text, size, mark);
    }
}

static void print_time(double seconds)
{
    double micro = seconds * 1e6;
    printf(micro < 10 ? " %.1f |" : " %.0f |", micro);
}

static void print_ratio(const struct results *results, int call, int kind, enum state state)
{
    const struct seen *with = seen_at(results, call, kind, state), *without = seen_at(results, call, kind, reference_of(state));
    double ratio = without->seconds > 0 ? with->seconds / without->seconds : 0;
    printf(ratio < 10 ? " %.1f |" : " %.0f |", ratio);
}

/* Without the library, and how many with it where that differs. */
static void print_count(const struct results *results, int call, int kind, enum aspect aspect)
{
    long without = seen_at(results, call, kind, WITHOUT)->value[aspect], most = without;
    for (int state = PART; state < STATES; state++) {
        long with = seen_at(results, call, kind, state)->value[aspect];
        if (reference_of(state) == WITHOUT && with > without && with > most)
            most = with;
        if (reference_of(state) == WITHOUT && with < without && most == without)
            most = with;
    }
    if (most == without)
        printf(" %ld |", without);
    else
        printf(" %ld, with %ld |", without, most);
}

static void print_row(const struct results *results, int call, int kind)
{
    char text[256];
    result_cell(results, call, kind, text, sizeof text);
    printf("| %s | %s |", results->calls[call]->name, text);
    print_time(seen_at(results, call, kind, WITHOUT)->seconds);
    print_ratio(results, call, kind, PART);
    print_ratio(results, call, kind, WHOLE);
    print_ratio(results, call, kind, REAPED);
    print_ratio(results, call, kind, FLUSHED);
    print_count(results, call, kind, FAULTS);
    print_count(results, call, kind, HUGE_PAGES);
    print_count(results, call, kind, MAPPINGS);
    printf("\n");
}

static void print_exceptions(void)
{
    if (exception_count == 0) {
        printf("There is no exception.\n\n");
        return;
    }
    printf("The exceptions:\n\n");
    for (int reason = 0; reason < reason_count; reason++) {
        printf("%d. %s\n", reason + 1, reasons[reason]);
        for (int i = 0; i < exception_count; i++) {
            const struct exception *exception = &exceptions[i];
            if (exception->reason != reason)
                continue;
            printf("   * %s, on", exception->call);
            for (int kind = 0, first = 1; kind < kind_count; kind++)
                if (exception->kinds & kinds[kind].bit)
                    printf("%s %s", first ? "" : ",", kinds[kind].name), first = 0;
            printf("; ");
            for (int state = PART, first = 1; state < STATES; state++)
                if (exception->states >> state & 1)
                    printf("%s%s", first ? "" : ", ", state_names[state]), first = 0;
            printf(": %s\n", aspect_names[exception->aspect]);
        }
    }
    printf("\n");
}

void table_print(const struct results *results)
{
    struct utsname system;
    uname(&system);
    printf("Linux %s, backend %s: %u cells, %u differences without a name.\n\n", system.release, results->backend, results->cells, results->unnamed);
    if (strcmp(results->backend, "userfaultfd") == 0)
        print_exceptions();
    for (int kind = 0; kind < kind_count; kind++) {
        printf("### %s\n\n", kinds[kind].name);
        if (results->kind_why[kind][0]) {
            printf("Not to be had here (%s).\n\n", results->kind_why[kind]);
            continue;
        }
        printf("| call | result | µs | part cached, × | all cached, × | reaped, × | flushed, × | faults | kB in huge pages | mappings |\n"
               "|---|---|---|---|---|---|---|---|---|---|\n");
        for (int call = 0; call < results->call_count; call++)
            if (seen_at(results, call, kind, WITHOUT)->outcome == MADE)
                print_row(results, call, kind);
        printf("\n");
    }
}

/* "| name | result | ..." into its first two cells. */
static bool split_row(char *line, char **name, char **result)
{
    if (strncmp(line, "| ", 2) != 0)
        return false;
    *name = line + 2;
    char *bar = strstr(*name, " | ");
    if (!bar)
        return false;
    *bar = 0;
    *result = bar + 3;
    bar = strstr(*result, " |");
    if (bar)
        *bar = 0;
    return bar != NULL;
}

static int kind_named(char *heading)
{
    heading[strcspn(heading, "\n")] = 0;
    for (int kind = 0; kind < kind_count; kind++)
        if (strcmp(heading, kinds[kind].name) == 0)
            return kind;
    return -1;
}

/* "Linux 6.18.1, backend ..." names the kernel that printed the table: another may return something else, library or not. */
static bool same_kernel(const char *line)
{
    struct utsname system;
    unsigned theirs[2], ours[2];
    return uname(&system) == 0 && sscanf(line, "Linux %u.%u", &theirs[0], &theirs[1]) == 2 && sscanf(system.release, "%u.%u", &ours[0], &ours[1]) == 2 &&
           theirs[0] == ours[0] && theirs[1] == ours[1];
}

unsigned table_compare(const struct results *results, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "FAILED: %s: %s\n", path, strerror(errno));
        return 1;
    }
    bool (*found)[16] = calloc((size_t)results->call_count, sizeof *found);
    unsigned different = 0;
    bool comparable = false;
    int kind = -1;
    char *line = NULL, *name, *result;
    size_t size = 0;
    while (found && getline(&line, &size, file) > 0) {
        comparable |= same_kernel(line);
        if (strncmp(line, "### ", 4) == 0)
            kind = kind_named(line + 4);
        if (kind < 0 || results->kind_why[kind][0] || !split_row(line, &name, &result))
            continue;
        for (int call = 0; call < results->call_count; call++) {
            char text[256];
            if (strcmp(results->calls[call]->name, name) != 0 || seen_at(results, call, kind, WITHOUT)->outcome != MADE)
                continue;
            found[call][kind] = true;
            result_cell(results, call, kind, text, sizeof text);
            if (strcmp(text, result) != 0) {
                different++;
                fprintf(stderr, "TABLE: %s | %s: %s, in %s it is %s\n", name, kinds[kind].name, text, path, result);
            }
        }
    }
    for (int call = 0; call < results->call_count; call++)
        for (kind = 0; kind < kind_count; kind++)
            if (found && seen_at(results, call, kind, WITHOUT)->outcome == MADE && !found[call][kind] && !(results->calls[call]->flags & PROCESSOR)) {
                different++;
                fprintf(stderr, "TABLE: %s | %s is not in %s\n", results->calls[call]->name, kinds[kind].name, path);
            }
    free(line);
    free(found);
    fclose(file);
    if (comparable || !different)
        return different;
    fprintf(stderr, "note: %s was printed on another kernel, whose %u differences are its own\n", path, different);
    return 0;
}
