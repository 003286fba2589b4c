/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <kdreg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MOST 86400.0

static const char help[] =
    "Usage: %s [OPTION]...\n"
    "Moves data between memory and a file through pinned buffers, as a message-passing or\n"
    "storage program does, while that memory is freed and its addresses are used again: once\n"
    "registering for each transfer, once with a cache keyed by address alone, once with\n"
    "libkdreg. Counts the registrations, and the transfers that moved the wrong data.\n"
    "\n"
    "  -n, --transfers N   transfers of each kind by each strategy in each round (default 1000)\n"
    "  -s, --seconds S     begin rounds for S seconds (default 6; at least 3 rounds)\n"
    "  -r, --rounds N      just N rounds, however long they take\n"
    "      --seed N        the workload that follows from this number (default 1)\n"
    "  -b, --backend NAME  how libkdreg watches memory: auto, kernel, bpf,\n"
    "                      userfaultfd or none\n"
    "  -f, --file PATH     transfer to a new file of this name, removed at once (default: an\n"
    "                      unnamed one in $TMPDIR, or /tmp): it chooses the file system\n"
    "      --csv FILE      write the figures of every round to FILE as well\n"
    "  -h, --help          this text\n"
    "\n"
    "Environment:\n"
    "  KDREG_DEMO_PIN      io_uring, mlock or none: pin memory this way or not at all\n"
    "  KDREG_BACKEND, KDREG_LOG   as for every program that uses libkdreg\n"
    "\n"
    "Exit status: 0 libkdreg moved no wrong data; 1 it did; 2 bad usage; 3 the cache without a\n"
    "monitor moved none either, so that nothing is shown; 4 the demonstration could not run.\n";

static bool parse_count(const char *text, uint64_t most, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    return !errno && end != text && !*end && text[strspn(text, " \t\n")] != '-' && *value <= most;
}

static bool parse_backend(const char *text, uint32_t *backend)
{
    static const struct {
        const char *name;
        uint32_t backend;
    } names[] = {
        { "auto", KDREG_BACKEND_ANY },
        { "kernel", KDREG_BACKEND_KERNEL },
        { "bpf", KDREG_BACKEND_BPF },
        { "userfaultfd", KDREG_BACKEND_USERFAULTFD },
        { "none", KDREG_BACKEND_NONE },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(text, names[i].name)) {
            *backend = names[i].backend;
            return true;
        }
    return false;
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;

    *seconds = strtod(text, &end);
    return end != text && !*end && *seconds >= 0 && *seconds <= SECONDS_MOST;
}

static bool parse_pin(const char *text, enum pin_kind *pin)
{
    for (int kind = 0; kind < PIN_KINDS; kind++)
        if (!strcmp(text, pin_kind_name((enum pin_kind)kind))) {
            *pin = (enum pin_kind)kind;
            return true;
        }
    return false;
}

int options_parse(struct options *options, int argc, char **argv)
{
    enum { SEED = 256, CSV };
    static const struct option names[] = {
        { "transfers", required_argument, NULL, 'n' }, { "seconds", required_argument, NULL, 's' },
        { "rounds", required_argument, NULL, 'r' },    { "seed", required_argument, NULL, SEED },
        { "backend", required_argument, NULL, 'b' },   { "file", required_argument, NULL, 'f' },
        { "csv", required_argument, NULL, CSV },       { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *pin = getenv("KDREG_DEMO_PIN");
    bool good = true, rounds_given = false, seconds_given = false;
    uint64_t rounds = 3;
    int option;

    *options = (struct options){ .transfers = 1000, .seconds = 6, .seed = 1, .pin = PIN_KINDS };
    while (good && (option = getopt_long(argc, argv, "n:s:r:b:f:h", names, NULL)) != -1) {
        switch (option) {
        case 'n':
            good = parse_count(optarg, 1u << 30, &options->transfers) && options->transfers;
            break;
        case 's':
            good = seconds_given = parse_seconds(optarg, &options->seconds);
            break;
        case 'r':
            good = rounds_given = parse_count(optarg, 1000000, &rounds) && rounds;
            break;
        case SEED:
            good = parse_count(optarg, UINT64_MAX, &options->seed);
            break;
        case 'b':
            good = parse_backend(optarg, &options->backend);
            break;
        case 'f':
            options->file = optarg;
            break;
        case CSV:
            options->csv = optarg;
            break;
        case 'h':
            printf(help, argv[0]);
            return OPTIONS_HELP;
        default:
            fprintf(stderr, "%s --help tells what there is\n", argv[0]);
            return OPTIONS_BAD;
        }
        if (!good)
            fprintf(stderr, "%s: '%s' will not do here; see --help\n", argv[0], optarg);
    }
    if (good && optind < argc) {
        fprintf(stderr, "%s: what is '%s' for? See --help\n", argv[0], argv[optind]);
        good = false;
    }
    if (good && pin && *pin && !parse_pin(pin, &options->pin)) {
        fprintf(stderr, "%s: KDREG_DEMO_PIN is '%s'; it can be io_uring, mlock or none\n", argv[0], pin);
        good = false;
    }
    if (rounds_given && !seconds_given)
        options->seconds = 0;
    if (seconds_given && !rounds_given)
        rounds = 1;
    options->rounds = (unsigned)rounds;
    return good ? OPTIONS_RUN : OPTIONS_BAD;
}
