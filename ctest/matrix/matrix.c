/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* matrix [--markdown] [--verbose] [--only TEXT] [--every N] [BACKEND]
 * Every change to a mapping x kind of memory x way to make the call: each is detected before the call returns, or not claimed by the
 * backend, or the memory was refused in the first place. Anything else is a failure. Without BACKEND (or KDREG_BACKEND), all that work here.
 * --every N runs one cell in N, the same ones each time, spread over changes, kinds and ways. Where time is short, as under an emulated kernel
 * that checks itself; KDREG_TEST_SLOWNESS=N in the environment asks for the same. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "matrix.h"

enum { SKIPPED = 77, MAX_REPORTED = 40 };

static bool markdown, verbose;
static const char *only;
static unsigned every = 1;
static struct tally tally;
static bool blind;   /* the backend watches nothing: who makes the call, and over which part, is all the same */

static void record(int change, int kind, int way, const struct extent *extent, const struct verdict *verdict)
{
    tally.by_kind[change][kind][verdict->outcome]++;
    tally.by_way[change][way][verdict->outcome]++;
    tally.total[verdict->outcome]++;
    bool failed = verdict->outcome == FAILED;
    if ((failed && tally.total[FAILED] <= MAX_REPORTED) || verbose)
        fprintf(stderr, "%s: %s | %s | %s | %s%s%s%s%s\n", failed ? "FAILED" : "cell", changes[change].name, kinds[kind].name, ways[way].name, extent->name,
                failed ? ": " : "", failed ? verdict->why : "", verdict->outcome == NOT_APPLICABLE ? ": not applicable: " : "",
                verdict->outcome == NOT_APPLICABLE ? kdreg_strerror(verdict->error) : "");
}

/* One in `every`, scattered, so that no change, kind or way is left out in step with another. Changes that choose their own part are few, and
 * some suit one kind only: each of these is made once on each. */
static bool chosen_cell(int change, int kind, int way, int extent)
{
    if (changes[change].flags & (WHOLE_ONLY | LIBC_ONLY) && way == 0 && extent == 0)
        return true;
    uint32_t number = (((uint32_t)change * MAX_KINDS + (uint32_t)kind) * MAX_WAYS + (uint32_t)way) * (uint32_t)extent_count + (uint32_t)extent;
    number = (number ^ number >> 15) * 0x85ebca6bu;
    number = (number ^ number >> 13) * 0xc2b2ae35u;
    return (number ^ number >> 16) % every == 0;
}

static void run_kind(uint32_t backend, int change_at, int kind)
{
    const struct change *change = &changes[change_at];
    for (int way = 0; way < way_count; way++) {
        if (((change->flags & LIBC_ONLY || blind) && way > 0) || !ways[way].available())
            continue;
        for (int extent = 0; extent < extent_count; extent++) {
            if (extent > 0 && (change->flags & WHOLE_ONLY || way > 1 || blind))
                break;
            if (!chosen_cell(change_at, kind, way, extent))
                continue;
            struct verdict verdict;
            cell_run(backend, &kinds[kind], change, &ways[way], &extents[extent], &verdict);
            record(change_at, kind, way, &extents[extent], &verdict);
            if (verdict.outcome != NOT_APPLICABLE)
                continue;
            if (strcmp(verdict.why, "memory") == 0) {
                tally.kind_error[kind] = verdict.error;
                return;
            }
            if (way == 0 && extent == 0 && verdict.error != -ENOSYS)
                return;   /* the kernel has no such change for this memory, whoever asks */
            if (extent == 0)
                break;    /* this way cannot make this call */
        }
    }
}

static unsigned run_backend(uint32_t backend)
{
    struct kdreg_attr attr = {.size = sizeof attr, .backend = backend};
    kdreg_t *monitor = NULL;
    int error = kdreg_open(&attr, &monitor);
    if (error) {
        fprintf(stderr, "FAILED: kdreg_probe offers backend %u, kdreg_open: %s\n", backend, kdreg_strerror(error));
        return 1;
    }
    char name[32];
    snprintf(name, sizeof name, "%s", kdreg_backend_name(monitor));
    uint64_t caps = kdreg_caps(monitor);
    blind = caps == 0;
    kdreg_close(monitor);   /* the cells fork: none of them inherits a monitor */

    memset(&tally, 0, sizeof tally);
    for (int change = 0; change < change_count; change++) {
        if (only && !strstr(changes[change].name, only))
            continue;
        if (!markdown) {
            printf("\r%s: %d of %d: %-40s", name, change + 1, change_count, changes[change].name);
            fflush(stdout);
        }
        for (int kind = 0; kind < kind_count; kind++)
            if (!tally.kind_error[kind])
                run_kind(backend, change, kind);
    }
    table_print(&tally, name, caps, markdown);
    if (every > 1)
        printf("one cell in %u was run\n", every);
    if (!only && tally.total[DETECTED] + tally.total[REFUSED] == 0) {
        fprintf(stderr, "FAILED: not one cell of backend %s came to a result\n", name);
        return 1;
    }
    return tally.total[FAILED];
}

/* Strongest first. */
static const struct {
    const char *name;
    uint32_t number;
} backends[] = {{"kernel", KDREG_BACKEND_KERNEL}, {"bpf", KDREG_BACKEND_BPF}, {"userfaultfd", KDREG_BACKEND_USERFAULTFD}, {"none", KDREG_BACKEND_NONE}};
enum { BACKENDS = sizeof backends / sizeof *backends };

static uint32_t backend_by_name(const char *name)
{
    for (int i = 0; i < BACKENDS; i++)
        if (strcmp(name, backends[i].name) == 0)
            return backends[i].number;
    return KDREG_BACKEND_ANY;
}

int main(int argc, char **argv)
{
    const char *wanted = getenv("KDREG_BACKEND"), *slowness = getenv("KDREG_TEST_SLOWNESS");
    if (slowness)
        every = (unsigned)strtoul(slowness, NULL, 10);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--markdown") == 0)
            markdown = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--every") == 0 && i + 1 < argc)
            every = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            wanted = argv[i];
    }
    if (every == 0) {
        fprintf(stderr, "matrix: --every and KDREG_TEST_SLOWNESS take a number from 1 up\n");
        return 2;
    }
    uint32_t chosen = wanted ? backend_by_name(wanted) : KDREG_BACKEND_ANY;
    if (wanted && chosen == KDREG_BACKEND_ANY && strcmp(wanted, "auto") != 0) {
        fprintf(stderr, "matrix: unknown backend \"%s\": use kernel, bpf, userfaultfd or none\n", wanted);
        return 2;
    }
    if (wanted)
        unsetenv("KDREG_BACKEND");   /* it would override what is asked for here */
    kinds_prepare();
    unsigned failures = 0, run = 0;
    for (int i = 0; i < BACKENDS; i++) {
        uint32_t backend = backends[i].number;
        if (chosen != KDREG_BACKEND_ANY && backend != chosen)
            continue;
        struct kdreg_backend_info info = {.size = sizeof info};
        int error = kdreg_probe(backend, &info);
        if (error || info.error) {
            printf("backend %s does not work here: %s\n", info.name, info.reason);
            continue;
        }
        failures += run_backend(backend);
        run++;
    }
    kinds_release();
    if (!run) {
        printf("skipped: no such backend works here\n");
        return SKIPPED;
    }
    return failures ? 1 : 0;
}
