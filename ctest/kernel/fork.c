/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * fork, vfork, system and exec: the parent's cache stays warm, the child gets
 * errors and never a valid region, and either may go first.
 */
#include "kt.h"

#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>

extern char **environ;

#define REGIONS 64

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;
static char *memory;  /* pinned */
static char *unmoved; /* without pages */
static struct kdreg2_monitoring_params params[REGIONS];

/* Pins the memory for as long as the descriptor is open, as a network card's
 * driver would: fork() copies pinned pages for the child. */
static int pin(char *base, size_t length)
{
    struct io_uring_params p = {0};
    struct iovec v = {base, length};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &p);

    if (ring < 0)
        return -1;
    CHECK(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &v, 1) == 0, "%m");
    return ring;
}

/* Are all the pages on the kernel's lists of pages in use? The first `count`
 * pages at `base`; true, too, where that cannot be found out. */
static bool listed(const char *base, size_t count)
{
    int map = open("/proc/self/pagemap", O_RDONLY), flags = open("/proc/kpageflags", O_RDONLY);
    bool all = true;

    for (size_t i = 0; i < count && map >= 0 && flags >= 0; i++) {
        off_t at = (off_t)((uintptr_t)base / page + i) * 8;
        uint64_t entry = 0, flag = 1 << 5; /* KPF_LRU */

        CHECK(pread(map, &entry, sizeof entry, at) == sizeof entry, "%m");
        at = (off_t)(entry & ((1ULL << 55) - 1)) * 8;
        CHECK(entry >> 63 == 0 || pread(flags, &flag, sizeof flag, at) == sizeof flag, "%m");
        all &= entry >> 63 && (flag & 1 << 5);
    }
    close(map);
    close(flags);
    return all;
}

/* The kernel does not begin to move pages that are pinned. It may have begun
 * just before, and finds out when it has taken them off its lists and out of the
 * page tables: until they are back on the lists, that is not over. */
static void settle(const char *base, size_t count)
{
    for (int i = 0; i < 1000; i++) {
        int compact = open("/proc/sys/vm/compact_memory", O_WRONLY);

        /* Every processor puts those on the lists that it holds ready for them. */
        if (compact >= 0) {
            (void)!write(compact, "1", 1);
            close(compact);
        }
        if (listed(base, count)) {
            usleep(10000);
            if (listed(base, count))
                return;
        }
        usleep(1000);
    }
    CHECK(!"pinned pages come to rest in time");
}

static void all_valid(const char *after)
{
    for (unsigned i = 0; i < REGIONS; i++)
        CHECK(!kt_changed(status, params[i]), "region %u after %s", i, after);
    CHECK(kt_active(status) == REGIONS && kt_pending(status) == 0, "after %s", after);
    kt_no_event(fd);
}

/* Everything the child can try. Returns its exit status. */
static int as_child(void)
{
    const short all = POLLERR | POLLIN | POLLOUT;
    struct kdreg2_event event;
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM};
    struct kdreg2_config_data data = {.max_regions = 3};
    struct kdreg_features features;
    struct epoll_event e = {.events = EPOLLIN};
    size_t n = status->max_regions;

    CHECK_ERRNO(kt_try_monitor(fd, memory, page, 1000, NULL), EIO);
    CHECK_ERRNO(kt_unmonitor(fd, 0, params[0]), EIO);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL), EIO);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_FLUSH), EIO);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_DUMP_STATS), EIO);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), EIO);
    CHECK_ERRNO(ioctl(fd, KDREG_IOCTL_FEATURES, &features), EIO);
    CHECK_ERRNO(read(fd, &event, sizeof event), EIO);
    CHECK(poll(&p, 1, 0) == 1, "%m");
    CHECK(p.revents == (all | POLLRDNORM | POLLWRNORM), "%#x", p.revents);
    int epoll = epoll_create1(0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0, "%m");
    CHECK(epoll_wait(epoll, &e, 1, 0) == 1 && (e.events & EPOLLERR));

    /* The inherited status pages: every word reads 0. */
    CHECK(status->version == 1);
    CHECK(kt_active(status) == 0 && kt_pending(status) == 0 && kt_total(status) == 0);
    for (size_t i = 0; i < n; i++)
        CHECK(status->monitoring_state_base[i].u.raw == 0, "word %zu", i);
    for (unsigned i = 0; i < REGIONS; i++)
        CHECK(kt_changed(status, params[i]));
    /* Its own changes are nobody's business. */
    munmap(memory, REGIONS * page);

    /* And its own descriptor works. */
    int own = kt_open();
    const struct kdreg2_status_data *mine = kt_config(own, 8);
    char *m = kt_space(page);
    struct kdreg2_monitoring_params q = kt_monitor(own, m, page, 1);
    CHECK(!kt_changed(mine, q));
    munmap(m, page);
    CHECK(kt_changed(mine, q));
    return 0;
}

static int grandchild(void *unused)
{
    (void)unused;
    return as_child();
}

static void forks(void)
{
    int pipe_fds[2];
    char c;

    /* The child does everything and exits first. */
    pid_t child = fork();
    if (child == 0)
        exit(as_child());
    CHECK(kt_wait(child) == 0);
    all_valid("fork");

    /* The parent looked at the status pages before, and a grandchild looks. */
    child = fork();
    if (child == 0) {
        pid_t next = fork();
        if (next == 0)
            exit(as_child());
        exit(kt_wait(next));
    }
    CHECK(kt_wait(child) == 0);
    all_valid("two forks");

    /* The child closes its copy; with the mapping unmapped, too. */
    child = fork();
    if (child == 0) {
        munmap((char *)status, page);
        close(fd);
        _exit(0);
    }
    CHECK(kt_wait(child) == 0);
    all_valid("close in the child");

    /* Both go on for a while. */
    CHECK(pipe(pipe_fds) == 0, "%m");
    child = fork();
    if (child == 0) {
        close(pipe_fds[1]);
        (void)!read(pipe_fds[0], &c, 1);
        exit(as_child());
    }
    all_valid("fork");
    char *other = kt_space(page);
    struct kdreg2_monitoring_params q = kt_monitor(fd, other, page, 1000);
    munmap(other, page);
    CHECK(kt_changed(status, q));
    CHECK(kt_event(fd).u.mapping_change.cookie == 1000);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    CHECK(kt_wait(child) == 0);
    all_valid("a busy parent");
}

static int in_same_memory(void *unused)
{
    struct kdreg2_monitoring_params q = {0};

    (void)unused;
    /* vfork() and CLONE_VM share the address space: they are the owner. */
    return kt_try_monitor(fd, unmoved, page, 2000, &q) || kt_changed(status, q) ||
           kt_unmonitor(fd, 2000, q);
}

static void others(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    char *arguments[] = {"true", NULL};
    pid_t child;

    child = vfork();
    if (child == 0)
        _exit(in_same_memory(NULL));
    CHECK(kt_wait(child) == 0);
    all_valid("vfork");

    child = clone(in_same_memory, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
    CHECK(child > 0, "%m");
    CHECK(kt_wait(child) == 0);
    all_valid("clone with CLONE_VM");

    child = clone(grandchild, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
    CHECK(child > 0, "%m");
    CHECK(kt_wait(child) == 0);
    all_valid("clone with CLONE_FILES");

    CHECK(system("true") == 0);
    all_valid("system");

    CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
    CHECK(kt_wait(child) == 0);
    all_valid("posix_spawn");
}

/* The image that exec() starts: the descriptor is there, but not for it. */
static int after_exec(int inherited)
{
    struct kdreg2_event event;

    CHECK_ERRNO(read(inherited, &event, sizeof event), EIO);
    CHECK_ERRNO(ioctl(inherited, KDREG2_IOCTL_FLUSH), EIO);
    CHECK(kt_poll(inherited) & POLLERR);
    CHECK_ERRNO(fcntl(inherited + 1, F_GETFD), EBADF);
    return 0;
}

static void execs(const char *self)
{
    char number[16];
    pid_t child = fork();

    if (child == 0) {
        /* One descriptor goes with exec(), the other does not. */
        int open_one = dup2(kt_open(), 100), closed_one = dup3(open_one, 101, O_CLOEXEC);

        CHECK(open_one == 100 && closed_one == 101);
        kt_config(open_one, 8);
        kt_monitor(open_one, memory, page, 1);
        snprintf(number, sizeof number, "%d", open_one);
        execl(self, self, number, NULL);
        _exit(99);
    }
    CHECK(kt_wait(child) == 0);
    all_valid("exec");
}

/* The parent goes first; the descriptor goes with the last child. */
static void parent_first(void)
{
    int alive[2], report[2];
    char c;

    CHECK(pipe(alive) == 0 && pipe(report) == 0, "%m");
    pid_t parent = fork();
    if (parent == 0) {
        int own = kt_open();

        status = kt_config(own, 4096);
        fd = own;
        for (unsigned i = 0; i < REGIONS; i++)
            params[i] = kt_monitor(own, memory + i * page, page, i);
        pid_t child = fork();
        if (child == 0) {
            close(alive[1]);
            /* Wakes when the parent is gone. */
            (void)!read(alive[0], &c, 1);
            exit(as_child() || write(report[1], "k", 1) != 1);
        }
        _exit(0);
    }
    CHECK(kt_wait(parent) == 0);
    close(alive[0]);
    close(alive[1]);
    close(report[1]);
    CHECK(read(report[0], &c, 1) == 1 && c == 'k', "the child failed");
    close(report[0]);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return after_exec(atoi(argv[1]));
    page = kt_page();
    fd = kt_open();
    status = kt_config(fd, 4096);
    memory = kt_map(REGIONS * page);
    if (pin(memory, REGIONS * page) < 0)
        kt_skip("io_uring cannot be used to pin memory here");
    settle(memory, REGIONS);
    unmoved = kt_space(page);
    for (unsigned i = 0; i < REGIONS; i++)
        params[i] = kt_monitor(fd, memory + i * page, page, i);
    for (int i = 0; i < 3; i++) {
        forks();
        others();
        execs(argv[0]);
        parent_first();
        /* Written to after all these forks: pinned pages are not replaced. */
        memset(memory, i, REGIONS * page);
        all_valid("writing after fork");
    }
    return 0;
}
