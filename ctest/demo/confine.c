/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Runs a program with less than it may have now:
 *
 *     confine [--nobody] [--memlock KIB] [--no-io-uring] PROGRAM [ARGUMENT]...
 *
 * Exits with 77 (a skipped test) where it cannot confine that way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif

#define NOBODY 65534
#define SKIP 77

static int skip(const char *what)
{
    fprintf(stderr, "skipped: %s: %s\n", what, strerror(errno));
    return SKIP;
}

static int refuse_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
    int at = 1;
    int nobody = 0, no_io_uring = 0;
    long memlock = -1;

    for (; at < argc && !strncmp(argv[at], "--", 2); at++) {
        if (!strcmp(argv[at], "--nobody"))
            nobody = 1;
        else if (!strcmp(argv[at], "--no-io-uring"))
            no_io_uring = 1;
        else if (!strcmp(argv[at], "--memlock") && at + 1 < argc)
            memlock = atol(argv[++at]);
        else
            break;
    }
    if (at >= argc || !strncmp(argv[at], "--", 2)) {
        fprintf(stderr, "usage: confine [--nobody] [--memlock KIB] [--no-io-uring] PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    if (memlock >= 0) {
        struct rlimit limit = { (rlim_t)memlock * 1024, (rlim_t)memlock * 1024 };
        if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
            return skip("setrlimit");
    }
    if (nobody) {
        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
            return skip("becoming nobody");
        if (access(argv[at], X_OK) < 0) {
            fprintf(stderr, "%s, as seen by nobody: ", argv[at]);
            return skip("the build directory must be open to all users for this test");
        }
    }
    if (no_io_uring && refuse_io_uring() < 0)
        return skip("seccomp");
    execv(argv[at], argv + at);
    fprintf(stderr, "%s: %s\n", argv[at], strerror(errno));
    return 2;
}
