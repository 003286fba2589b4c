/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The demonstration: the same transfers with no cache, with a cache that
 * nothing tells about changed memory, and with libkdreg. See options.c for
 * how to run it, workload.h for what it does.
 */
#define _GNU_SOURCE
#include "options.h"
#include "plan.h"
#include "report.h"
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The file to transfer to. It has no name any more, so that it goes away with this process. */
static int open_file(const char *path)
{
    const char *directory = getenv("TMPDIR");
    char name[4096];
    int file;

    if (path) {
        file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* never over a file of yours */
        if (file < 0)
            fprintf(stderr, "%s: %s\n", path, strerror(errno));
        else
            unlink(path);
        return file;
    }
    if (!directory || !*directory)
        directory = "/tmp";
    file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0)
        return file;
    /* Not every file system has O_TMPFILE. */
    if (snprintf(name, sizeof(name), "%s/kdreg-demo-XXXXXX", directory) >= (int)sizeof(name)) {
        fprintf(stderr, "TMPDIR is too long; name a file with --file\n");
        return -1;
    }
    file = mkostemp(name, O_CLOEXEC);
    if (file < 0)
        fprintf(stderr, "%s: %s; set TMPDIR or name a file with --file\n", name, strerror(errno));
    else
        unlink(name);
    return file;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One scene with each strategy, beginning with another one each time, so that none has the better place. */
static int run_scene(struct work *work, unsigned first, struct tally tallies[STRATEGIES])
{
    for (unsigned i = 0; i < STRATEGIES; i++) {
        unsigned which = (first + i) % STRATEGIES;
        char why[256];
        work->strategy = strategies[which];
        int ret = workload_run(work, &tallies[which], why, sizeof(why));
        if (ret < 0) {
            fprintf(stderr, "kdreg_demo: %s\n", why[0] ? why : strerror(-ret));
            return ret;
        }
    }
    return 0;
}

static int run_rounds(struct report *report, const struct options *options, struct work *work)
{
    double end = now() + options->seconds;

    for (unsigned round = 0; round < options->rounds || now() < end; round++) {
        struct tally tallies[SCENES][STRATEGIES];
        int ret = 0;

        memset(tallies, 0, sizeof(tallies));
        work->seed = options->seed + round;
        for (unsigned scene = 0; scene < SCENES; scene++) {
            work->scene = &scenes[scene];
            ret = run_scene(work, round + scene, tallies[scene]);
            if (ret < 0)
                return ret;
        }
        ret = report_round(report, tallies);
        if (ret < 0) {
            fprintf(stderr, "kdreg_demo: %s\n", strerror(-ret));
            return ret;
        }
    }
    return 0;
}

/* The rounds and the report, on an open device. Returns the exit status. */
static int run_and_report(const struct options *options, struct work *work)
{
    struct report report;
    int status, ret;

    report_plan(work->plan);
    if (ftruncate(work->file, (off_t)work->plan->file_size) < 0) {
        fprintf(stderr, "kdreg_demo: making the file %zu KiB long: %s; name another with --file\n",
                work->plan->file_size >> 10, strerror(errno));
        return EXIT_CANNOT_RUN;
    }
    ret = report_open(&report, options->csv);
    if (ret < 0) {
        fprintf(stderr, "kdreg_demo: %s: %s\n", options->csv, strerror(-ret));
        return EXIT_CANNOT_RUN;
    }
    ret = run_rounds(&report, options, work);
    status = report_close(&report, work->plan, work->monitor);
    return ret < 0 && status != EXIT_CORRUPTED ? EXIT_CANNOT_RUN : status;
}

static int demonstrate(const struct options *options, int file)
{
    uint64_t next_transfer = 1;
    struct kdreg_attr attr = { .size = sizeof(attr), .backend = options->backend };
    struct plan plan;
    struct memory memory;
    struct work work = { .plan = &plan, .memory = &memory, .file = file, .transfers = options->transfers,
                         .next_transfer = &next_transfer };
    int status = EXIT_CANNOT_RUN, ret = kdreg_open(&attr, &work.monitor);

    if (ret < 0) {
        fprintf(stderr, "kdreg_demo: this backend cannot be used: %s\n", kdreg_strerror(ret));
        report_backends(NULL);
        return status;
    }
    report_backends(work.monitor);
    printf("Memory is pinned with:\n");
    fflush(stdout);
    ret = plan_make(&plan, options->pin, file, &memory, &work.device, stdout);
    if (ret < 0) {
        fprintf(stderr, "kdreg_demo: no way to pin memory works here\n");
    } else {
        status = run_and_report(options, &work);
        if (status == EXIT_CANNOT_RUN)
            return status; /* a cache may be open still, and use the device until the process ends */
        work.device->ops->close(work.device);
        memory_close(&memory);
    }
    ret = kdreg_close(work.monitor);
    if (ret < 0) {
        fprintf(stderr, "kdreg_demo: closing the monitor: %s\n", kdreg_strerror(ret));
        status = EXIT_CANNOT_RUN;
    }
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    int file, status;

    status = options_parse(&options, argc, argv);
    if (status != OPTIONS_RUN)
        return status == OPTIONS_HELP ? EXIT_FINE : EXIT_USAGE;

    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error like any other */
    /* A huge page counts as a whole against RLIMIT_MEMLOCK, however little of it is registered. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    file = open_file(options.file);
    if (file < 0)
        return EXIT_CANNOT_RUN;
    status = demonstrate(&options, file);
    close(file);
    return status;
}
