/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The table and the CSV. */
#include "results.h"

static void cell(FILE *file, int width, const struct result *result, double value, int decimals)
{
    if (result->present)
        fprintf(file, " %*.*f", width, decimals, value);
    else
        fprintf(file, " %*s", width, "-");
}

/* Something per transfer, compared with the same in another strategy. */
static void ratio(FILE *file, const struct result *result, const struct result *other)
{
    if (result->present && other->present)
        fprintf(file, " %8.3f", result->stream / other->stream);
    else
        fprintf(file, " %8s", "-");
}

static void headings(const struct results *results, FILE *file)
{
    unsigned columns = results->demand ? STRATEGIES : DEMAND;

    fprintf(file, "\n%s to %s; backend %s. Bandwidth in MiB/s, latency in microseconds (median), registrations\n"
                  "per transfer of libkdreg; and libkdreg's time per transfer, at full depth, relative to the others'%s.\n\n",
            results->transport, results->target, results->backend,
            results->demand ? ",\nand of odp (on demand, nothing pinned) relative to libkdreg's" : "");
    fprintf(file, "%8s %6s  %-*s   %-*s  %8s %17s%s\n", "", "", 9 * (int)columns - 1, "bandwidth", 10 * (int)columns - 1,
            "latency", "regist-", "libkdreg/", results->demand ? "     odp/" : "");
    fprintf(file, "%8s %6s ", "size", "reuse");
    for (unsigned i = 0; i < columns; i++)
        fprintf(file, " %8s", strategy_names[i]);
    fputs("  ", file);
    for (unsigned i = 0; i < columns; i++)
        fprintf(file, " %9s", strategy_names[i]);
    fprintf(file, "  %8s %8s %8s%s\n", "rations", "once", "each", results->demand ? " libkdreg" : "");
}

void results_table(const struct results *results, FILE *file)
{
    const struct options *options = results->options;
    unsigned columns = results->demand ? STRATEGIES : DEMAND;

    headings(results, file);
    for (unsigned s = 0; s < options->size_count; s++)
        for (unsigned r = 0; r < options->reuse_count; r++) {
            const struct result *by[STRATEGIES];
            char text[SIZE_TEXT];
            for (unsigned i = 0; i < STRATEGIES; i++)
                by[i] = results_at(results, s, r, (enum strategy)i);
            fprintf(file, "%8s %4u %% ", size_text(options->sizes[s], text), options->reuses[r]);
            for (unsigned i = 0; i < columns; i++)
                cell(file, 8, by[i], bandwidth(by[i]), 0);
            fputs("  ", file);
            for (unsigned i = 0; i < columns; i++)
                cell(file, 9, by[i], by[i]->half / 1e3, 2);
            fputc(' ', file);
            cell(file, 8, by[CACHED], by[CACHED]->registrations, 3);
            ratio(file, by[CACHED], by[ONCE]);
            ratio(file, by[CACHED], by[EACH]);
            if (results->demand)
                ratio(file, by[DEMAND], by[CACHED]);
            fputc('\n', file);
        }
}

void results_csv(const struct results *results, FILE *file)
{
    const struct options *options = results->options;

    fputs("transport,backend,size_bytes,reuse_percent,strategy,depth,mib_per_s,ns_per_transfer,"
          "latency_mean_ns,latency_p50_ns,latency_p99_ns,registrations_per_transfer,hits_per_transfer\n",
          file);
    for (unsigned s = 0; s < options->size_count; s++)
        for (unsigned r = 0; r < options->reuse_count; r++)
            for (unsigned i = 0; i < STRATEGIES; i++) {
                const struct result *result = results_at(results, s, r, (enum strategy)i);
                /* Registered once: one row for all shares of reuse. */
                if (!result->present || (i == ONCE && r > 0))
                    continue;
                fprintf(file, "%s,%s,%zu,%u,%s,%u,%.3f,%.1f,%.1f,%.1f,%.1f,%.4f,%.4f\n", results->transport,
                        results->backend, result->size, result->reuse, strategy_names[i], result->depth,
                        bandwidth(result), result->stream, result->single, result->half, result->high,
                        result->registrations, result->hits);
            }
}
