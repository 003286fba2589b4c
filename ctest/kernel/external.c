/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Changes made from outside of the process: seen just the same. What is no
 * change is tried again where the kernel was seen to move the pages meanwhile.
 */
#include "kt.h"
#include "../inject.h"

#include <signal.h>
#include <sys/uio.h>

#define ATTEMPTS 50

static size_t page;

/* What both processes see. */
struct shared {
    int fd_file;
    void *address;
    unsigned step;  /* written by the outside */
    unsigned reply; /* written by the process: bits of what it saw */
    unsigned ready;
};

static struct shared *shared;

static void wait_for(unsigned *value, unsigned wanted)
{
    for (int i = 0; i < 100000; i++) {
        if (__atomic_load_n(value, __ATOMIC_ACQUIRE) == wanted)
            return;
        usleep(100);
    }
    CHECK(!"in time");
}

/* The process whose memory is being changed. Answers each step with whether
 * its region was still valid, then monitors it anew. */
static int victim(int file)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 64);
    char *memory = file >= 0 ? mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                             : kt_map(2 * page);

    CHECK(memory != MAP_FAILED, "%m");
    shared->address = memory;
    for (unsigned step = 1;; step++) {
        CHECK(file < 0 || ftruncate(file, (off_t)(2 * page)) == 0, "%m");
        memset(memory, 1, 2 * page);
        struct kdreg2_monitoring_params p = kt_monitor(fd, memory, 2 * page, step);
        __atomic_store_n(&shared->ready, step, __ATOMIC_RELEASE);
        wait_for(&shared->step, step);
        bool changed = kt_changed(status, p);
        if (changed)
            CHECK(kt_event(fd).u.mapping_change.cookie == step);
        else
            CHECK(kt_unmonitor(fd, step, p) == 0, "%m");
        /* It may have changed in between. */
        CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
        __atomic_store_n(&shared->reply, step << 1 | changed, __ATOMIC_RELEASE);
    }
}

/* The call was made: does the process see it? */
static bool noticed(unsigned step)
{
    __atomic_store_n(&shared->step, step, __ATOMIC_RELEASE);
    for (int i = 0; i < 100000; i++) {
        unsigned reply = __atomic_load_n(&shared->reply, __ATOMIC_ACQUIRE);

        if (reply >> 1 == step)
            return reply & 1;
        usleep(100);
    }
    CHECK(!"an answer in time");
    return false;
}

/* Whether the call leaves the region valid, in one of many attempts: what
 * happens in the others is the kernel's own doing. Each is a step. */
static bool leaves_valid(unsigned *step, void (*call)(int), int argument)
{
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        wait_for(&shared->ready, *step);
        call(argument);
        if (!noticed((*step)++))
            return true;
    }
    return false;
}

static pid_t start(int file)
{
    pid_t child = fork();

    CHECK(child >= 0, "%m");
    if (child == 0)
        _exit(victim(file));
    return child;
}

static void stop(pid_t child)
{
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child, "%m");
    memset(shared, 0, sizeof *shared);
}

/* Whether a page of another process is in swap. */
static bool swapped(pid_t process, const void *address)
{
    char name[64];
    uint64_t entry = 0;

    snprintf(name, sizeof name, "/proc/%d/pagemap", process);
    int file = open(name, O_RDONLY);
    CHECK(file >= 0, "%m");
    CHECK(pread(file, &entry, sizeof entry, (off_t)((uintptr_t)address / page * sizeof entry)) ==
              sizeof entry,
          "%m");
    close(file);
    return entry >> 62 & 1;
}

static void cool(int pidfd)
{
    struct iovec v = {shared->address, 2 * page};

    CHECK(syscall(SYS_process_madvise, pidfd, &v, 1, MADV_COLD, 0) == (long)(2 * page), "%m");
}

static void by_madvise(void)
{
    unsigned step = 1;
    pid_t child = start(-1);
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    bool out = false;

    CHECK(pidfd >= 0, "%m");
    CHECK(leaves_valid(&step, cool, pidfd), "MADV_COLD does not change the mapping");

    wait_for(&shared->ready, step);
    struct iovec v = {shared->address, 2 * page};
    for (int i = 0; i < 100 && !out; i++) {
        /* Pages that have only just been added cannot be paged out until
         * every processor has handed in its list of them. */
        int compact = open("/proc/sys/vm/compact_memory", O_WRONLY);

        if (compact >= 0) {
            (void)!write(compact, "1", 1);
            close(compact);
        }
        CHECK(syscall(SYS_process_madvise, pidfd, &v, 1, MADV_PAGEOUT, 0) == (long)(2 * page),
              "%m");
        out = swapped(child, shared->address) || swapped(child, (char *)shared->address + page);
    }
    bool seen = noticed(step);
    printf("MADV_PAGEOUT by another process: %s, %s\n", out ? "paged out" : "nothing paged out",
           seen ? "seen" : "not seen");
    CHECK(seen || !out);
    close(pidfd);
    stop(child);
}

static void allocate_behind(int file)
{
    CHECK(fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)(2 * page), (off_t)page) == 0, "%m");
}

static void by_file(void)
{
    unsigned step = 3;

    int file = memfd_create("kdreg", 0);

    CHECK(file >= 0, "%m");
    pid_t child = start(file);
    wait_for(&shared->ready, 1);
    CHECK(ftruncate(file, 0) == 0, "%m");
    CHECK(noticed(1), "ftruncate by another process");
    wait_for(&shared->ready, 2);
    CHECK(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page) == 0, "%m");
    CHECK(noticed(2), "hole punched by another process");
    CHECK(leaves_valid(&step, allocate_behind, file), "allocation behind the region");
    stop(child);
    close(file);
}

/* A debugger makes the process call munmap. */
static void by_debugger(void)
{
#ifdef INJECT_IS_THERE
    long result;
    pid_t child = fork();
    if (child == 0) {
        int fd = kt_open();
        const struct kdreg2_status_data *data = kt_config(fd, 8);
        char *memory = kt_map(page);
        struct kdreg2_monitoring_params p = kt_monitor(fd, memory, page, 1);

        shared->address = memory;
        raise(SIGSTOP);
        _exit(kt_changed(data, p) ? 42 : 1);
    }
    /* Where its memory is, it says before it stops. */
    siginfo_t stopped;
    CHECK(waitid(P_PID, (id_t)child, &stopped, WSTOPPED | WNOWAIT) == 0, "%m");
    CHECK(inject(child, SYS_munmap, (unsigned long)shared->address, page, 0, &result));
    CHECK(result == 0, "munmap returned %ld", result);
    CHECK(kt_wait(child) == 42, "munmap by a debugger was not noticed");
    memset(shared, 0, sizeof *shared);
#endif
}

int main(void)
{
    page = kt_page();
    shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED, "%m");
    by_file();
    by_madvise();
    by_debugger();
    return 0;
}
