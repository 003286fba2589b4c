/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Processes that die at any point, and descriptors that outlive them: nothing
 * of a dead process stays, and as soon as the last one is gone nothing uses the
 * module any more, so that it can be removed (which the rig does at the end).
 */
#include "kt.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

static size_t page;

/* Free memory in kB, with what each processor holds ready for itself: that can
 * be an eighth of all, and MemFree leaves it out. */
static long free_memory(void)
{
    FILE *file = fopen("/proc/zoneinfo", "r");
    char line[128];
    long pages = 0, n;

    CHECK(file, "%m");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, " nr_free_pages %ld", &n) == 1 || sscanf(line, " count: %ld", &n) == 1)
            pages += n;
    fclose(file);
    CHECK(pages > 0, "no free pages in /proc/zoneinfo");
    return pages * (long)(page >> 10);
}

static unsigned late;

/* Nothing uses the module: rmmod would work now. What else looks at a process
 * (/proc, reclaim) may hold its memory for a moment longer than it lives. */
static void unused(const char *after)
{
    long count = -1;

    for (int i = 0; i < 2000 && count != 0; i++) {
        FILE *file = fopen("/sys/module/kdreg/refcnt", "r");

        if (!file)
            return; /* built into the kernel, or not ours */
        CHECK(fscanf(file, "%ld", &count) == 1, "refcnt");
        fclose(file);
        if (count != 0) {
            late += i == 0;
            usleep(1000);
        }
    }
    CHECK(count == 0, "%ld users of the module after %s", count, after);
}

/* Busy in every way until somebody kills it. */
static void *busy(void *argument)
{
    int fd = *(int *)argument;
    struct kdreg2_event events[8];

    for (uint64_t n = (uint64_t)(uintptr_t)&n << 16;; n++) {
        char *memory = mmap(NULL, page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        struct kdreg2_monitoring_params p;

        if (memory == MAP_FAILED)
            continue;
        if (kt_try_monitor(fd, memory, page, n, &p) == 0 && n % 2)
            kt_unmonitor(fd, n, p);
        munmap(memory, page);
        switch (n % 16) {
        case 3: (void)!read(fd, events, sizeof events); break;
        case 6: ioctl(fd, KDREG2_IOCTL_FLUSH); break;
        case 9: ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL); break;
        case 12: {
            int other = open(KDREG_DEVICE_NAME, O_RDWR);
            struct kdreg2_config_data data = {.max_regions = 100};

            if (other >= 0) {
                ioctl(other, KDREG2_IOCTL_CONFIG_DATA, &data);
                kt_try_monitor(other, memory, page, 1, NULL);
                close(other);
            }
        }
        }
    }
    return NULL;
}

/* SIGKILL at ever later points. */
static void killed(void)
{
    for (unsigned microseconds = 1; microseconds < 200000; microseconds = microseconds * 5 / 3 + 7) {
        pid_t child = fork();

        if (child == 0) {
            pthread_t thread;
            int fd = kt_open();

            kt_config(fd, 1024);
            for (int i = 0; i < 2; i++)
                pthread_create(&thread, NULL, busy, &fd);
            busy(&fd);
        }
        usleep(microseconds);
        CHECK(kill(child, SIGKILL) == 0, "%m");
        int status;
        CHECK(waitpid(child, &status, 0) == child, "%m");
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
        unused("SIGKILL");
    }
}

static void blocked_in_read(int fd)
{
    struct kdreg2_event event;

    CHECK(fcntl(fd, F_SETFL, 0) == 0, "%m");
    (void)!read(fd, &event, sizeof event);
}

static void blocked_in_poll(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    poll(&p, 1, -1);
}

/* Killed where it sleeps. */
static void killed_asleep(void)
{
    void (*const sleep_in[])(int) = {blocked_in_read, blocked_in_poll};

    for (unsigned i = 0; i < 2; i++) {
        pid_t child = fork();

        if (child == 0) {
            int fd = kt_open();

            kt_config(fd, 16);
            sleep_in[i](fd);
            _exit(1);
        }
        usleep(50000);
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child, "%m");
        unused("SIGKILL of a sleeper");
    }
}

static void *outlives_main(void *argument)
{
    usleep(20000);
    kt_monitor(*(int *)argument, &page, sizeof page, 2);
    _exit(0);
}

/* What a process does with its open descriptor before the last that has it ends. */
static void ends_by(const char *how, int fd)
{
    char *const arguments[] = {"true", NULL};
    pthread_t thread;
    int flags = fcntl(fd, F_GETFD);
    pid_t child;

    if (!strcmp(how, "exec with O_CLOEXEC")) {
        execv("/bin/true", arguments);
    } else if (!strcmp(how, "exec without O_CLOEXEC")) {
        CHECK(fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == 0, "%m");
        execv("/bin/true", arguments);
    } else if (!strcmp(how, "system")) {
        _exit(system("true") != 0);
    } else if (!strcmp(how, "vfork and exec")) {
        if ((child = vfork()) == 0) {
            execv("/bin/true", arguments);
            _exit(99);
        }
        _exit(kt_wait(child));
    } else if (!strcmp(how, "close in the child first")) {
        if ((child = fork()) == 0)
            _exit(close(fd) != 0);
        _exit(kt_wait(child));
    } else if (!strcmp(how, "exit of the first thread")) {
        CHECK(pthread_create(&thread, NULL, outlives_main, &fd) == 0);
        pthread_exit(NULL);
    }
    _exit(strcmp(how, "exit") != 0);
}

static void ended(void)
{
    static const char *const hows[] = {
        "exit", "exec with O_CLOEXEC", "exec without O_CLOEXEC", "system", "vfork and exec",
        "close in the child first", "exit of the first thread",
    };

    for (unsigned i = 0; i < sizeof hows / sizeof *hows; i++) {
        pid_t child = fork();

        if (child == 0) {
            static int fd; /* for threads that outlive this stack's owner */

            fd = kt_open();
            kt_config(fd, 64);
            kt_monitor(fd, &fd, sizeof fd, 1);
            ends_by(hows[i], fd);
        }
        CHECK(kt_wait(child) == 0, "%s", hows[i]);
        unused(hows[i]);
    }
}

/* The parent exits first; its child, an orphan, is the last to have it. */
static void orphan(void)
{
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "%m");
    pid_t parent = fork();
    if (parent == 0) {
        int fd = kt_open();

        kt_config(fd, 64);
        kt_monitor(fd, &fd, sizeof fd, 1);
        if (fork() == 0) {
            usleep(50000);
            _exit(0);
        }
        _exit(0);
    }
    CHECK(kt_wait(parent) == 0);
    int status;
    CHECK(waitpid(-1, &status, 0) > 0 && WIFEXITED(status), "%m");
    unused("exit of the parent, then of the child");
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0, "%m");
}

static void *one_thread(void *argument)
{
    int fd = *(int *)argument;
    char *memory = kt_space(page);

    kt_monitor(fd, memory, page, (uintptr_t)memory);
    return memory;
}

/* A thread that exits takes nothing with it. */
static void threads(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 64);

    for (unsigned i = 0; i < 32; i++) {
        pthread_t thread;
        void *memory;

        CHECK(pthread_create(&thread, NULL, one_thread, &fd) == 0);
        CHECK(pthread_join(thread, &memory) == 0);
        CHECK(kt_active(status) == 1);
        munmap(memory, page);
        CHECK(kt_active(status) == 0 && kt_pending(status) == 1);
        kt_event(fd);
    }
    close(fd);
}

/* A child holds the descriptor of a parent that dies with much memory: it must
 * not hold that, nor what the kernel kept of the regions. A kernel that checks
 * itself keeps memory back that has been freed. */
static void inherited(void)
{
    const bool checked = access("/sys/kernel/debug/kmemleak", F_OK) == 0;
    const size_t size = checked ? 768UL << 20 : 256UL << 20, regions = 100000;
    const long kept = checked ? (long)(size >> 11) : 32 << 10;
    int ready[2], gone[2];
    char c;
    long before, during, after;

    CHECK(pipe(ready) == 0 && pipe(gone) == 0, "%m");
    before = free_memory();
    pid_t parent = fork();
    if (parent == 0) {
        int fd = kt_open();

        kt_config(fd, regions);
        char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED, "%m");
        CHECK(madvise(memory, size, MADV_DONTFORK) == 0, "%m");
        memset(memory, 1, size);
        for (size_t i = 0; i < regions; i++)
            kt_monitor(fd, memory + i, 1, i);
        if (fork() == 0) {
            close(gone[1]);
            (void)!read(gone[0], &c, 1);
            CHECK_ERRNO(read(fd, &c, 1), EIO);
            _exit(0);
        }
        CHECK(write(ready[1], "k", 1) == 1);
        pause();
    }
    CHECK(read(ready[0], &c, 1) == 1, "%m");
    during = free_memory();
    /* Memory of the processes before may have come back meanwhile. */
    CHECK(before - during > (long)(size >> 10) - kept / 2, "%ld kB free before, %ld then", before, during);
    kill(parent, SIGKILL);
    CHECK(waitpid(parent, NULL, 0) == parent, "%m");
    after = 0;
    for (int i = 0; i < 3000 && after < before - kept; i++) {
        usleep(10000);
        after = free_memory();
    }
    printf("free memory: %ld kB before, %ld with the process alive, %ld after it died\n", before,
           during, after);
    CHECK(after >= before - kept);
    close(gone[0]);
    close(gone[1]);
}

/* Many descriptors, opened and closed in all orders. */
static void many(void)
{
    enum { COUNT = 100 };
    int fds[COUNT];
    const struct kdreg2_status_data *status[COUNT];
    struct kdreg2_monitoring_params p[COUNT];
    char *memory = kt_space(page);

    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = kt_open();
        status[i] = kt_config(fds[i], 16);
        p[i] = kt_monitor(fds[i], memory, page, 1);
    }
    for (unsigned i = 0; i < COUNT; i += 3)
        close(fds[i]);
    for (unsigned i = 0; i < COUNT; i++)
        CHECK(kt_changed(status[i], p[i]) == (i % 3 == 0));
    munmap(memory, page);
    for (unsigned i = 0; i < COUNT; i++)
        CHECK(kt_changed(status[i], p[i]));
    for (unsigned i = COUNT; i-- > 0;)
        if (i % 3)
            CHECK(close(fds[i]) == 0, "%m");
    /* A descriptor that was never configured, and one with unread events. */
    close(kt_open());
}

/* The module cannot be removed under an open descriptor, nor under a status
 * mapping that outlives its descriptor. */
static void removal(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 10);

    CHECK_ERRNO(syscall(SYS_delete_module, "kdreg", O_NONBLOCK), EAGAIN);
    close(fd);
    CHECK_ERRNO(syscall(SYS_delete_module, "kdreg", O_NONBLOCK), EAGAIN);
    CHECK(status->version == 1 && kt_active(status) == 0);
    munmap((void *)status, 2 * page);
}

/* In a process of its own, which leaves its status mappings to its end. */
static void in_child(void (*body)(void), const char *name)
{
    pid_t child = fork();

    if (child == 0) {
        body();
        _exit(0);
    }
    CHECK(kt_wait(child) == 0, "%s", name);
    unused(name);
}

int main(void)
{
    page = kt_page();
    in_child(removal, "removal");
    in_child(many, "many descriptors");
    in_child(threads, "threads");
    killed();
    killed_asleep();
    ended();
    orphan();
    inherited();
    printf("%u times the module was in use a moment longer than the process lived\n", late);
    return 0;
}
