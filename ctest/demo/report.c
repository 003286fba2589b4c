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

static double hit_rate(const struct tally *tally)
{
    return tally->cache.lookups ? (double)tally->cache.hits / (double)tally->cache.lookups : 0;
}

int report_open(struct report *report, const char *csv)
{
    memset(report, 0, sizeof(*report));
    if (!csv)
        return 0;
    report->csv = fopen(csv, "we");
    if (!report->csv)
        return -errno;
    fprintf(report->csv, "round,strategy,transfers,bytes,registrations,lookups,hits,invalidations,evictions,"
                         "transfers_at_reused_addresses,corrupted_writes,corrupted_reads,seconds,processor_seconds\n");
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
    printf("Up to %zu KiB pinned at once, %zu KiB of it kept by a cache. Buffers: %zu of %zu KiB used over and over,\n"
           "%zu of up to %zu KiB mapped and unmapped, %zu of up to %zu bytes from %s; %zu transfers at a time.\n",
           plan->room >> 10, plan->cache_bytes >> 10, plan->pool_count, plan->pool_size >> 10, plan->large_count,
           plan->largest >> 10, plan->small_count, plan->small_most,
           pin_kind_shared(plan->kind) ? "mmap" : "malloc", plan->batch);
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

static int keep_ratios(struct report *report, const struct tally tallies[STRATEGIES])
{
    if (report->rounds == report->ratio_room) {
        unsigned room = report->ratio_room ? 2 * report->ratio_room : 16;
        for (int s = 0; s < STRATEGIES; s++) {
            if (!grow(&report->elapsed[s], room) || !grow(&report->processor[s], room))
                return -ENOMEM;
        }
        report->ratio_room = room;
    }
    for (int s = 0; s < STRATEGIES; s++) {
        report->elapsed[s][report->rounds] = tallies[s].seconds / tallies[STRATEGY_UNCACHED].seconds;
        report->processor[s][report->rounds] = tallies[s].processor / tallies[STRATEGY_UNCACHED].processor;
    }
    return 0;
}

static void csv_line(const struct report *report, int s, const struct tally *tally)
{
    fprintf(report->csv, "%u,%s,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%.6f,%.6f\n", report->rounds,
            strategies[s]->name, (unsigned long long)tally->transfers, (unsigned long long)tally->bytes,
            (unsigned long long)tally->registrations, (unsigned long long)tally->cache.lookups,
            (unsigned long long)tally->cache.hits, (unsigned long long)tally->cache.invalidations,
            (unsigned long long)tally->cache.evictions, (unsigned long long)tally->reused,
            (unsigned long long)tally->corrupted_writes, (unsigned long long)tally->corrupted_reads, tally->seconds,
            tally->processor);
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
                (unsigned long long)corrupted(&report->total[s]), (unsigned long long)report->total[s].transfers);
    fprintf(stderr, "\n");
}

int report_round(struct report *report, const struct tally tallies[STRATEGIES])
{
    int ret = keep_ratios(report, tallies);

    if (ret < 0)
        return ret;
    report->rounds++;
    for (int s = 0; s < STRATEGIES; s++) {
        add(&report->total[s], &tallies[s]);
        if (report->csv)
            csv_line(report, s, &tallies[s]);
    }
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

static void print_table(struct report *report)
{
    printf("\n%-12s %10s %14s %9s %10s %6s %6s\n", "strategy", "transfers", "registrations", "hit rate",
           "corrupted", "time", "cpu");
    for (int s = 0; s < STRATEGIES; s++) {
        const struct tally *tally = &report->total[s];
        printf("%-12s %10llu %14llu %7.1f %% %10llu %6.2f %6.2f\n", strategies[s]->name,
               (unsigned long long)tally->transfers, (unsigned long long)tally->registrations, 100 * hit_rate(tally),
               (unsigned long long)corrupted(tally), median(report->elapsed[s], report->rounds),
               median(report->processor[s], report->rounds));
    }
    printf("Time, and processor time of all threads, for allocating, registering, transferring and freeing: relative\n"
           "to no cache, median of %u rounds.\n",
           report->rounds);
}

static void print_details(const struct report *report, const struct plan *plan)
{
    const struct tally *naive = &report->total[STRATEGY_NAIVE], *ours = &report->total[STRATEGY_KDREG];

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
    const struct tally *total = report->total;
    const struct tally *ours = &total[STRATEGY_KDREG];
    const char *backend = kdreg_backend_name(monitor);

    if (corrupted(&total[STRATEGY_UNCACHED])) {
        printf("FAILED: even without a cache, %llu transfers moved the wrong data (%s). Memory, the file, or this "
               "program is broken.\n",
               (unsigned long long)corrupted(&total[STRATEGY_UNCACHED]), total[STRATEGY_UNCACHED].example);
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
    if (!corrupted(&total[STRATEGY_NAIVE])) {
        if (!total[STRATEGY_NAIVE].reused) {
            printf("The naive cache moved no wrong data here, but only because no buffer came back at an address "
                   "transferred before: this shows nothing about it. Ask for more with --transfers.\n");
            return EXIT_FINE;
        }
        printf("NOTHING SHOWN: %llu transfers used memory that came back at an address transferred before, and still "
               "the naive cache moved no wrong data. Either registrations are not really pinned here or the run was too short: "
               "try --transfers, and KDREG_DEMO_PIN for another way of pinning.\n",
               (unsigned long long)total[STRATEGY_NAIVE].reused);
        return EXIT_NOTHING_SHOWN;
    }
    printf("libkdreg moved no wrong data, with %.1f times fewer registrations than without a cache.\n",
           ours->registrations ? (double)total[STRATEGY_UNCACHED].registrations / (double)ours->registrations : 0);
    return EXIT_FINE;
}

int report_close(struct report *report, const struct plan *plan, kdreg_t *monitor)
{
    int status = EXIT_CANNOT_RUN;

    if (report->rounds) {
        print_table(report);
        print_details(report, plan);
        status = verdict(report, monitor);
    }
    for (int s = 0; s < STRATEGIES; s++) {
        free(report->elapsed[s]);
        free(report->processor[s]);
    }
    if (report->csv && fclose(report->csv) != 0) {
        printf("The figures could not be written to the CSV file: %s\n", strerror(errno));
        if (status == EXIT_FINE)
            status = EXIT_CANNOT_RUN;
    }
    return status;
}
