/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <kdreg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const strategy_names[STRATEGIES] = { "once", "each", "libkdreg", "odp" };

static const char help[] =
    "Usage: kdreg_bw [OPTION]...\n"
    "       kdreg_bw --listen [OPTION]...             on one side, for verbs\n"
    "       kdreg_bw --connect HOST [OPTION]...       on the other\n"
    "\n"
    "Measures what registering memory costs: bandwidth and latency of transfers against\n"
    "the message size, with buffers\n"
    "  once       registered once by hand, before the transfers: as fast as it gets\n"
    "  each       registered by hand before each transfer, deregistered after it\n"
    "  libkdreg   looked up in libkdreg's cache for each transfer\n"
    "  odp        the same with KDREG_VERBS_ODP=on: registered on demand, nothing pinned (verbs,\n"
    "             where the device has that; KDREG_VERBS_ODP_PREFETCH=0: without prefetching)\n"
    "and with 0 to 100 % of the transfers from a buffer that was used before. The others\n"
    "are from fresh memory: the buffer is unmapped, another one mapped and written to.\n"
    "Buffers registered once are never fresh. Each buffer is a mapping of its own, and the\n"
    "cache does not merge them (KDREG_CACHE_NO_MERGE); while nothing is reused it keeps only\n"
    "one registration in 128 (KDREG_CACHE_BYPASS).\n"
    "\n"
    "Transport\n"
    "  (default)          io_uring with fixed buffers, in one process: any machine with\n"
    "                     Linux 5.13 or newer, no network card needed\n"
    "      --file PATH    write to this file or device (what is in it is overwritten),\n"
    "                     without the page cache where the file system can; default: a\n"
    "                     file in memory\n"
    "      --listen       verbs: be the end that is written to. Serves one client\n"
    "      --connect HOST verbs: write (RDMA write, reliable connection) to the memory of\n"
    "                     the kdreg_bw --listen on HOST, and measure\n"
    "      --port PORT    TCP port on which the two ends meet (default 18515)\n"
    "      --device NAME  verbs device (default: the first one with an active port)\n"
    "      --gid INDEX    its GID (default: the first for RoCE v2 over IPv4, else the first)\n"
    "\n"
    "What is measured\n"
    "  -s, --sizes LIST   message sizes in bytes, with K, M for KiB, MiB; or FROM-TO by\n"
    "                     factors of 4 (default 4K-64M). At most 512M\n"
    "  -r, --reuse LIST   per cent of transfers from used buffers (default\n"
    "                     0,25,50,75,90,100)\n"
    "  -S, --strategies LIST\n"
    "                     of once, each, libkdreg, odp (default: all that there are)\n"
    "  -d, --depth N      transfers under way at once for bandwidth, at most 64 (default\n"
    "                     16; fewer where they would have more than 64 MiB). Latency is\n"
    "                     of one transfer at a time\n"
    "  -t, --time MS      milliseconds per measurement (default 20)\n"
    "  -n, --transfers N  this many transfers per measurement instead\n"
    "  -R, --rounds N     rounds over all measurements; the median counts (default 3)\n"
    "  -b, --backend NAME kernel, bpf, userfaultfd, none or any (default any: the\n"
    "                     strongest that works; KDREG_BACKEND overrides it)\n"
    "\n"
    "Output\n"
    "  -c, --csv FILE     the results as comma-separated values (- is standard output,\n"
    "                     and then there is no table)\n"
    "  -p, --svg FILE     a plot, bandwidth and latency against size\n"
    "  -q, --quiet        no progress on standard error\n"
    "  -h, --help         this text\n"
    "  -V, --version      libkdreg's version\n"
    "\n"
    "Exit status: 0; 1 when a transfer failed or carried wrong data; 2 for wrong usage; 4\n"
    "when this machine cannot run it, which it says why.\n"
    "\n"
    "Examples\n"
    "  kdreg_bw --sizes 4K,1M --reuse 0,100 --svg plot.svg\n"
    "  kdreg_bw --listen            and on the other machine\n"
    "  kdreg_bw --connect server --csv results.csv\n";

static int bad(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "kdreg_bw: %s: '%s' will not do: %s\n", option, value, wanted);
    return OPTIONS_BAD;
}

/* A whole number from least to most. */
static bool number(const char *text, unsigned long least, unsigned long most, unsigned *value)
{
    char *end;
    unsigned long parsed;

    errno = 0;
    parsed = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || parsed < least || parsed > most)
        return false;
    *value = (unsigned)parsed;
    return true;
}

/* 4096, 4K, 64M: how far it was read, or NULL. */
static const char *size(const char *text, size_t *value)
{
    char *end;
    unsigned long long parsed;
    unsigned shift = 0;

    errno = 0;
    parsed = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno)
        return NULL;
    if (*end == 'K' || *end == 'k')
        shift = 10;
    else if (*end == 'M' || *end == 'm')
        shift = 20;
    if (shift)
        end++;
    if (!parsed || parsed > (512ull << 20) >> shift)
        return NULL;
    *value = (size_t)parsed << shift;
    return end;
}

static bool sizes(struct options *options, const char *list)
{
    const char *at = list;

    options->size_count = 0;
    for (;;) {
        size_t from, to;
        at = size(at, &from);
        if (!at)
            return false;
        to = from;
        if (*at == '-') {
            at = size(at + 1, &to);
            if (!at || to < from)
                return false;
        }
        for (; from <= to; from *= 4) {
            if (options->size_count == MOST_SIZES)
                return false;
            options->sizes[options->size_count++] = from;
        }
        if (!*at)
            return true;
        if (*at++ != ',')
            return false;
    }
}

static bool reuses(struct options *options, const char *list)
{
    char copy[256], *rest = copy, *word;

    if (strlen(list) >= sizeof(copy))
        return false;
    strcpy(copy, list);
    options->reuse_count = 0;
    while ((word = strsep(&rest, ","))) {
        if (options->reuse_count == MOST_REUSES || !number(word, 0, 100, &options->reuses[options->reuse_count]))
            return false;
        options->reuse_count++;
    }
    return true;
}

static bool strategies(struct options *options, const char *list)
{
    char copy[64], *rest = copy, *word;

    if (strlen(list) >= sizeof(copy))
        return false;
    strcpy(copy, list);
    memset(options->strategies, 0, sizeof(options->strategies));
    while ((word = strsep(&rest, ","))) {
        unsigned i = 0;
        while (i < STRATEGIES && strcmp(word, strategy_names[i]))
            i++;
        if (i == STRATEGIES)
            return false;
        options->strategies[i] = true;
    }
    options->must_demand = options->strategies[DEMAND];
    return true;
}

static bool backend(struct options *options, const char *name)
{
    static const char *const names[] = { "any", "kernel", "userfaultfd", "none", "bpf" };

    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(name, names[i])) {
            options->backend = i; /* KDREG_BACKEND_* are in this order */
            return true;
        }
    return false;
}

enum { OPT_FILE = 256, OPT_LISTEN, OPT_CONNECT, OPT_PORT, OPT_DEVICE, OPT_GID };

static const struct option names[] = {
    { "file", required_argument, NULL, OPT_FILE },
    { "listen", no_argument, NULL, OPT_LISTEN },
    { "connect", required_argument, NULL, OPT_CONNECT },
    { "port", required_argument, NULL, OPT_PORT },
    { "device", required_argument, NULL, OPT_DEVICE },
    { "gid", required_argument, NULL, OPT_GID },
    { "sizes", required_argument, NULL, 's' },
    { "reuse", required_argument, NULL, 'r' },
    { "strategies", required_argument, NULL, 'S' },
    { "depth", required_argument, NULL, 'd' },
    { "time", required_argument, NULL, 't' },
    { "transfers", required_argument, NULL, 'n' },
    { "rounds", required_argument, NULL, 'R' },
    { "backend", required_argument, NULL, 'b' },
    { "csv", required_argument, NULL, 'c' },
    { "svg", required_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
};

static int take(struct options *options, int option, const char *value)
{
    unsigned parsed;

    switch (option) {
    case OPT_FILE: options->file = value; return OPTIONS_RUN;
    case OPT_LISTEN: options->listen = true; return OPTIONS_RUN;
    case OPT_CONNECT: options->connect = value; return OPTIONS_RUN;
    case OPT_DEVICE: options->device = value; return OPTIONS_RUN;
    case OPT_PORT:
        options->port = value;
        return number(value, 1, 65535, &parsed) ? OPTIONS_RUN : bad("--port", value, "1 to 65535");
    case OPT_GID:
        if (!number(value, 0, 65535, &parsed))
            return bad("--gid", value, "an index from 0 on");
        options->gid = (int)parsed;
        return OPTIONS_RUN;
    case 's':
        return sizes(options, value) ? OPTIONS_RUN
                                     : bad("--sizes", value, "such as 4K,1M or 4K-64M, 1 to 512M, at most 32 of them");
    case 'r': return reuses(options, value) ? OPTIONS_RUN : bad("--reuse", value, "per cents, such as 0,50,100");
    case 'S':
        return strategies(options, value) ? OPTIONS_RUN : bad("--strategies", value, "of once, each, libkdreg, odp");
    case 'd': return number(value, 1, 64, &options->depth) ? OPTIONS_RUN : bad("--depth", value, "1 to 64");
    case 't':
        return number(value, 1, 3600000, &options->milliseconds) ? OPTIONS_RUN
                                                                 : bad("--time", value, "milliseconds, 1 to 3600000");
    case 'n':
        return number(value, 1, 1000000000, &options->transfers) ? OPTIONS_RUN
                                                                 : bad("--transfers", value, "1 to 1000000000");
    case 'R': return number(value, 1, 99, &options->rounds) ? OPTIONS_RUN : bad("--rounds", value, "1 to 99");
    case 'b':
        return backend(options, value) ? OPTIONS_RUN : bad("--backend", value, "kernel, bpf, userfaultfd, none or any");
    case 'c': options->csv = value; return OPTIONS_RUN;
    case 'p': options->svg = value; return OPTIONS_RUN;
    case 'q': options->quiet = true; return OPTIONS_RUN;
    case 'h': fputs(help, stdout); return OPTIONS_DONE;
    case 'V': printf("kdreg_bw, libkdreg %s\n", kdreg_version_string()); return OPTIONS_DONE;
    default: fprintf(stderr, "kdreg_bw --help tells what it understands\n"); return OPTIONS_BAD;
    }
}

static int conflict(const char *message)
{
    fprintf(stderr, "kdreg_bw: %s\n", message);
    return OPTIONS_BAD;
}

int options_parse(struct options *options, int argc, char **argv)
{
    int option, result;

    *options = (struct options){
        .strategies = { true, true, true, true }, .depth = 16, .milliseconds = 20, .rounds = 3, .port = "18515", .gid = -1,
    };
    sizes(options, "4K-64M");
    reuses(options, "0,25,50,75,90,100");
    while ((option = getopt_long(argc, argv, "s:r:S:d:t:n:R:b:c:p:qhV", names, NULL)) != -1) {
        result = take(options, option, optarg);
        if (result != OPTIONS_RUN)
            return result;
    }
    if (optind < argc) {
        fprintf(stderr, "kdreg_bw: what is '%s' for? kdreg_bw --help tells what it understands\n", argv[optind]);
        return OPTIONS_BAD;
    }
    options->verbs = options->listen || options->connect;
    if (options->listen && options->connect)
        return conflict("--listen is for one end, --connect for the other: not both");
    if (options->file && options->verbs)
        return conflict("--file is for io_uring; verbs transfers go to the other end's memory");
    if ((options->device || options->gid >= 0) && !options->verbs)
        return conflict("--device and --gid are for verbs: say --listen or --connect HOST too");
    return OPTIONS_RUN;
}

const char *size_text(size_t size, char text[SIZE_TEXT])
{
    if (size >= 1 << 20 && !(size & 0xfffff))
        snprintf(text, SIZE_TEXT, "%zu MiB", size >> 20);
    else if (size >= 1 << 10 && !(size & 0x3ff))
        snprintf(text, SIZE_TEXT, "%zu KiB", size >> 10);
    else
        snprintf(text, SIZE_TEXT, "%zu B", size);
    return text;
}
