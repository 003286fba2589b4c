/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every way to have the kernel make a change: each of them passes by some interposer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef MATRIX_STATIC
#include <dlfcn.h>
#endif

#include "../../tools/newer/newer.h"
#include "matrix.h"

static bool always(void)
{
    return true;
}

static long or_errno(long result)
{
    return result == -1 ? -errno : result;
}

/* No libc function in between, not even syscall(). */
long call_raw(const struct call *call)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = call->args[3];
    register long r8 __asm__("r8") = call->args[4];
    register long r9 __asm__("r9") = call->args[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(call->number), "D"(call->args[0]), "S"(call->args[1]), "d"(call->args[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = call->number;
    register long x0 __asm__("x0") = call->args[0];
    register long x1 __asm__("x1") = call->args[1];
    register long x2 __asm__("x2") = call->args[2];
    register long x3 __asm__("x3") = call->args[3];
    register long x4 __asm__("x4") = call->args[4];
    register long x5 __asm__("x5") = call->args[5];
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
    return or_errno(syscall(call->number, call->args[0], call->args[1], call->args[2], call->args[3], call->args[4], call->args[5]));
#endif
}

/* The functions a program would call; the second copy of the C library brings its own. */
struct functions {
    int (*munmap)(void *, size_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    int (*madvise)(void *, size_t, int);
    int (*mprotect)(void *, size_t, int);
};
static const struct functions own = {munmap, mmap, mremap, madvise, mprotect};

static long by_functions(const struct functions *use, const struct call *call)
{
    const long *a = call->args;
    void *address = (void *)a[0];
    void *mapped;
    switch (call->number) {
    case SYS_munmap:
        return or_errno(use->munmap(address, (size_t)a[1]));
    case SYS_mmap:
        mapped = use->mmap(address, (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], (off_t)a[5]);
        return mapped == MAP_FAILED ? -errno : (long)mapped;
    case SYS_mremap:
        mapped = use->mremap(address, (size_t)a[1], (size_t)a[2], (int)a[3], (void *)a[4]);
        return mapped == MAP_FAILED ? -errno : (long)mapped;
    case SYS_madvise:
        return or_errno(use->madvise(address, (size_t)a[1], (int)a[2]));
    case SYS_mprotect:
        return or_errno(use->mprotect(address, (size_t)a[1], (int)a[2]));
    default:
        return -ENOSYS;
    }
}

static long by_libc(const struct call *call)
{
    const long *a = call->args;
    void *address = (void *)a[0];
    long result = by_functions(&own, call);
    if (result != -ENOSYS)
        return result;
    switch (call->number) {
    case SYS_pkey_mprotect:
        return or_errno(pkey_mprotect(address, (size_t)a[1], (int)a[2], (int)a[3]));
    case SYS_brk:
        return brk(address) ? -errno : a[0];
    case SYS_shmdt:
        return or_errno(shmdt(address));
    case SYS_shmat: {
        void *attached = shmat((int)a[0], (void *)a[1], (int)a[2]);
        return attached == (void *)-1 ? -errno : (long)attached;
    }
    case SYS_ftruncate:
        return or_errno(ftruncate((int)a[0], (off_t)a[1]));
    case SYS_fallocate:
        return or_errno(fallocate((int)a[0], (int)a[1], (off_t)a[2], (off_t)a[3]));
    case SYS_remap_file_pages:
        return or_errno(remap_file_pages(address, (size_t)a[1], (int)a[2], (size_t)a[3], (int)a[4]));
    case SYS_ioctl:
        return or_errno(ioctl((int)a[0], (unsigned long)a[1], a[2]));
    case SYS_mlock:
        return or_errno(mlock(address, (size_t)a[1]));
    case SYS_munlock:
        return or_errno(munlock(address, (size_t)a[1]));
    case SYS_msync:
        return or_errno(msync(address, (size_t)a[1], (int)a[2]));
    default:
        return -ENOSYS;
    }
}

static long make_libc(const struct call *call, void (*observe)(void))
{
    long result = call->function ? call->function(call) : by_libc(call);
    observe();
    return result;
}

static long make_raw(const struct call *call, void (*observe)(void))
{
    long result = call_raw(call);
    observe();
    return result;
}

struct errand {
    const struct call *call;
    void (*observe)(void);
    long result;
};

static void *run_errand(void *argument)
{
    struct errand *errand = argument;
    errand->result = make_libc(errand->call, errand->observe);
    return NULL;
}

static long make_thread(const struct call *call, void (*observe)(void))
{
    struct errand errand = {call, observe, -ENOSYS};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run_errand, &errand);
    if (error)
        return -error;
    pthread_join(thread, NULL);
    return errand.result;
}

/* Another process that shares this address space, as vfork()'s child does. */
static int run_in_sharer(void *argument)
{
    struct errand *errand = argument;
    errand->result = call_raw(errand->call);
    return 0;
}

static long make_sharer(const struct call *call, void (*observe)(void))
{
    static _Alignas(16) char stack[64 << 10];
    struct errand errand = {call, NULL, -ENOSYS};
    pid_t child = clone(run_in_sharer, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &errand);
    observe();
    if (child < 0)
        return -errno;
    int status;
    waitpid(child, &status, 0);
    return errand.result;
}

static long make_process_madvise(const struct call *call, void (*observe)(void))
{
    if (call->number != SYS_madvise)
        return -ENOSYS;
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0)
        return -errno;
    struct iovec range = {(void *)call->args[0], (size_t)call->args[1]};
    long result = or_errno(syscall(SYS_process_madvise, self, &range, 1L, call->args[2], 0L));
    observe();
    close(self);
    return result == (long)range.iov_len ? 0 : result < 0 ? result : -EAGAIN;
}

/* The smallest io_uring: one entry, one request at a time. */
static int ring_submit(const struct io_uring_sqe *request, void (*observe)(void), long *result)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring < 0)
        return -errno;
    size_t rings = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), submits = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    if (submits > rings)
        rings = submits;
    if (!(params.features & IORING_FEAT_SINGLE_MMAP)) {
        close(ring);
        return -ENOSYS;
    }
    char *shared = mmap(NULL, rings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entries = mmap(NULL, sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
    int error = -ENOMEM;
    if (shared != MAP_FAILED && entries != MAP_FAILED) {
        entries[0] = *request;
        ((unsigned *)(void *)(shared + params.sq_off.array))[0] = 0;
        atomic_store((_Atomic unsigned *)(void *)(shared + params.sq_off.tail), 1);
        long entered = syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        observe();
        error = entered == 1 ? 0 : -errno;
        if (!error)
            *result = ((struct io_uring_cqe *)(void *)(shared + params.cq_off.cqes))->res;
    }
    if (shared != MAP_FAILED)
        munmap(shared, rings);
    if (entries != MAP_FAILED)
        munmap(entries, sizeof *entries);
    close(ring);
    return error;
}

static long make_ring(const struct call *call, void (*observe)(void))
{
    struct io_uring_sqe request;
    memset(&request, 0, sizeof request);
    switch (call->number) {
    case SYS_madvise:
        request.opcode = IORING_OP_MADVISE;
        request.addr = (uint64_t)call->args[0];
        request.len = (uint32_t)call->args[1];
        request.fadvise_advice = (uint32_t)call->args[2];
        break;
    case SYS_fallocate:
        request.opcode = IORING_OP_FALLOCATE;
        request.fd = (int)call->args[0];
        request.len = (uint32_t)call->args[1];
        request.off = (uint64_t)call->args[2];
        request.addr = (uint64_t)call->args[3];
        break;
    case SYS_ftruncate:
        request.opcode = NEWER_IORING_OP_FTRUNCATE;
        request.fd = (int)call->args[0];
        request.off = (uint64_t)call->args[1];
        break;
    default:
        return -ENOSYS;
    }
    long result = -ENOSYS;
    int error = ring_submit(&request, observe, &result);
    return error ? error : result;
}

#ifndef MATRIX_STATIC
/* A copy of the C library of its own: what dlmopen, audit modules and some launchers bring into a process. */
static long make_second_libc(const struct call *call, void (*observe)(void))
{
    static struct functions second;
    if (!second.munmap) {
        void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
        if (!library)
            return -ENOSYS;
        *(void **)&second.munmap = dlsym(library, "munmap");
        *(void **)&second.mmap = dlsym(library, "mmap");
        *(void **)&second.mremap = dlsym(library, "mremap");
        *(void **)&second.madvise = dlsym(library, "madvise");
        *(void **)&second.mprotect = dlsym(library, "mprotect");
        if (!second.munmap || !second.mmap || !second.mremap || !second.madvise || !second.mprotect)
            return -ENOSYS;
    }
    errno = EINVAL;   /* that library's is its own: any error reads as the last of ours, and 0 would be none */
    long result = by_functions(&second, call);
    observe();
    return result < 0 && result != -ENOSYS ? -EINVAL : result;
}
#endif

const struct way ways[] = {
    {"libc", true, make_libc, always},
    {"raw syscall", true, make_raw, always},
    {"other thread", true, make_thread, always},
    {"sharing process", true, make_sharer, always},
    {"process_madvise", false, make_process_madvise, always},
    {"io_uring", false, make_ring, always},
#ifndef MATRIX_STATIC
    {"second libc", false, make_second_libc, always},
#endif
};
const int way_count = (int)(sizeof ways / sizeof *ways);
_Static_assert(sizeof ways / sizeof *ways <= MAX_WAYS, "MAX_WAYS is too small");
