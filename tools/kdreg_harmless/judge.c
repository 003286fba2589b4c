/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is different with the library, and whether that has a name. */
#include <stdio.h>
#include <string.h>

#include "harmless.h"

enum { PATIENCE = 2000, IMPATIENCE = 80, MAX_EXCEPTIONS = 64, MAX_REPORTED = 4000 };
int tries = 5;
static unsigned char met[MAX_EXCEPTIONS][16][STATES];

bool differs(const struct call *call, enum aspect aspect, const struct seen *with, const struct seen *without)
{
    long mine = with->value[aspect], theirs = without->value[aspect];
    /* Faults: only where the call is made of them, and not for a few, which a kernel that moves pages causes by itself. */
    if (aspect == FAULTS)
        return call->flags & FAULTS_COUNT && mine > theirs + theirs / 2 + 16;
    return mine != theirs;
}

static bool judged_by_name(const struct results *results)
{
    return strcmp(results->backend, "userfaultfd") == 0;
}

/* A call that was refused has done nothing, by another name: whatever else differs follows from that. */
static bool refused_by_name(const struct results *results, const struct call *call, unsigned kind, enum state state, const struct seen *with,
                            const struct seen *without)
{
    return judged_by_name(results) && differs(call, RESULT, with, without) && exception_for(call, kind, state, RESULT, with->value[RESULT]) >= 0;
}

static bool unnamed(const struct results *results, const struct call *call, unsigned kind, enum state state, enum aspect aspect, const struct seen *with,
                    const struct seen *without)
{
    return differs(call, aspect, with, without) && !refused_by_name(results, call, kind, state, with, without) &&
           !(judged_by_name(results) && exception_for(call, kind, state, aspect, with->value[aspect]) >= 0);
}

static bool any_unnamed(const struct results *results, const struct call *call, unsigned kind, enum state state, const struct seen *with,
                        const struct seen *without)
{
    for (enum aspect aspect = 0; aspect < ASPECTS; aspect++)
        if (unnamed(results, call, kind, state, aspect, with, without))
            return true;
    return false;
}

/* It is so on this kernel, or on this machine, with the library and without. */
static bool is_so_anyway(const struct exception *exception, const struct seen *without)
{
    return exception->aspect == RESULT && without->value[RESULT] == exception->result;
}

/* A listed difference that did not show this time. */
static bool any_missing(const struct results *results, const struct call *call, unsigned kind, enum state state, const struct seen *with,
                        const struct seen *without)
{
    for (int i = 0; judged_by_name(results) && i < exception_count; i++) {
        const struct exception *exception = &exceptions[i];
        if (strcmp(exception->call, call->name) == 0 && exception->kinds & kind && exception->states >> state & 1 &&
            !is_so_anyway(exception, without) && !differs(call, exception->aspect, with, without))
            return true;
    }
    return false;
}

static void report(struct results *results, const struct call *call, const char *kind, enum state state, enum aspect aspect, const struct seen *with,
                   const struct seen *without)
{
    char mine[32], theirs[32];
    if (++results->unnamed > MAX_REPORTED)
        return;
    if (aspect == RESULT)
        fprintf(stderr, "DIFFERS: %s | %s | %s: %s, without the library %s\n", call->name, kind, state_names[state],
                result_text(call, with->value[RESULT], mine), result_text(call, without->value[RESULT], theirs));
    else if (aspect == CONTENTS || aspect == PROTECTION)
        fprintf(stderr, "DIFFERS: %s | %s | %s: %s\n", call->name, kind, state_names[state], aspect_names[aspect]);
    else
        fprintf(stderr, "DIFFERS: %s | %s | %s: %s: %ld, without the library %ld\n", call->name, kind, state_names[state], aspect_names[aspect],
                with->value[aspect], without->value[aspect]);
}

/* The kernel is not the same twice: it moves pages, lacks a huge page for a moment. What the library does shows every time, so a difference
 * counts when it is there in each of some tries. */
void judge_cell(struct results *results, int call_at, int kind, enum state state)
{
    const struct call *call = results->calls[call_at];
    enum state reference = reference_of(state);
    struct seen *with = seen_at(results, call_at, kind, state), *without = seen_at(results, call_at, kind, reference);
    unsigned bit = kinds[kind].bit;
    for (int try = 0; try < tries; try++) {
        if (try > 0)
            cell_run(&kinds[kind], call, reference, without, NULL, 0);
        cell_run(&kinds[kind], call, state, with, without, try > 0 ? PATIENCE : IMPATIENCE);
        if (with->outcome == NOT_HERE && strncmp(with->why, "memory", 6) == 0) {
            /* Somebody else has taken the huge pages meanwhile. */
            snprintf(results->kind_why[kind], sizeof results->kind_why[kind], "%.90s", with->why);
            return;
        }
        if (with->outcome == FAILED || without->outcome != MADE || with->outcome != MADE)
            break;
        if (!any_unnamed(results, call, bit, state, with, without) && !any_missing(results, call, bit, state, with, without))
            break;
    }
    results->cells++;
    if (with->outcome != MADE || without->outcome != MADE) {
        results->failed++;
        fprintf(stderr, "FAILED: %s | %s | %s: %s\n", call->name, kinds[kind].name, state_names[state],
                without->outcome != MADE ? without->why : with->why);
        return;
    }
    for (enum aspect aspect = 0; aspect < ASPECTS; aspect++) {
        if (!differs(call, aspect, with, without))
            continue;
        if (aspect != RESULT && refused_by_name(results, call, bit, state, with, without))
            continue;
        int named = judged_by_name(results) ? exception_for(call, bit, state, aspect, with->value[aspect]) : -1;
        if (named < 0)
            report(results, call, kinds[kind].name, state, aspect, with, without);
        else
            met[named][kind][state] = 1;
    }
}

/* Exceptions that are none any more. To be called when all calls were made. */
void judge_vanished(struct results *results)
{
    if (!judged_by_name(results))
        return;
    for (int i = 0; i < exception_count; i++)
        for (int kind = 0; kind < kind_count; kind++)
            for (int state = PART; state < STATES; state++) {
                const struct exception *exception = &exceptions[i];
                if (!(exception->kinds & kinds[kind].bit) || !(exception->states >> state & 1) || results->kind_why[kind][0] || met[i][kind][state])
                    continue;
                const struct seen *without = NULL;
                for (int call = 0; call < results->call_count; call++)
                    if (strcmp(results->calls[call]->name, exception->call) == 0)
                        without = seen_at(results, call, kind, reference_of(state));
                if (!without || without->outcome != MADE || is_so_anyway(exception, without))
                    continue;
                results->vanished++;
                fprintf(stderr, "VANISHED: %s | %s | %s: %s is as without the library, and exceptions.c says otherwise\n", exception->call,
                        kinds[kind].name, state_names[state], aspect_names[exception->aspect]);
            }
}
