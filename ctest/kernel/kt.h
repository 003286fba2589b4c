/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the device tests share. Exit status: 0 passed, 1 failed, 77 skipped. */
#ifndef KT_H
#define KT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <kdreg2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KT_SKIP 77

/* Fails the test unless the condition holds. */
#define CHECK(condition, ...)                                                      \
    do {                                                                           \
        if (!(condition))                                                          \
            kt_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__);              \
    } while (0)

/* Fails the test unless the call fails with this errno. */
#define CHECK_ERRNO(call, expected)                                                \
    do {                                                                           \
        errno = 0;                                                                 \
        long kt_result = (long)(call);                                             \
        CHECK(kt_result == -1 && errno == (expected), "returned %ld, errno %s",    \
              kt_result, strerrorname_np(errno));                                  \
    } while (0)

__attribute__((format(printf, 4, 5), noreturn)) static inline void
kt_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "%s:%d: failed: %s", file, line, condition);
    if (format[1]) {
        fputs(":", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
    fputs("\n", stderr);
    exit(1);
}

__attribute__((noreturn, unused)) static void kt_skip(const char *why)
{
    printf("skipped: %s\n", why);
    exit(KT_SKIP);
}

/* How many times slower than usual everything is here: KDREG_TEST_SLOWNESS. */
__attribute__((unused)) static unsigned long kt_slowness(void)
{
    const char *text = getenv("KDREG_TEST_SLOWNESS");
    unsigned long slowness = text ? strtoul(text, NULL, 10) : 1;

    return slowness ? slowness : 1;
}

/* Gives up all privileges, for good. */
__attribute__((unused)) static void kt_become_nobody(void)
{
    CHECK(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
              setresuid(65534, 65534, 65534) == 0, "%m");
}

__attribute__((unused)) static int kt_open_flags(int flags)
{
    int fd = open(KDREG_DEVICE_NAME, flags);

    if (fd < 0 && errno == ENOENT)
        kt_skip("there is no " KDREG_DEVICE_NAME ": load the module");
    CHECK(fd >= 0, "%s: %m", KDREG_DEVICE_NAME);
    return fd;
}

__attribute__((unused)) static int kt_open(void)
{
    /* Memory local to the processor: this policy takes the process out of
     * automatic NUMA balancing, which would take pages away to see who uses
     * them, and invalidate regions as it does. */
    (void)syscall(SYS_set_mempolicy, 4 /* MPOL_LOCAL */, NULL, 0);
    return kt_open_flags(O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

__attribute__((unused)) static const struct kdreg2_status_data *kt_config(int fd, size_t n)
{
    struct kdreg2_config_data data = {.max_regions = n};

    CHECK(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data) == 0, "%zu regions: %m", n);
    CHECK(data.status_data != NULL);
    return data.status_data;
}

/* 0 or -1 with errno, like the call itself. */
__attribute__((unused)) static int kt_try_monitor(int fd, const void *addr, size_t length,
                                                  kdreg2_cookie_t cookie,
                                                  struct kdreg2_monitoring_params *params)
{
    struct kdreg2_ioctl_monitor data = {.addr = addr, .length = length, .cookie = cookie};
    int result = ioctl(fd, KDREG2_IOCTL_MONITOR, &data);
    int error = errno;

    if (params)
        *params = data.monitoring_params;
    errno = error;
    return result;
}

__attribute__((unused)) static struct kdreg2_monitoring_params
kt_monitor(int fd, const void *addr, size_t length, kdreg2_cookie_t cookie)
{
    struct kdreg2_monitoring_params params;

    CHECK(kt_try_monitor(fd, addr, length, cookie, &params) == 0, "MONITOR %p + %zu: %m", addr,
          length);
    return params;
}

__attribute__((unused)) static int kt_unmonitor(int fd, kdreg2_cookie_t cookie,
                                                struct kdreg2_monitoring_params params)
{
    struct kdreg2_ioctl_unmonitor data = {.cookie = cookie, .monitoring_params = params};

    return ioctl(fd, KDREG2_IOCTL_UNMONITOR, &data);
}

/* Starts to monitor with a mask of changes and flags. */
__attribute__((unused)) static struct kdreg2_monitoring_params
kt_monitor_mask(int fd, const void *addr, size_t length, kdreg2_cookie_t cookie, uint32_t changes,
                uint32_t flags)
{
    struct kdreg_monitor_entry entry = {.addr = (uintptr_t)addr,
                                        .length = length,
                                        .cookie = cookie,
                                        .changes = changes,
                                        .flags = flags};
    struct kdreg_batch batch = {.entries = (uintptr_t)&entry, .count = 1};
    struct kdreg2_monitoring_params params = {0};

    CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
    CHECK(entry.status == 0, "status %d", entry.status);
    params.location = entry.location;
    params.generation = entry.generation;
    return params;
}

__attribute__((unused)) static bool kt_changed(const struct kdreg2_status_data *status,
                                               struct kdreg2_monitoring_params params)
{
    return kdreg2_mapping_changed(status, &params);
}

__attribute__((unused)) static uint64_t kt_active(const struct kdreg2_status_data *status)
{
    return kdreg2_read_counter(&status->num_active_regions);
}

__attribute__((unused)) static uint64_t kt_pending(const struct kdreg2_status_data *status)
{
    return kdreg2_read_counter(&status->pending_events);
}

__attribute__((unused)) static uint64_t kt_total(const struct kdreg2_status_data *status)
{
    return kdreg2_read_counter(&status->total_events);
}

/* Events that poll() announces at once. */
__attribute__((unused)) static short kt_poll(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

    CHECK(poll(&p, 1, 0) >= 0, "%m");
    return p.revents;
}

/* The one event that must be there. */
__attribute__((unused)) static struct kdreg2_event kt_event(int fd)
{
    struct kdreg2_event event;

    memset(&event, 0xee, sizeof event);
    CHECK(kt_poll(fd) == POLLIN, "poll says %#x", kt_poll(fd));
    CHECK(read(fd, &event, sizeof event) == sizeof event, "%m");
    CHECK(event.type == KDREG2_EVENT_MAPPING_CHANGE);
    return event;
}

__attribute__((unused)) static void kt_no_event(int fd)
{
    struct kdreg2_event event;

    CHECK(kt_poll(fd) == 0, "poll says %#x", kt_poll(fd));
    CHECK_ERRNO(read(fd, &event, sizeof event), EAGAIN);
}

__attribute__((unused)) static size_t kt_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Private anonymous memory, every page there. Small pages: to change a part of
 * a huge page the kernel takes the whole of it apart, which counts as a change
 * of the whole. */
__attribute__((unused)) static char *kt_map(size_t length)
{
    char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED, "%m");
    (void)madvise(p, length, MADV_NOHUGEPAGE);
    memset(p, 0x5a, length);
    return p;
}

/* Memory of which no page is there, with a page on each side of it that is.
 *
 * Pages that are there the kernel moves when it likes (compaction, khugepaged),
 * which invalidates what lies over them, and rightly so: only of a region that
 * has none can a test say that it stays valid, or changes once. What the process
 * does to the range is announced all the same; mprotect() and fork(), where
 * there are page tables and pages of its own, as there are for those beside. No
 * mapping of others can join it. To be left untouched. */
__attribute__((unused)) static char *kt_space(size_t length)
{
    size_t page = kt_page();
    char *guard = mmap(NULL, length + 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *p = guard + page;

    CHECK(guard != MAP_FAILED, "%m");
    CHECK(mprotect(p, length + 2 * page, PROT_READ | PROT_WRITE) == 0, "%m");
    (void)madvise(p, length + 2 * page, MADV_NOHUGEPAGE);
    p[0] = p[page + length] = 1;
    return p + page;
}

/* With what is around it. */
__attribute__((unused)) static void kt_unspace(char *space, size_t length)
{
    CHECK(munmap(space - 2 * kt_page(), length + 4 * kt_page()) == 0, "%m");
}

/* The exit status of a child, which must have exited. */
__attribute__((unused)) static int kt_wait(pid_t pid)
{
    int status;

    CHECK(waitpid(pid, &status, 0) == pid, "%m");
    CHECK(WIFEXITED(status), "child died of signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

#endif
