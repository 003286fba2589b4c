/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A system call that a debugger makes another process do: on x86-64 and arm64, which INJECT_IS_THERE tells. */
#ifndef KDREG_CTEST_INJECT_H
#define KDREG_CTEST_INJECT_H

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#if defined(__x86_64__)

#define INJECT_IS_THERE 1
#define INJECT_PC rip
enum { INJECT_SIZE = 2 };

static bool inject_is_call(unsigned long text)
{
    return (text & 0xffff) == 0x050f;
}

static void inject_call(struct user_regs_struct *regs, unsigned long number, const unsigned long arguments[3])
{
    regs->rax = number;
    /* It is in no call that might be made again. */
    regs->orig_rax = (unsigned long long)-1;
    regs->rdi = arguments[0];
    regs->rsi = arguments[1];
    regs->rdx = arguments[2];
}

static long inject_result(const struct user_regs_struct *regs)
{
    return (long)regs->rax;
}

#elif defined(__aarch64__)

#define INJECT_IS_THERE 1
#define INJECT_PC pc
enum { INJECT_SIZE = 4 };

static bool inject_is_call(unsigned long text)
{
    return (text & 0xffffffff) == 0xd4000001;
}

static void inject_call(struct user_regs_struct *regs, unsigned long number, const unsigned long arguments[3])
{
    regs->regs[8] = number;
    for (int i = 0; i < 3; i++)
        regs->regs[i] = arguments[i];
}

static long inject_result(const struct user_regs_struct *regs)
{
    return (long)regs->regs[0];
}

#endif

#ifdef INJECT_IS_THERE

static bool inject_registers(pid_t child, struct user_regs_struct *regs, bool set)
{
    struct iovec all = {regs, sizeof *regs};

    return ptrace(set ? PTRACE_SETREGSET : PTRACE_GETREGSET, child, (void *)NT_PRSTATUS, &all) == 0;
}

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
    INJECT_STEP("its registers", inject_registers(child, &saved, false));
    /* The syscall instruction that it last ran, once more: back up over it. */
    unsigned long behind = (unsigned long)saved.INJECT_PC - INJECT_SIZE;
    INJECT_STEP("a system call behind it", inject_is_call((unsigned long)ptrace(PTRACE_PEEKTEXT, child, (void *)behind, 0)));
    regs = saved;
    regs.INJECT_PC = behind;
    inject_call(&regs, number, (const unsigned long[]){first, second, third});
    INJECT_STEP("other registers", inject_registers(child, &regs, true));
    /* There may be a stop or two on the way to it. */
    for (int i = 0; i < 20; i++) {
        INJECT_STEP("PTRACE_SINGLESTEP", ptrace(PTRACE_SINGLESTEP, child, 0, 0) == 0);
        INJECT_STEP("a step", waitpid(child, &status, 0) == child && WIFSTOPPED(status));
        INJECT_STEP("its registers", inject_registers(child, &regs, false));
        if (regs.INJECT_PC == saved.INJECT_PC)
            break;
    }
    INJECT_STEP("the end of the call", regs.INJECT_PC == saved.INJECT_PC);
    *result = inject_result(&regs);
    INJECT_STEP("its registers again", inject_registers(child, &saved, true));
    INJECT_STEP("PTRACE_DETACH", ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    return true;
failed:
    fprintf(stderr, "injecting call %lu into process %d: no %s: %m\n", number, (int)child, step);
    return false;
#undef INJECT_STEP
}

#endif
#endif
