/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A sandbox that is entered after the library was opened: a filter refuses some system call to every thread. Nothing is valid any more, nobody
   hangs, and what does not need the call goes on. Each in a process of its own. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "check.h"
#include "plain.h"

enum { LIMIT = 120, LENGTH = 65536 };

struct refused {
    const char *name;
    int numbers[3]; /* -1: none */
    int error;
    bool lost; /* the handler cannot go on without */
};

static const struct refused all[] = {
    {"ioctl (EPERM)", {SYS_ioctl, -1, -1}, EPERM, true},
    {"ioctl (ENOSYS)", {SYS_ioctl, -1, -1}, ENOSYS, true},
    {"ioctl (ENOTTY)", {SYS_ioctl, -1, -1}, ENOTTY, true},
    {"ioctl (EINVAL)", {SYS_ioctl, -1, -1}, EINVAL, true},
    {"ioctl and fstat", {SYS_ioctl, SYS_fstat, SYS_newfstatat}, EPERM, true},
#ifdef SYS_poll
    {"poll (EPERM)", {SYS_poll, SYS_ppoll, -1}, EPERM, true},
    {"poll (EINTR)", {SYS_poll, SYS_ppoll, -1}, EINTR, true},
#endif
    {"read (EPERM)", {SYS_read, -1, -1}, EPERM, true},
    {"read (EAGAIN)", {SYS_read, -1, -1}, EAGAIN, true},
    {"read (EINTR)", {SYS_read, -1, -1}, EINTR, true},
    {"write", {SYS_write, SYS_writev, -1}, EPERM, false},
    {"futex", {SYS_futex, -1, -1}, EPERM, false},
    {"membarrier", {SYS_membarrier, -1, -1}, EPERM, false},
    {"sched_yield and sleeping", {SYS_sched_yield, SYS_nanosleep, SYS_clock_nanosleep}, EPERM, false},
    {"close", {SYS_close, -1, -1}, EPERM, false},
    {"ioctl and close", {SYS_ioctl, SYS_close, -1}, EPERM, true},
};

static void refuse(const struct refused *refused)
{
    struct sock_filter filter[8];
    unsigned short length = 0;
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < 3; i++)
        if (refused->numbers[i] >= 0) {
            filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused->numbers[i], 0, 1);
            filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refused->error);
        }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {length, filter};
    REQUIRE(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
        _exit(CHECK_SKIPPED);
}

static char *memory, *other;
static atomic_int step;

/* Waits by looking: what else one waits with may be refused. */
static void await(int wanted)
{
    while (atomic_load(&step) < wanted)
        for (volatile int i = 0; i < 1000; i++)
            ;
}

static void *change(void *unused)
{
    await(1);
    syscall(SYS_munmap, memory, LENGTH);
    atomic_store(&step, 2);
    await(3);
    syscall(SYS_munmap, other, LENGTH);
    atomic_store(&step, 4);
    return unused;
}

static char *fresh(void)
{
    char *made = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(made != MAP_FAILED, "memory");
    memset(made, 1, LENGTH);
    return made;
}

static void in_sandbox(const struct refused *refused)
{
    /* A page of another kind between, so that the two are mappings of their own. */
    memory = fresh();
    mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    other = fresh();
    kdreg_t *monitor;
    kdreg_cache_t *cache;
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    struct kdreg_region region, still;
    kdreg_entry_t *entry = NULL;
    REQUIRE(!kdreg_open(NULL, &monitor) && !kdreg_cache_create(monitor, &attr, &cache), "a monitor and a cache");
    if (!strcmp(kdreg_backend_name(monitor), "none"))
        _exit(CHECK_SKIPPED);
    bool handler = !strcmp(kdreg_backend_name(monitor), "userfaultfd");
    REQUIRE(!kdreg_monitor(monitor, memory, LENGTH, 1, &region) && !kdreg_monitor(monitor, other, LENGTH, 2, &still), "regions");
    REQUIRE(!kdreg_cache_get(cache, memory, LENGTH, KDREG_ACCESS_READ, &entry) && !kdreg_cache_put(cache, entry), "an entry");
    pthread_t thread;
    REQUIRE(!pthread_create(&thread, NULL, change, NULL), "a thread");
    refuse(refused);
    atomic_store(&step, 1);
    await(2);
    if (kdreg_valid(&region))
        _exit(2);
    if (kdreg_cache_find(cache, memory, LENGTH, KDREG_ACCESS_READ, &entry) == 0)
        _exit(3);
    /* The handler finds out when it next makes the call. What has not changed may be valid until then. */
    while (handler && refused->lost && kdreg_valid(&still))
        ;
    /* Registers, cached or not. */
    if (kdreg_cache_get(cache, other, LENGTH, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry))
        _exit(5);
    atomic_store(&step, 3);
    await(4);
    if (kdreg_valid(&still) || kdreg_cache_find(cache, other, LENGTH, KDREG_ACCESS_READ, &entry) == 0)
        _exit(6);
    kdreg_cache_flush(cache);
    _exit(0);
}

int main(void)
{
    int skipped = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            alarm(LIMIT);
            in_sandbox(&all[i]);
        }
        int status;
        REQUIRE(waitpid(child, &status, 0) == child, "the child ends");
        bool skips = WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIPPED;
        skipped += skips;
        printf("  without %s: %s\n", all[i].name, skips ? "skipped" : "ended");
        CHECK(skips || (WIFEXITED(status) && !WEXITSTATUS(status)), "without %s: %s %d", all[i].name,
              WIFEXITED(status) ? "failed at step" : "hung or was ended by signal",
              WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
    if (skipped == sizeof all / sizeof *all) {
        puts("skipped: no filter can be installed here, or nothing is watched");
        return CHECK_SKIPPED;
    }
    return check_result("sandboxed");
}
