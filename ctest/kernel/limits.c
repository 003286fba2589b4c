/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A million regions on one descriptor: monitored, looked up, invalidated by one
 * call, their events read; memory charged to the control group of the process
 * and given back.
 *
 *   limits [REGIONS]
 */
#include "kt.h"

#include <signal.h>
#include <sys/stat.h>

#define GROUP "/sys/fs/cgroup/kdreg-limits"
#define BATCH 4096
#define HUGE (2UL << 20)

static size_t regions = 1000000;
static size_t page;

static void put(const char *name, const char *text)
{
    int file = open(name, O_WRONLY);

    CHECK(file >= 0, "%s: %m", name);
    CHECK(write(file, text, strlen(text)) == (ssize_t)strlen(text), "%s: %m", name);
    close(file);
}

static long get(const char *name)
{
    FILE *file = fopen(name, "r");
    long value = -1;

    CHECK(file, "%s: %m", name);
    CHECK(fscanf(file, "%ld", &value) == 1, "%s", name);
    fclose(file);
    return value;
}

/* Kernel memory of the group, in bytes. */
static long kernel_memory(void)
{
    FILE *file = fopen(GROUP "/memory.stat", "r");
    char key[64];
    long value, result = -1;

    CHECK(file, "%m");
    while (fscanf(file, "%63s %ld", key, &value) == 2)
        if (!strcmp(key, "kernel"))
            result = value;
    fclose(file);
    CHECK(result >= 0);
    return result;
}

static bool join_group(void)
{
    if (mkdir(GROUP, 0755) != 0 && errno != EEXIST)
        return false;
    if (access(GROUP "/memory.stat", R_OK) != 0)
        return false;
    put(GROUP "/cgroup.procs", "0");
    return true;
}

static void leave_group(void)
{
    put("/sys/fs/cgroup/cgroup.procs", "0");
    for (int i = 0; i < 100 && rmdir(GROUP) != 0; i++)
        usleep(10000);
}

static struct kdreg_monitor_entry *entries;

/* Monitors region after region of the area, one byte in every 32. */
static size_t monitor_all(int fd, const char *area)
{
    size_t done = 0;

    while (done < regions) {
        unsigned n = regions - done < BATCH ? (unsigned)(regions - done) : BATCH;
        struct kdreg_batch batch = {.entries = (uintptr_t)(entries + done), .count = n};

        for (unsigned i = 0; i < n; i++)
            entries[done + i] = (struct kdreg_monitor_entry){
                .addr = (uintptr_t)area + 32 * (done + i),
                .length = 32,
                /* In no order. */
                .cookie = (done + i) * 0x9e3779b97f4a7c15ULL >> 1};
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        for (unsigned i = 0; i < n; i++)
            if (entries[done + i].status != 0)
                return done + i;
        done += n;
    }
    return done;
}

static bool is_valid(const struct kdreg2_status_data *status, size_t i)
{
    struct kdreg2_monitoring_params p = {entries[i].location, entries[i].generation};

    return !kt_changed(status, p);
}

static void count_valid(const struct kdreg2_status_data *status, size_t from, size_t to,
                        bool expected)
{
    for (size_t i = from; i < to; i++)
        CHECK(is_valid(status, i) == expected, "region %zu", i);
}

static void million(bool charged)
{
    size_t length = (32 * regions + page - 1) / page * page;
    char *area = kt_space(length);
    /* On a huge page boundary: to split a mapping anywhere else, the kernel
     * says that it takes apart a huge page there, whether there is one or not. */
    size_t cut = ((uintptr_t)area + length / 2) / HUGE * HUGE - (uintptr_t)area;
    size_t middle = cut / 32;
    long before = charged ? kernel_memory() : 0;
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, regions);

    CHECK(monitor_all(fd, area) == regions, "%s",
          strerror(-entries[0].status));
    CHECK(kt_active(status) == regions);
    count_valid(status, 0, regions, true);
    if (charged) {
        long used = kernel_memory() - before;

        printf("%zu regions: %ld bytes of kernel memory each\n", regions, used / (long)regions);
        CHECK(used > (long)regions * 64, "%ld bytes charged", used);
        CHECK(used < (long)regions * 200, "%ld bytes charged", used);
    }
    CHECK_ERRNO(kt_try_monitor(fd, area, 1, 1, NULL), ENOSPC);

    /* Half of them at once, then single ones of the other half. */
    CHECK(munmap(area + cut, length - cut) == 0, "%m");
    CHECK(kt_active(status) == middle && kt_pending(status) == regions - middle,
          "%ju active, %zu expected; %ju events", (uintmax_t)kt_active(status), middle,
          (uintmax_t)kt_pending(status));
    count_valid(status, middle, regions, false);
    count_valid(status, 0, middle, true);
    CHECK_ERRNO(kt_try_monitor(fd, area, 1, 1, NULL), ENOSPC);
    for (size_t i = 0; i < middle; i += 997) {
        struct kdreg2_monitoring_params p = {entries[i].location, entries[i].generation};

        CHECK(kt_unmonitor(fd, entries[i].cookie, p) == 0, "%m");
        CHECK(!is_valid(status, i));
    }

    /* Each event once. */
    struct kdreg2_event *events = calloc(BATCH, sizeof *events);
    char *seen = calloc(regions, 1);
    size_t total = 0;
    ssize_t size;
    while ((size = read(fd, events, BATCH * sizeof *events)) > 0) {
        for (size_t i = 0; i < size / sizeof *events; i++) {
            size_t n = (size_t)((const char *)events[i].u.mapping_change.addr - area) / 32;

            CHECK(n >= middle && n < regions && !seen[n], "event for region %zu", n);
            seen[n] = 1;
        }
        total += size / sizeof *events;
    }
    CHECK(errno == EAGAIN, "%m");
    CHECK(total == regions - middle && kt_pending(status) == 0, "%zu events", total);
    free(seen);
    free(events);

    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(kt_active(status) == 0);
    count_valid(status, 0, regions, false);
    /* And again, and away with it in one go. */
    munmap(area, cut);
    area = kt_space(length);
    CHECK(monitor_all(fd, area) == regions);
    CHECK(munmap(area, length) == 0, "%m");
    CHECK(kt_active(status) == 0 && kt_pending(status) == regions);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    CHECK(kt_pending(status) == 0);
    area = kt_space(length);
    CHECK(monitor_all(fd, area) == regions);
    CHECK(close(fd) == 0, "%m");
    count_valid(status, 0, regions, false);
    munmap(area, length);
    munmap((void *)status, kt_page() * (1 + (4 * regions + page - 1) / page));
    if (charged) {
        long left = 0;

        for (int i = 0; i < 1000; i++) {
            left = kernel_memory() - before;
            if (left < 4 << 20)
                break;
            usleep(10000);
        }
        printf("%ld bytes left after close\n", left);
        CHECK(left < 4 << 20);
    }
}

/* The group has no memory left: regions are charged, so the process that asks
 * for ever more is refused (ENOMEM) or killed, as the kernel sees fit. */
static int beyond_the_limit(void)
{
    int fd = kt_open();
    size_t made;

    kt_config(fd, regions);
    for (made = 0; made < regions; made++)
        if (kt_try_monitor(fd, &fd, sizeof fd, made, NULL) != 0) {
            CHECK(errno == ENOMEM, "%m");
            CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
            /* What has been allocated can be used again. */
            for (size_t i = 0; i < made; i++)
                kt_monitor(fd, &fd, sizeof fd, i);
            return 0;
        }
    return 1;
}

static void out_of_memory(void)
{
    char limit[32];
    int status;

    leave_group();
    CHECK(join_group());
    long before = kernel_memory();
    pid_t child = fork();
    if (child == 0) {
        snprintf(limit, sizeof limit, "%ld", get(GROUP "/memory.current") + (8L << 20));
        put(GROUP "/memory.max", limit);
        exit(beyond_the_limit());
    }
    put("/sys/fs/cgroup/cgroup.procs", "0");
    CHECK(waitpid(child, &status, 0) == child, "%m");
    printf("out of memory: %s\n", WIFSIGNALED(status) ? "killed" : "refused");
    CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0,
          "status %#x", status);
    /* The kernel gives back a moment later what the dead process had. */
    long after = kernel_memory();
    for (int i = 0; i < 1000 && after >= before + (4L << 20); i++) {
        usleep(10000);
        after = kernel_memory();
    }
    CHECK(after < before + (4L << 20), "%ld bytes before, %ld after", before, after);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        regions = strtoul(argv[1], NULL, 0);
    page = kt_page();
    entries = calloc(regions, sizeof *entries);
    memset(entries, 0xff, regions * sizeof *entries);
    bool charged = join_group();
    if (!charged)
        printf("no control group: charging is not looked at\n");
    million(charged);
    if (charged) {
        out_of_memory();
        leave_group();
    }
    return 0;
}
