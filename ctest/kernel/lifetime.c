/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Processes that die at any point, and descriptors that outlive them: nothing
 * of a dead process stays, and the module can be removed afterwards (the rig
 * looks at that).
 */
#include "kt.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

static size_t page;

static long kilobytes(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[128], key[64];
    long value = -1;

    CHECK(file, "%m");
    while (fgets(line, sizeof line, file)) {
        long v;

        if (sscanf(line, "%63[^:]: %ld", key, &v) == 2 && strcmp(key, name) == 0)
            value = v;
    }
    fclose(file);
    CHECK(value >= 0, "no %s in /proc/meminfo", name);
    return value;
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
    }
}

static void *one_thread(void *argument)
{
    int fd = *(int *)argument;
    char *memory = kt_map(page);

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
    before = kilobytes("MemFree");
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
    during = kilobytes("MemFree");
    CHECK(before - during > (long)(size >> 10), "%ld kB free before, %ld then", before, during);
    kill(parent, SIGKILL);
    CHECK(waitpid(parent, NULL, 0) == parent, "%m");
    after = 0;
    for (int i = 0; i < 300 && after < before - kept; i++) {
        usleep(10000);
        after = kilobytes("MemFree");
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
    char *memory = kt_map(page);

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

/* Passed to a stranger over a socket or /proc: not his. */
static void fdinfo(void)
{
    int fd = kt_open();
    char name[64], line[128], key[64];
    char *memory = kt_map(2 * page);
    unsigned seen = 0;
    long value;

    kt_config(fd, 77);
    kt_monitor(fd, memory, page, 1);
    kt_monitor(fd, memory + page, page, 2);
    munmap(memory, page);
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(name, "r");
    CHECK(file, "%m");
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63[^:]: %ld", key, &value) != 2)
            continue;
        if (!strcmp(key, "kdreg-max-regions"))
            seen += value == 77;
        if (!strcmp(key, "kdreg-regions") || !strcmp(key, "kdreg-pending-events") ||
            !strcmp(key, "kdreg-total-events"))
            seen += value == 1;
    }
    fclose(file);
    CHECK(seen == 4, "%u", seen);
    close(fd);
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

int main(void)
{
    page = kt_page();
    removal();
    many();
    fdinfo();
    threads();
    killed();
    inherited();
    return 0;
}
