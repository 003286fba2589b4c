/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The matrix for people: changes by kind of memory, and changes by way of making the call. */
#include <stdio.h>
#include <string.h>

#include "matrix.h"

static const char *const words[OUTCOMES] = {
    [DETECTED] = "yes", [UNCLAIMED] = "no", [UNCLAIMED_SEEN] = "seen", [REFUSED] = "refused", [KEPT] = "kept", [DROPPED] = "dropped", [FAILED] = "FAIL"};

static const char *cell_text(const unsigned short counts[OUTCOMES], char *text, size_t size)
{
    if (counts[FAILED])
        return "FAIL";
    text[0] = 0;
    for (int outcome = DETECTED; outcome < OUTCOMES; outcome++) {
        if (!counts[outcome])
            continue;
        if (text[0])
            strncat(text, "/", size - strlen(text) - 1);
        strncat(text, words[outcome], size - strlen(text) - 1);
    }
    return text[0] ? text : "-";
}

static bool column_used(const struct tally *tally, bool by_way, int column)
{
    for (int change = 0; change < change_count; change++) {
        const unsigned short *counts = by_way ? tally->by_way[change][column] : tally->by_kind[change][column];
        for (int outcome = DETECTED; outcome < OUTCOMES; outcome++)
            if (counts[outcome])
                return true;
    }
    return false;
}

static void print_grid(const struct tally *tally, bool by_way, bool markdown)
{
    int columns = by_way ? way_count : kind_count;
    const char *bar = markdown ? "|" : " ";
    printf("%s%s%-38s", markdown ? "| " : "", "", "change");
    for (int column = 0; column < columns; column++)
        if (column_used(tally, by_way, column))
            printf(" %s %-9s", bar, by_way ? ways[column].name : kinds[column].name);
    printf("%s\n", markdown ? " |" : "");
    if (markdown) {
        printf("|---");
        for (int column = 0; column < columns; column++)
            if (column_used(tally, by_way, column))
                printf("|---");
        printf("|\n");
    }
    for (int change = 0; change < change_count; change++) {
        printf("%s%-38s", markdown ? "| " : "", changes[change].name);
        for (int column = 0; column < columns; column++) {
            if (!column_used(tally, by_way, column))
                continue;
            char text[64];
            const char *name = by_way ? ways[column].name : kinds[column].name;
            int width = (int)strlen(name) > 9 ? (int)strlen(name) : 9;
            const unsigned short *counts = by_way ? tally->by_way[change][column] : tally->by_kind[change][column];
            printf(" %s %-*s", bar, width, cell_text(counts, text, sizeof text));
        }
        printf("%s\n", markdown ? " |" : "");
    }
    printf("\n");
}

void table_print(const struct tally *tally, const char *backend, uint64_t caps, bool markdown)
{
    printf("\n%sbackend %s, capabilities %#llx\n\n", markdown ? "### " : "== ", backend, (unsigned long long)caps);
    printf("By kind of memory:\n\n");
    print_grid(tally, false, markdown);
    printf("By way of making the call:\n\n");
    print_grid(tally, true, markdown);
    printf("%syes: every affected registration was invalid when the call returned. no: not claimed by kdreg_caps. seen: not claimed, seen all the same.\n"
           "refused: the monitor refuses this memory, so nothing over it is cached. kept / dropped: a harmless call, nothing / something was invalidated.\n"
           "-: the kernel has no such call on this memory.\n\n",
           markdown ? "" : "");
    for (int kind = 0; kind < kind_count; kind++)
        if (tally->kind_error[kind])
            printf("not tested: %s (%s)\n", kinds[kind].name, kdreg_strerror(tally->kind_error[kind]));
    printf("%u detected, %u not claimed, %u not claimed but seen, %u refused, %u harmless kept, %u harmless dropped, %u FAILED\n", tally->total[DETECTED],
           tally->total[UNCLAIMED], tally->total[UNCLAIMED_SEEN], tally->total[REFUSED], tally->total[KEPT], tally->total[DROPPED], tally->total[FAILED]);
}
