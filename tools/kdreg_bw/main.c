/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg_bw: what registering memory costs, by hand and by libkdreg. `kdreg_bw --help`. */
#define _GNU_SOURCE
#include "measure.h"
#include "results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST_ROUNDS 99
#define MOST_IN_FLIGHT (64ul << 20) /* bytes */

/* What the rounds gave for one point. */
struct samples {
    double stream[MOST_ROUNDS], single[MOST_ROUNDS], half[MOST_ROUNDS], high[MOST_ROUNDS];
};

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static unsigned depth_of(const struct options *options, size_t size)
{
    size_t fit = MOST_IN_FLIGHT / size;
    return fit < 1 ? 1 : fit < options->depth ? (unsigned)fit : options->depth;
}

static void progress(const struct options *options, unsigned done, unsigned all, const struct work *work,
                     unsigned round)
{
    char text[SIZE_TEXT];
    bool terminal = isatty(STDERR_FILENO);

    /* In a log, a line per size and round is enough. */
    if (options->quiet || (!terminal && (work->strategy != ONCE || work->reuse != 100)))
        return;
    fprintf(stderr, "%s%3u %%  round %u of %u, %s, %u %% reuse, %s%s", terminal ? "\r" : "", 100 * done / all,
            round + 1, options->rounds, size_text(work->size, text), work->reuse, strategy_names[work->strategy],
            terminal ? "\033[K" : "\n");
}

/* One point, in one round: at full depth, then one at a time. */
static int measure_point(struct work *work, struct result *result, struct samples *samples, unsigned round)
{
    struct outcome outcome;
    unsigned depth = work->depth;
    int ret = measure(work, &outcome);

    if (ret < 0)
        return ret;
    result->registrations += (double)outcome.registrations / (double)outcome.transfers;
    result->hits += (double)outcome.hits / (double)outcome.transfers;
    samples->stream[round] = outcome.nanoseconds;
    work->depth = 1;
    ret = measure(work, &outcome);
    work->depth = depth;
    samples->single[round] = outcome.nanoseconds;
    samples->half[round] = outcome.median;
    samples->high[round] = outcome.high;
    return ret;
}

static int run_round(const struct options *options, struct transport *transport, struct results *results,
                     struct samples *samples, unsigned round)
{
    unsigned points = options->size_count * options->reuse_count * STRATEGIES;

    for (unsigned point = 0; point < points; point++) {
        struct result *result = &results->all[point];
        struct work work = { transport,    result->strategy,      result->size, result->reuse,
                             result->depth, options->milliseconds, options->transfers };
        if (!result->present)
            continue;
        progress(options, round * points + point, options->rounds * points, &work, round);
        int ret = measure_point(&work, result, &samples[point], round);
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* Which points there are: those registered once are measured once per size. */
static void plan(const struct options *options, const struct transport *transport, struct results *results)
{
    for (unsigned s = 0; s < options->size_count; s++)
        for (unsigned r = 0; r < options->reuse_count; r++)
            for (unsigned i = 0; i < STRATEGIES; i++)
                *results_at(results, s, r, (enum strategy)i) = (struct result){
                    .present = options->strategies[i] && (i != ONCE || r == 0) && (i != DEMAND || transport->demand),
                    .size = options->sizes[s],
                    .reuse = i == ONCE ? 100 : options->reuses[r],
                    .strategy = (enum strategy)i,
                    .depth = depth_of(options, options->sizes[s]),
                };
}

static int run(const struct options *options, struct transport *transport, struct results *results)
{
    unsigned points = options->size_count * options->reuse_count * STRATEGIES;
    struct samples *samples = calloc(points, sizeof(*samples));
    int ret = 0;

    results->all = calloc(points, sizeof(*results->all));
    if (!samples || !results->all) {
        fprintf(stderr, "kdreg_bw: out of memory\n");
        free(samples);
        return -ENOMEM;
    }
    plan(options, transport, results);
    for (unsigned round = 0; round < options->rounds && !ret; round++)
        ret = run_round(options, transport, results, samples, round);
    if (!options->quiet && isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    for (unsigned point = 0; point < points && !ret; point++) {
        struct result *result = &results->all[point];
        if (!result->present)
            continue;
        result->stream = median(samples[point].stream, options->rounds);
        result->single = median(samples[point].single, options->rounds);
        result->half = median(samples[point].half, options->rounds);
        result->high = median(samples[point].high, options->rounds);
        result->registrations /= options->rounds;
        result->hits /= options->rounds;
    }
    /* The same row for all shares of reuse. */
    for (unsigned s = 0; s < options->size_count; s++)
        for (unsigned r = 1; r < options->reuse_count; r++)
            *results_at(results, s, r, ONCE) = *results_at(results, s, 0, ONCE);
    free(samples);
    return ret;
}

static int write_file(const char *path, const struct results *results,
                      void (*write)(const struct results *, FILE *))
{
    bool standard = !strcmp(path, "-");
    FILE *file = standard ? stdout : fopen(path, "we");

    if (file) {
        write(results, file);
        if (!ferror(file) && !(standard ? fflush(file) : fclose(file)))
            return 0;
    }
    fprintf(stderr, "kdreg_bw: %s: %s\n", path, strerror(errno));
    return -EIO;
}

/* A file that cannot be written is better known before the work than after it. */
static int writable(const char *path)
{
    FILE *file = path && strcmp(path, "-") ? fopen(path, "ae") : NULL;

    if (!path || !strcmp(path, "-") || file) {
        if (file)
            fclose(file);
        return 0;
    }
    fprintf(stderr, "kdreg_bw: %s: %s\n", path, strerror(errno));
    return -EIO;
}

/* Everybody but root may pin little by default: say so now, not in the middle. */
static int enough_memlock(const struct options *options)
{
    struct rlimit limit;
    size_t most = 0;
    char text[SIZE_TEXT];

    for (unsigned i = 0; i < options->size_count; i++) {
        size_t bytes = options->sizes[i] * depth_of(options, options->sizes[i]);
        if (bytes > most)
            most = bytes;
    }
    if (!options->strategies[ONCE] && !options->strategies[EACH] && !options->strategies[CACHED])
        return 0;
    if (geteuid() == 0 || getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur >= most + (1u << 20))
        return 0;
    fprintf(stderr,
            "kdreg_bw: RLIMIT_MEMLOCK is %llu KiB, and the buffers of these sizes need %s and a MiB more: raise it "
            "(ulimit -l, as root), or use smaller --sizes or --depth\n",
            (unsigned long long)limit.rlim_cur >> 10, size_text(most, text));
    return -ENOMEM;
}

static int benchmark(const struct options *options)
{
    struct kdreg_attr attr = { .size = sizeof(attr), .backend = options->backend };
    struct results results = { .options = options };
    struct transport *transport;
    kdreg_t *monitor;
    int ret;

    if (writable(options->csv) || writable(options->svg))
        return EXIT_USAGE;
    if (enough_memlock(options))
        return EXIT_CANNOT_RUN;
    ret = kdreg_open(&attr, &monitor);
    if (ret < 0) {
        fprintf(stderr, "kdreg_bw: this backend cannot be used: %s; kdreg_info tells why\n", kdreg_strerror(ret));
        return EXIT_CANNOT_RUN;
    }
    results.backend = kdreg_backend_name(monitor);
    ret = (options->verbs ? transport_verbs_open : transport_uring_open)(options, monitor, &transport);
    if (ret < 0) {
        kdreg_close(monitor);
        return EXIT_CANNOT_RUN;
    }
    if (options->must_demand && !transport->demand) {
        fprintf(stderr, "kdreg_bw: %s has no registrations on demand: leave odp out of --strategies, or measure verbs on a device that "
                        "has them (ibv_devinfo -v tells: odp_caps; soft-RoCE from Linux 6.15 on)\n",
                transport->name);
        transport->ops->close(transport);
        kdreg_close(monitor);
        return EXIT_CANNOT_RUN;
    }
    results.transport = transport->name;
    results.demand = options->strategies[DEMAND] && transport->demand;
    results.target = transport->target;
    ret = run(options, transport, &results);
    if (!ret && !(options->csv && !strcmp(options->csv, "-")))
        results_table(&results, stdout);
    if (!ret && options->csv)
        ret = write_file(options->csv, &results, results_csv);
    if (!ret && options->svg)
        ret = write_file(options->svg, &results, results_svg);
    transport->ops->close(transport);
    free(results.all);
    kdreg_close(monitor);
    return ret ? EXIT_FAILED : EXIT_FINE;
}

int main(int argc, char **argv)
{
    struct options options;

    switch (options_parse(&options, argc, argv)) {
    case OPTIONS_DONE: return EXIT_FINE;
    case OPTIONS_BAD: return EXIT_USAGE;
    }
    if (options.listen)
        return verbs_serve(&options) ? EXIT_CANNOT_RUN : EXIT_FINE;
    return benchmark(&options);
}
