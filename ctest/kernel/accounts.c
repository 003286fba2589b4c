/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the descriptors of one user make the kernel allocate has a limit, for
 * slots and for state words, in any number of processes; others do not notice;
 * and it is given back when the process ends, whoever still has the descriptor.
 */
#include "fdinfo.h"

#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

enum { HOSTILE = 64001, VICTIM = 64002, BATCH = 4096, SLOTS = 1 << 20 };

static size_t page;

static void become(uid_t user)
{
    CHECK(setgroups(0, NULL) == 0 && setresgid(user, user, user) == 0 &&
              setresuid(user, user, user) == 0, "%m");
}

static long info(pid_t pid, int fd, const char *wanted)
{
    long found = kt_fdinfo(pid, fd, wanted);

    CHECK(found >= 0, "no %s", wanted);
    return found;
}

static long used(pid_t pid, int fd) { return info(pid, fd, "kdreg-user-memory"); }

/* Monitors up to `regions` of a descriptor; returns how many, and in *error why no more. */
static size_t fill(int fd, size_t regions, int *error)
{
    static struct kdreg_monitor_entry entries[BATCH];
    size_t made = 0;

    *error = 0;
    while (made < regions && *error == 0) {
        uint32_t n = regions - made < BATCH ? (uint32_t)(regions - made) : BATCH;
        struct kdreg_batch batch = {.entries = (uintptr_t)entries, .count = n};

        for (uint32_t i = 0; i < n; i++)
            entries[i] = (struct kdreg_monitor_entry){
                .addr = (uintptr_t)&page, .length = 1, .cookie = made + i};
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        for (uint32_t i = 0; i < n && *error == 0; i++) {
            *error = -entries[i].status;
            made += entries[i].status == 0;
        }
    }
    return made;
}

/* An open and configured descriptor, or why not. */
static int open_one(size_t slots, const struct kdreg2_status_data **status)
{
    int fd = open(KDREG_DEVICE_NAME, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct kdreg2_config_data data = {.max_regions = slots};

    if (fd < 0)
        return -1;
    if (ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data) != 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    if (status)
        *status = data.status_data;
    return fd;
}

static volatile sig_atomic_t stopped;

static void on_bus_error(int number)
{
    (void)number;
    _exit(stopped ? 7 : 8);
}

/* Reads a word of each page of states; beyond the limit there is none. */
static void touch(const struct kdreg2_status_data *status)
{
    for (size_t i = 0; i < status->max_regions; i += page / sizeof(uint32_t))
        (void)*(volatile const uint32_t *)&status->monitoring_state_base[i].u.raw;
}

struct report {
    long limit, most;
    size_t regions, descriptors;
    int error;
};

/* The hostile user takes what there is: regions, descriptors, or state words. Stays until told. */
static pid_t take(char what, struct report *report, int *go)
{
    int told[2], gone[2];
    pid_t child;

    CHECK(pipe(told) == 0 && pipe(gone) == 0, "%m");
    child = fork();
    if (child == 0) {
        struct report r = {0};
        int fds[8192];
        size_t n = 0;
        char c;

        close(gone[1]);
        become(HOSTILE);
        for (;;) {
            const struct kdreg2_status_data *status;
            int fd = open_one(what == 'd' ? 16 : SLOTS, &status);

            if (fd < 0) {
                r.error = errno;
                /* Where there is much memory: to ask takes a descriptor too. */
                if (r.error == EMFILE)
                    close(fds[--n]);
                break;
            }
            fds[n++] = fd;
            if (n == 1)
                r.limit = info(0, fds[0], "kdreg-user-memory-limit");
            if (what == 'r') {
                r.regions += fill(fd, SLOTS, &r.error);
                if (r.error)
                    break;
            } else if (what == 'w') {
                /* What is touched beyond the limit is a bus error: not here. */
                if (used(0, fds[0]) + 6 * (4L << 20) > r.limit)
                    break;
                touch(status);
            }
        }
        r.descriptors = n;
        r.most = used(0, fds[0]);
        CHECK(write(told[1], &r, sizeof r) == sizeof r);
        (void)!read(gone[0], &c, 1);
        _exit(0);
    }
    close(told[1]);
    close(gone[0]);
    CHECK(read(told[0], report, sizeof *report) == sizeof *report, "the hostile process failed");
    close(told[0]);
    *go = gone[1];
    return child;
}

/* Somebody else does what he always does. */
static void victim(void)
{
    pid_t child = fork();

    if (child == 0) {
        int error;

        become(VICTIM);
        int fd = open_one(SLOTS, NULL);
        CHECK(fd >= 0, "%m");
        CHECK(fill(fd, 5000, &error) == 5000, "%s", strerror(error));
        _exit(0);
    }
    CHECK(kt_wait(child) == 0, "another user was hindered");
}

/* The same user in another process finds nothing left. */
static void same_user(size_t slots)
{
    pid_t child = fork();

    if (child == 0) {
        int error = 0;

        become(HOSTILE);
        int fd = open_one(slots, NULL);
        CHECK(fd < 0 || fill(fd, slots, &error) < slots, "a limit for each process");
        _exit(0);
    }
    CHECK(kt_wait(child) == 0);
}

/* Bytes of the hostile user, with one descriptor to ask by: `most` at most, sooner or later,
 * as a process may be held for a moment longer than it lives. */
static long used_at_last(long most)
{
    int told[2];
    long now = LONG_MAX;
    pid_t child;

    CHECK(pipe(told) == 0, "%m");
    child = fork();
    if (child == 0) {
        become(HOSTILE);
        int fd = open_one(16, NULL);

        CHECK(fd >= 0, "%m");
        for (int i = 0; i < 3000 && now > most; i++) {
            if (i)
                usleep(10000);
            now = used(0, fd);
        }
        CHECK(write(told[1], &now, sizeof now) == sizeof now);
        _exit(0);
    }
    CHECK(read(told[0], &now, sizeof now) == sizeof now, "%m");
    CHECK(kt_wait(child) == 0);
    close(told[0]);
    close(told[1]);
    return now;
}

static void all_given_back(void)
{
    long now = used_at_last(64 << 10);

    CHECK(now <= 64 << 10, "%ld bytes were not given back", now);
}

static void limited(char what)
{
    struct report r;
    int go;
    pid_t child = take(what, &r, &go);

    printf("%c: %ld of %ld bytes, %zu regions, %zu descriptors, then %s\n", what, r.most, r.limit,
           r.regions, r.descriptors, r.error ? strerrorname_np(r.error) : "enough");
    CHECK(r.most <= r.limit);
    if (what != 'w') {
        CHECK(r.error == ENOSPC || (what == 'd' && r.error == EMFILE), "%s", strerror(r.error));
    }
    victim();
    if (r.error == ENOSPC)
        same_user(SLOTS);
    close(go);
    CHECK(kt_wait(child) == 0);
    all_given_back();
}

/* Words that would go beyond the limit are not there, and neither is more memory. */
static void words_beyond(void)
{
    pid_t child = fork();

    if (child == 0) {
        become(HOSTILE);
        signal(SIGBUS, on_bus_error);
        for (;;) {
            const struct kdreg2_status_data *status;
            int fd = open_one(SLOTS, &status);

            if (fd < 0)
                _exit(errno == ENOSPC ? 7 : 9);
            CHECK(used(0, fd) <= info(0, fd, "kdreg-user-memory-limit"));
            stopped = 1;
            touch(status);
        }
    }
    CHECK(kt_wait(child) == 7);
    all_given_back();
}

/* A child, of another user at that, has the descriptor; its process is gone. */
static void inherited(void)
{
    int told[2];
    pid_t parent, heir;
    long during;
    int error;

    CHECK(pipe(told) == 0, "%m");
    parent = fork();
    if (parent == 0) {
        become(HOSTILE);
        const struct kdreg2_status_data *status;
        int fd = open_one(SLOTS, &status);

        CHECK(fd == 7 || dup2(fd, 7) == 7, "%m");
        CHECK(fill(7, 100000, &error) == 100000, "%s", strerror(error));
        touch(status);
        during = used(0, 7);
        heir = fork();
        if (heir == 0) {
            pause();
            _exit(0);
        }
        CHECK(write(told[1], &heir, sizeof heir) == sizeof heir);
        CHECK(write(told[1], &during, sizeof during) == sizeof during);
        pause();
    }
    CHECK(read(told[0], &heir, sizeof heir) == sizeof heir, "%m");
    CHECK(read(told[0], &during, sizeof during) == sizeof during, "%m");
    CHECK(during > 100000 * 64 + (4 << 20), "%ld bytes", during);
    kill(parent, SIGKILL);
    CHECK(waitpid(parent, NULL, 0) == parent, "%m");
    long after = during;
    for (int i = 0; i < 3000 && after > (64 << 10); i++) {
        if (i)
            usleep(10000);
        after = used(heir, 7);
    }
    printf("inherited: %ld bytes with the process alive, %ld after it died\n", during, after);
    CHECK(after <= 64 << 10);
    kill(heir, SIGKILL);
    all_given_back();
}

/* Nobody has the descriptor, a child has its mapping. That keeps what it takes to
 * show it, and the structure of an address space; which is charged for. */
static void mapped(void)
{
    enum { STRUCTURE = 16 << 10 };
    long before = used_at_last(64 << 10), after;
    int told[2];
    pid_t parent, heir, closed[2];

    CHECK(pipe(told) == 0, "%m");
    parent = fork();
    if (parent == 0) {
        become(HOSTILE);
        const struct kdreg2_status_data *status;
        int fd = open_one(SLOTS, &status);

        CHECK(fd >= 0, "%m");
        touch(status);
        heir = fork();
        close(fd);
        if (heir == 0)
            heir = getpid();
        else
            heir = 0;
        CHECK(write(told[1], &heir, sizeof heir) == sizeof heir);
        pause();
        _exit(0);
    }
    /* Both have closed it, and only then the parent ends. */
    CHECK(read(told[0], &closed[0], sizeof heir) == sizeof heir &&
              read(told[0], &closed[1], sizeof heir) == sizeof heir, "%m");
    heir = closed[0] + closed[1];
    kill(parent, SIGKILL);
    CHECK(waitpid(parent, NULL, 0) == parent, "%m");
    after = used_at_last(before + (64 << 10));
    printf("mapped: %ld bytes more with the mapping alone\n", after - before);
    CHECK(after <= before + (64 << 10));
    CHECK(after >= before + STRUCTURE, "what the mapping keeps is not charged for");
    kill(heir, SIGKILL);
    all_given_back();
}

/* CAP_SYS_RESOURCE goes beyond. */
static void root(void)
{
    int fd = open_one(SLOTS, NULL), error;
    size_t regions = (size_t)info(0, fd, "kdreg-user-memory-limit") / 64;

    if (regions > SLOTS)
        regions = SLOTS;
    CHECK(fill(fd, regions, &error) == regions, "%s", strerror(error));
    close(fd);
}

int main(void)
{
    struct rlimit files = {8192, 8192};

    page = kt_page();
    close(kt_open());
    if (getuid() != 0)
        kt_skip("not root");
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0, "%m");
    limited('r');
    limited('d');
    limited('w');
    words_beyond();
    inherited();
    mapped();
    root();
    return 0;
}
