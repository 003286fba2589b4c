/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * RMA writes between two processes, from memory that several threads keep unmapping and mapping anew at the same
 * addresses, to memory that the peer does the same with. Each transfer registers its memory with fi_mr_reg and lets go
 * of it with fi_close, so that libfabric's registration cache is what is tested; every byte is checked where it arrived.
 *
 * With -DIMPORT the program imports libkdreg itself; otherwise the environment decides on the monitor.
 */
#define _GNU_SOURCE
#include "rma.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int positive(const char *text, int most)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > most) {
        fprintf(stderr, "a number from 1 to %d is wanted, not '%s'\n", most, text);
        exit(2);
    }
    return (int)value;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        { "address", required_argument, NULL, 'a' }, { "threads", required_argument, NULL, 't' },
        { "rounds", required_argument, NULL, 'r' },  { "length", required_argument, NULL, 'l' },
        { "libc-only", no_argument, NULL, 'L' },     { "uncached", no_argument, NULL, 'U' },
        { "compare", no_argument, NULL, 'C' },       { NULL, 0, NULL, 0 },
    };
    struct options options = { .address = "10.99.0.1", .threads = 4, .rounds = 60, .length = 16384 };
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'a': options.address = optarg; break;
        case 't': options.threads = positive(optarg, MAX_THREADS); break;
        case 'r': options.rounds = positive(optarg, 1000000); break;
        case 'l': options.length = (size_t)positive(optarg, 1 << 20) / 4096 * 4096; break;
        case 'L': options.libc_only = true; break;
        case 'U': options.uncached = true; break;
        case 'C': options.compare = true; break;
        default: return 2;
        }
    }
    if (!options.length)
        options.length = 4096;
    setvbuf(stdout, NULL, _IOLBF, 0);

    int here[MAX_THREADS], there[MAX_THREADS];
    for (int i = 0; i < options.threads; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
            perror("socketpair");
            return 1;
        }
        here[i] = pair[0];
        there[i] = pair[1];
    }
    /* Before libfabric: it does not survive a fork. */
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    for (int i = 0; i < options.threads; i++)
        close(child ? there[i] : here[i]);
    if (!child)
        exit(target_run(&options, there));
    int result = initiator_run(&options, here);
    for (int i = 0; i < options.threads; i++)
        close(here[i]);
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        fprintf(stderr, "the target process did not end by itself\n");
        return 1;
    }
    return result ? result : WEXITSTATUS(status);
}
