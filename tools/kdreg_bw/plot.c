/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The plot: bandwidth and latency against message size, one line for each way
 * and share of reuse. One self-contained SVG, with colours for light and for
 * dark surroundings.
 */
#include "results.h"

#include <math.h>
#include <string.h>

#define WIDTH 1180
#define LEFT 80
#define PANEL 380 /* plot area */
#define TOP 70
#define HEIGHT 340
#define GAP 100

enum axis { BANDWIDTH, LATENCY };

struct scale {
    double x_least, x_most, y_least, y_most; /* logarithms, base 10 for y and 2 for x */
    int left;
};

static double value(const struct result *result, enum axis axis)
{
    return axis == BANDWIDTH ? bandwidth(result) : result->half / 1e3;
}

static double x_of(const struct scale *scale, size_t size)
{
    double span = scale->x_most - scale->x_least;

    return scale->left + (span > 0 ? (log2((double)size) - scale->x_least) / span : 0.5) * PANEL;
}

static double y_of(const struct scale *scale, double y)
{
    return TOP + HEIGHT - (log10(y) - scale->y_least) / (scale->y_most - scale->y_least) * HEIGHT;
}

static struct scale scale_of(const struct results *results, enum axis axis)
{
    const struct options *options = results->options;
    struct scale scale = { INFINITY, -INFINITY, INFINITY, -INFINITY, axis == BANDWIDTH ? LEFT : LEFT + PANEL + GAP };

    for (unsigned i = 0; i < options->size_count * options->reuse_count * STRATEGIES; i++) {
        const struct result *result = &results->all[i];
        if (!result->present)
            continue;
        scale.x_least = fmin(scale.x_least, log2((double)result->size));
        scale.x_most = fmax(scale.x_most, log2((double)result->size));
        scale.y_least = fmin(scale.y_least, floor(log10(value(result, axis))));
        scale.y_most = fmax(scale.y_most, ceil(log10(value(result, axis))));
    }
    if (scale.y_most <= scale.y_least)
        scale.y_most = scale.y_least + 1;
    return scale;
}

static void label(FILE *file, double x, double y, const char *anchor, const char *text)
{
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, text);
}

static void frame(const struct results *results, const struct scale *scale, enum axis axis, FILE *file)
{
    const struct options *options = results->options;
    const char *title = axis == BANDWIDTH ? "Bandwidth (MiB/s)" : "Latency (\xc2\xb5s, median)";
    char text[32];

    for (double power = scale->y_least; power <= scale->y_most; power++) {
        double y = y_of(scale, pow(10, power));
        fprintf(file, "<path class=\"grid\" d=\"M%d %.1fh%d\"/>\n", scale->left, y, PANEL);
        snprintf(text, sizeof(text), "%g", pow(10, power));
        label(file, scale->left - 8, y + 4, "end", text);
    }
    for (unsigned s = 0; s < options->size_count; s++) {
        double x = x_of(scale, options->sizes[s]);
        char size[SIZE_TEXT];
        fprintf(file, "<path class=\"grid\" d=\"M%.1f %dv%d\"/>\n", x, TOP, HEIGHT);
        fprintf(file, "<text transform=\"translate(%.1f %d) rotate(-35)\" text-anchor=\"end\">%s</text>\n", x + 4,
                TOP + HEIGHT + 18, size_text(options->sizes[s], size));
    }
    fprintf(file, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", scale->left, TOP, PANEL,
            HEIGHT);
    label(file, scale->left + PANEL / 2.0, TOP + HEIGHT + 70, "middle", "Message size");
    fprintf(file, "<text transform=\"translate(%d %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
            scale->left - 52, TOP + HEIGHT / 2, title);
}

/* The line of one way and share of reuse; a point is all there is of one size. */
static void line(const struct results *results, const struct scale *scale, enum axis axis, unsigned reuse,
                 enum strategy strategy, FILE *file)
{
    const struct options *options = results->options;
    /* More of it is reused: a stronger line. */
    double opacity = strategy == ONCE ? 1 : 0.35 + 0.65 * options->reuses[reuse] / 100.0;

    fprintf(file, "<g class=\"s%u\" opacity=\"%.2f\"><title>%s%s", (unsigned)strategy, opacity,
            strategy == ONCE ? "registered " : strategy == EACH ? "registered " : "", strategy_names[strategy]);
    if (strategy != ONCE)
        fprintf(file, ", %u %% reuse", options->reuses[reuse]);
    fputs("</title><polyline points=\"", file);
    for (unsigned s = 0; s < options->size_count; s++) {
        const struct result *result = results_at(results, s, reuse, strategy);
        if (result->present)
            fprintf(file, "%.1f,%.1f ", x_of(scale, result->size), y_of(scale, value(result, axis)));
    }
    fputs("\"/>", file);
    for (unsigned s = 0; s < options->size_count; s++) {
        const struct result *result = results_at(results, s, reuse, strategy);
        if (result->present)
            fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>", x_of(scale, result->size),
                    y_of(scale, value(result, axis)));
    }
    fputs("</g>\n", file);
}

static bool measured(const struct results *results, unsigned reuse, enum strategy strategy)
{
    for (unsigned s = 0; s < results->options->size_count; s++)
        if (results_at(results, s, reuse, strategy)->present)
            return strategy != ONCE || reuse == 0;
    return false;
}

static void legend(const struct results *results, FILE *file)
{
    int x = LEFT + 2 * PANEL + GAP + 24, y = TOP + 8;
    char text[64];

    for (unsigned i = 0; i < STRATEGIES; i++)
        for (unsigned r = results->options->reuse_count; r-- > 0;) {
            if (!measured(results, r, (enum strategy)i))
                continue;
            unsigned reuse = results->options->reuses[r];
            double opacity = i == ONCE ? 1 : 0.35 + 0.65 * reuse / 100.0;
            fprintf(file, "<g class=\"s%u\" opacity=\"%.2f\"><polyline points=\"%d,%d %d,%d\"/></g>\n", i, opacity, x,
                    y - 4, x + 26, y - 4);
            if (i == ONCE)
                snprintf(text, sizeof(text), "registered once");
            else
                snprintf(text, sizeof(text), "%s, %u %% reuse", strategy_names[i], reuse);
            label(file, x + 34, y, "start", text);
            y += 20;
        }
}

/* Text that may have any character in it. */
static void escaped(FILE *file, const char *text)
{
    for (; *text; text++)
        if (strchr("<>&\"", *text))
            fprintf(file, "&#%d;", *text);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, file);
}

void results_svg(const struct results *results, FILE *file)
{
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
            "font-size=\"12\" role=\"img\">\n"
            "<title>kdreg_bw: bandwidth and latency against message size</title>\n"
            "<style>\n"
            /* No variables: not every viewer knows them. */
            "text{fill:#222}.paper{fill:#fff}.grid{stroke:#ddd}.frame{fill:none;stroke:#222}\n"
            ".s0{stroke:#111;fill:#111}.s1{stroke:#c0392b;fill:#c0392b}.s2{stroke:#1f6fb2;fill:#1f6fb2}"
            ".s3{stroke:#2e8b57;fill:#2e8b57}\n"
            "@media(prefers-color-scheme:dark){text{fill:#ddd}.paper{fill:#181818}.grid{stroke:#3a3a3a}"
            ".frame{stroke:#ddd}\n"
            ".s0{stroke:#fff;fill:#fff}.s1{stroke:#ff7b6b;fill:#ff7b6b}.s2{stroke:#6cb6ff;fill:#6cb6ff}"
            ".s3{stroke:#6fdc9f;fill:#6fdc9f}}\n"
            "polyline{fill:none;stroke-width:2}\n"
            "</style>\n"
            "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n"
            "<text x=\"%d\" y=\"34\" font-size=\"15\">",
            WIDTH, TOP + HEIGHT + 90, WIDTH, TOP + HEIGHT + 90, LEFT);
    escaped(file, results->transport);
    fputs(" to ", file);
    escaped(file, results->target);
    fputs("; backend ", file);
    escaped(file, results->backend);
    fputs("</text>\n", file);
    for (enum axis axis = BANDWIDTH; axis <= LATENCY; axis++) {
        struct scale scale = scale_of(results, axis);
        frame(results, &scale, axis, file);
        for (unsigned i = STRATEGIES; i-- > 0;)
            for (unsigned r = 0; r < results->options->reuse_count; r++)
                if (measured(results, r, (enum strategy)i))
                    line(results, &scale, axis, r, (enum strategy)i, file);
    }
    legend(results, file);
    fputs("</svg>\n", file);
}
