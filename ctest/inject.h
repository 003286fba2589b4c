/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A system call that a debugger makes another process do. x86-64 only. */
#ifndef KDREG_CTEST_INJECT_H
#define KDREG_CTEST_INJECT_H

#ifdef __x86_64__

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

/* Has a child that stopped itself with raise(SIGSTOP) make a call, then lets it go on from there. Stores what the call returned. */
static bool inject(pid_t child, unsigned long number, unsigned long first, unsigned long second, unsigned long third, long *result)
{
    struct user_regs_struct saved, regs;
    int status;
    const char *step;
#define INJECT_STEP(what, holds) if (step = (what), !(holds)) goto failed
    INJECT_STEP("its stop", waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    INJECT_STEP("PTRACE_SEIZE", ptrace(PTRACE_SEIZE, child, 0, 0) == 0);
    INJECT_STEP("PTRACE_INTERRUPT", ptrace(PTRACE_INTERRUPT, child, 0, 0) == 0);
    kill(child, SIGCONT);
    INJECT_STEP("the interrupt", waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    INJECT_STEP("PTRACE_GETREGS", ptrace(PTRACE_GETREGS, child, 0, &saved) == 0);
    /* The syscall instruction that it last ran, once more: back up over it. */
    long text = ptrace(PTRACE_PEEKTEXT, child, (void *)(saved.rip - 2), 0);
    INJECT_STEP("a syscall instruction behind it", (text & 0xffff) == 0x050f);
    regs = saved;
    regs.rip = saved.rip - 2;
    regs.rax = number;
    regs.orig_rax = (unsigned long long)-1;
    regs.rdi = first;
    regs.rsi = second;
    regs.rdx = third;
    INJECT_STEP("PTRACE_SETREGS", ptrace(PTRACE_SETREGS, child, 0, &regs) == 0);
    /* There may be a stop or two on the way to it. */
    for (int i = 0; i < 20; i++) {
        INJECT_STEP("PTRACE_SINGLESTEP", ptrace(PTRACE_SINGLESTEP, child, 0, 0) == 0);
        INJECT_STEP("a step", waitpid(child, &status, 0) == child && WIFSTOPPED(status));
        INJECT_STEP("PTRACE_GETREGS", ptrace(PTRACE_GETREGS, child, 0, &regs) == 0);
        if (regs.rip == saved.rip)
            break;
    }
    INJECT_STEP("the end of the call", regs.rip == saved.rip);
    *result = (long)regs.rax;
    INJECT_STEP("PTRACE_SETREGS", ptrace(PTRACE_SETREGS, child, 0, &saved) == 0);
    INJECT_STEP("PTRACE_DETACH", ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    return true;
failed:
    fprintf(stderr, "injecting call %lu into process %d: no %s: %m\n", number, (int)child, step);
    return false;
#undef INJECT_STEP
}

#endif
#endif
