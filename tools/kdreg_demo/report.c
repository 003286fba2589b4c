/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRESS_SECONDS 1.5

static uint64_t corrupted(const struct tally *tally)
{
    return tally->corrupted_writes + tally->corrupted_reads;
}

int report_open(struct report *report, const char *csv)
{
    memset(report, 0, sizeof(*report));
    if (!csv)
        return 0;
    report->csv = fopen(csv, "we");
    if (!report->csv)
        return -errno;
    fprintf(report->csv, "round,scene,strategy,transfers,bytes,registrations,lookups,hits,invalidations,evictions,"
                         "transfers_at_reused_addresses,corrupted_writes,corrupted_reads,"
                         "registering_seconds,seconds,processor_seconds\n");
    return 0;
}

void report_backends(kdreg_t *monitor)
{
    const char *used = kdreg_backend_name(monitor);

    printf("libkdreg %s watches memory with:\n", kdreg_version_string());
    for (uint32_t backend = KDREG_BACKEND_KERNEL; backend <= KDREG_BACKEND_NONE; backend++) {
        struct kdreg_backend_info info = { .size = sizeof(info) };
        int ret = kdreg_probe(backend, &info);

        if (ret < 0) {
            printf("  backend %u    cannot be asked: %s\n", backend, kdreg_strerror(ret));
            continue;
        }
        if (used && !strcmp(info.name, used))
            printf("  %-12s in use%s%s\n", info.name, info.reason[0] ? ": " : "", info.reason);
        else if (info.error)
            printf("  %-12s refused: %s\n", info.name, info.reason[0] ? info.reason : kdreg_strerror(info.error));
        else
            printf("  %-12s works, not used\n", info.name);
    }
}

void report_plan(const struct plan *plan)
{
    static const char *const meaning[PIN_KINDS] = {
        "registered buffers: the kernel pins the pages and transfers to and from them",
        "a second, locked mapping of the pages stands for the device, and plain reads and writes for transfers",
        "nothing is pinned: a second mapping of the pages stands for the device; this checks validity, not pinning",
    };

    printf("  %-12s in use: %s\n", pin_kind_name(plan->kind), meaning[plan->kind]);
    printf("Up to %zu KiB pinned at once, %zu KiB of it kept by a cache; %zu transfers at a time, of these:\n",
           plan->room >> 10, plan->cache_bytes >> 10, plan->batch);
    printf("  %-14s %zu %s, %zu KiB each\n", scenes[0].name, plan->pool_count, scenes[0].what, plan->pool_size >> 10);
    printf("  %-14s %zu %s, up to %zu KiB each\n", scenes[1].name, plan->large_count, scenes[1].what,
           plan->largest >> 10);
    printf("  %-14s %zu %s, up to %zu bytes each\n", scenes[2].name, plan->small_count, scenes[2].what,
           plan->small_most);
    fflush(stdout);
}

static void add(struct tally *to, const struct tally *from)
{
    to->transfers += from->transfers;
    to->bytes += from->bytes;
    to->registrations += from->registrations;
    to->cache.lookups += from->cache.lookups;
    to->cache.hits += from->cache.hits;
    to->cache.invalidations += from->cache.invalidations;
    to->cache.evictions += from->cache.evictions;
    to->corrupted_writes += from->corrupted_writes;
    to->corrupted_reads += from->corrupted_reads;
    to->reused += from->reused;
    to->frames_compared += from->frames_compared;
    to->frames_wrong += from->frames_wrong;
    to->registering += from->registering;
    to->seconds += from->seconds;
    to->processor += from->processor;
    if (!to->example[0] || (from->telling && !to->telling)) {
        memcpy(to->example, from->example, sizeof(to->example));
        to->telling = from->telling;
    }
}

static bool grow(double **values, unsigned room)
{
    double *grown = realloc(*values, room * sizeof(*grown));

    if (grown)
        *values = grown;
    return grown;
}

static int make_room(struct report *report)
{
    unsigned room = report->ratio_room ? 2 * report->ratio_room : 16;

    if (report->rounds < report->ratio_room)
        return 0;
    for (int scene = 0; scene <= ALL; scene++)
        for (int s = 0; s < STRATEGIES; s++) {
            struct line *line = &report->lines[scene][s];
            if (!grow(&line->elapsed, room) || !grow(&line->processor, room) || !grow(&line->registering, room))
                return -ENOMEM;
        }
    report->ratio_room = room;
    return 0;
}

/* One round's figures of one scene, or of all. */
static void keep(struct report *report, int scene, const struct tally tallies[STRATEGIES])
{
    const struct tally *without = &tallies[STRATEGY_UNCACHED];

    for (int s = 0; s < STRATEGIES; s++) {
        struct line *line = &report->lines[scene][s];
        line->elapsed[report->rounds] = tallies[s].seconds / without->seconds;
        line->processor[report->rounds] = tallies[s].processor / without->processor;
        line->registering[report->rounds] = 1e6 * tallies[s].registering / (double)tallies[s].transfers;
        add(&line->total, &tallies[s]);
    }
}

static void csv_line(const struct report *report, int scene, int s, const struct tally *tally)
{
    fprintf(report->csv, "%u,%s,%s,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%.6f,%.6f,%.6f\n",
            report->rounds, scenes[scene].name, strategies[s]->name, (unsigned long long)tally->transfers,
            (unsigned long long)tally->bytes, (unsigned long long)tally->registrations,
            (unsigned long long)tally->cache.lookups, (unsigned long long)tally->cache.hits,
            (unsigned long long)tally->cache.invalidations, (unsigned long long)tally->cache.evictions,
            (unsigned long long)tally->reused, (unsigned long long)tally->corrupted_writes,
            (unsigned long long)tally->corrupted_reads, tally->registering, tally->seconds, tally->processor);
}

static void progress(struct report *report)
{
    struct timespec time;
    double now;

    clock_gettime(CLOCK_MONOTONIC, &time);
    now = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
    if (now < report->progress_at)
        return;
    report->progress_at = now + PROGRESS_SECONDS;
    fprintf(stderr, "round %u: transfers that moved wrong data so far:", report->rounds);
    for (int s = 0; s < STRATEGIES; s++)
        fprintf(stderr, "%s %s %llu of %llu", s ? "," : "", strategies[s]->name,
                (unsigned long long)corrupted(&report->lines[ALL][s].total),
                (unsigned long long)report->lines[ALL][s].total.transfers);
    fprintf(stderr, "\n");
}

int report_round(struct report *report, struct tally tallies[SCENES][STRATEGIES])
{
    struct tally all[STRATEGIES] = { 0 };
    int ret = make_room(report);

    if (ret < 0)
        return ret;
    for (int scene = 0; scene < SCENES; scene++) {
        keep(report, scene, tallies[scene]);
        for (int s = 0; s < STRATEGIES; s++)
            add(&all[s], &tallies[scene][s]);
    }
    keep(report, ALL, all);
    report->rounds++;
    for (int scene = 0; report->csv && scene < SCENES; scene++)
        for (int s = 0; s < STRATEGIES; s++)
            csv_line(report, scene, s, &tallies[scene][s]);
    progress(report);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print_lines(struct report *report, int scene, const char *name)
{
    for (int s = 0; s < STRATEGIES; s++) {
        struct line *line = &report->lines[scene][s];
        printf("%-14s %-12s %10llu %14llu %10llu %10.1f %6.2f %6.2f\n", s ? "" : name, strategies[s]->name,
               (unsigned long long)line->total.transfers, (unsigned long long)line->total.registrations,
               (unsigned long long)corrupted(&line->total), median(line->registering, report->rounds),
               median(line->processor, report->rounds), median(line->elapsed, report->rounds));
    }
}

/* Is there a line in which the library takes more than no cache? */
static bool takes_more(const struct report *report, double *(*of)(const struct line *line))
{
    for (int scene = 0; scene <= ALL; scene++)
        if (median(of(&report->lines[scene][STRATEGY_KDREG]), report->rounds) > 1.005)
            return true;
    return false;
}

static double *elapsed(const struct line *line)
{
    return line->elapsed;
}

static double *processor(const struct line *line)
{
    return line->processor;
}

static void print_table(struct report *report, kdreg_t *monitor)
{
    const char *backend = kdreg_backend_name(monitor);

    printf("\n%-14s %-12s %10s %14s %10s %10s %6s %6s\n", "", "", "transfers", "registrations", "corrupted",
           "us to get", "cpu", "time");
    for (int scene = 0; scene < SCENES; scene++)
        print_lines(report, scene, scenes[scene].name);
    print_lines(report, ALL, "all of it");
    printf("\nus to get: microseconds that getting and giving back a registration took, per transfer. cpu: processor time of\n"
           "all threads for allocating, registering, transferring (which is copying here) and freeing, and time: how long\n"
           "that took, both relative to no cache. Medians of %u rounds.\n",
           report->rounds);
    if (takes_more(report, processor))
        printf("Where libkdreg's cpu is above 1: registering costs so little there (us to get, no cache) that a cache has less to\n"
               "save than watching the memory takes.\n");
    if (takes_more(report, elapsed) && backend && !strcmp(backend, "userfaultfd"))
        printf("Where libkdreg's time is above 1: unmapping returns when the thread that reads userfaultfd's events has run, and\n"
               "on a busy machine that thread waits for a processor; the kernel module needs none. Closing the cache after each\n"
               "round counts, too.\n");
}

static void print_details(const struct report *report, const struct plan *plan)
{
    const struct tally *naive = &report->lines[ALL][STRATEGY_NAIVE].total;
    const struct tally *ours = &report->lines[ALL][STRATEGY_KDREG].total;

    printf("libkdreg dropped %llu registrations because their memory had changed and %llu to make room.\n",
           (unsigned long long)ours->cache.invalidations, (unsigned long long)ours->cache.evictions);
    if (plan->kind != PIN_NONE)
        printf("All that was pinned has been released: the kernel holds nothing any more.\n");
    if (naive->example[0])
        printf("What went wrong without a monitor, for instance: %s.\n", naive->example);
    if (ours->frames_compared)
        printf("Page frames seen by device and program, compared for each transfer: different in %llu with the "
               "naive cache, in %llu with libkdreg.\n",
               (unsigned long long)naive->frames_wrong, (unsigned long long)ours->frames_wrong);
}

static int verdict(const struct report *report, kdreg_t *monitor)
{
    const struct tally *without = &report->lines[ALL][STRATEGY_UNCACHED].total;
    const struct tally *naive = &report->lines[ALL][STRATEGY_NAIVE].total;
    const struct tally *ours = &report->lines[ALL][STRATEGY_KDREG].total;
    const char *backend = kdreg_backend_name(monitor);

    if (corrupted(without)) {
        printf("FAILED: even without a cache, %llu transfers moved the wrong data (%s). Memory, the file, or this "
               "program is broken.\n",
               (unsigned long long)corrupted(without), without->example);
        return EXIT_CORRUPTED;
    }
    if (corrupted(ours) || ours->frames_wrong) {
        printf("FAILED: with libkdreg %llu transfers moved the wrong data, and %llu used the wrong page frames. "
               "%s\nThis is a bug in libkdreg's %s backend: please report it with this output.\n",
               (unsigned long long)corrupted(ours), (unsigned long long)ours->frames_wrong, ours->example,
               backend ? backend : "(closed)");
        return EXIT_CORRUPTED;
    }
    if (backend && !strcmp(backend, "none"))
        printf("With no backend that can watch memory, libkdreg registers every time: correct, and never faster.\n");
    if (!corrupted(naive)) {
        if (!naive->reused) {
            printf("The naive cache moved no wrong data here, but only because no buffer came back at an address "
                   "transferred before: this shows nothing about it. Ask for more with --transfers.\n");
            return EXIT_FINE;
        }
        printf("NOTHING SHOWN: %llu transfers used memory that came back at an address transferred before, and still "
               "the naive cache moved no wrong data. Either registrations are not really pinned here or the run was too short: "
               "try --transfers, and KDREG_DEMO_PIN for another way of pinning.\n",
               (unsigned long long)naive->reused);
        return EXIT_NOTHING_SHOWN;
    }
    printf("libkdreg moved no wrong data, with %.1f times fewer registrations than without a cache; the naive cache moved\n"
           "the wrong data in %.0f %% of its transfers.\n",
           ours->registrations ? (double)without->registrations / (double)ours->registrations : 0,
           100.0 * (double)corrupted(naive) / (double)naive->transfers);
    return EXIT_FINE;
}

int report_close(struct report *report, const struct plan *plan, kdreg_t *monitor)
{
    int status = EXIT_CANNOT_RUN;

    if (report->rounds) {
        print_table(report, monitor);
        print_details(report, plan);
        status = verdict(report, monitor);
    }
    for (int scene = 0; scene <= ALL; scene++)
        for (int s = 0; s < STRATEGIES; s++) {
            free(report->lines[scene][s].elapsed);
            free(report->lines[scene][s].processor);
            free(report->lines[scene][s].registering);
        }
    if (report->csv && fclose(report->csv) != 0) {
        printf("The figures could not be written to the CSV file: %s\n", strerror(errno));
        if (status == EXIT_FINE)
            status = EXIT_CANNOT_RUN;
    }
    return status;
}
