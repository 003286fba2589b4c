/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of every call fails once: the call says ENOMEM, or does its
 * work all the same, and nothing is half done. Needs a kernel with fault
 * injection (failslab, fail_page_alloc), such as the debug kernel.
 */
#include "kt.h"

#define DEBUGFS "/sys/kernel/debug/"
#define MOST 400

static const char *const settings[][2] = {
    {DEBUGFS "failslab/ignore-gfp-wait", "N"},
    {DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N"},
    {DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N"},
    {DEBUGFS "fail_page_alloc/min-order", "0"},
    {DEBUGFS "failslab/verbose", "0"},
    {DEBUGFS "fail_page_alloc/verbose", "0"},
};

static int nth_file;

static bool put(const char *name, const char *text)
{
    int file = open(name, O_WRONLY);
    bool done = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    if (file >= 0)
        close(file);
    return done;
}

/* The allocation after `n - 1` more of this thread fails; 0: none does.
 * Returns what is left to go of the last request: 0 when it came about. */
static int fail_nth(int n)
{
    char text[16];
    ssize_t length = pread(nth_file, text, sizeof text - 1, 0);

    CHECK(length > 0, "%m");
    text[length] = 0;
    int left = atoi(text);
    length = snprintf(text, sizeof text, "%d", n);
    CHECK(pwrite(nth_file, text, (size_t)length, 0) == length, "%m");
    return left;
}

/* Runs a call with its first, second, third ... allocation failing, until it
 * has no more. */
#define ALL_FAILURES(name, call, on_success)                                               \
    do {                                                                                   \
        int kt_n, kt_failures = 0;                                                         \
        for (kt_n = 1; kt_n < MOST; kt_n++) {                                              \
            fail_nth(kt_n);                                                                \
            errno = 0;                                                                     \
            long r = (long)(call);                                                         \
            int kt_error = errno;                                                          \
            int kt_left = fail_nth(0);                                                     \
            if (r < 0) {                                                                   \
                CHECK(kt_error == ENOMEM, name ", allocation %d: %s", kt_n,                \
                      strerrorname_np(kt_error));                                          \
                kt_failures++;                                                             \
            } else {                                                                       \
                on_success;                                                                \
            }                                                                              \
            if (kt_left != 0)                                                              \
                break;                                                                     \
        }                                                                                  \
        CHECK(kt_n < MOST, name " goes on allocating");                                    \
        printf("%s: %d allocations, %d times ENOMEM\n", name, kt_n - 1, kt_failures);      \
        CHECK(kt_failures > 0, name " does not allocate?");                                \
    } while (0)

static void opening(void)
{
    ALL_FAILURES("open", open(KDREG_DEVICE_NAME, O_RDWR), close((int)r));
}

static void configuring(void)
{
    struct kdreg2_config_data data = {.max_regions = 5000};
    int fd = kt_open();

    ALL_FAILURES("CONFIG_DATA", ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), {
        CHECK(data.status_data->max_regions == 5000);
        munmap((void *)data.status_data, 6 * kt_page());
        close(fd);
        fd = kt_open();
    });
    /* A first configuration stays when the second fails. */
    const struct kdreg2_status_data *status = kt_config(fd, 10);
    data.max_regions = 100000;
    fail_nth(1);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), ENOMEM);
    fail_nth(0);
    CHECK(status->max_regions == 10);
    kt_monitor(fd, &fd, sizeof fd, 1);
    close(fd);
}

static void monitoring(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 100000);
    struct kdreg2_ioctl_monitor data = {.addr = &fd, .length = sizeof fd};
    uint64_t made = 0;

    /* The first of each 256 needs memory, that of each 1,024 more of it. */
    for (int round = 0; round < 8; round++) {
        ALL_FAILURES("MONITOR", (data.cookie = made, ioctl(fd, KDREG2_IOCTL_MONITOR, &data)),
                     made++);
        CHECK(kt_active(status) == made, "%ju active, %ju made", (uintmax_t)kt_active(status),
              (uintmax_t)made);
        while (made % 256 != 0)
            kt_monitor(fd, &fd, sizeof fd, made++);
    }
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(kt_active(status) == 0);
    /* Everything else gets by without. */
    char *memory = kt_map(kt_page());
    struct kdreg2_monitoring_params p = kt_monitor(fd, memory, kt_page(), 1);
    struct kdreg2_event event;
    CHECK(mprotect(memory, kt_page(), PROT_READ) == 0 && kt_changed(status, p), "%m");
    fail_nth(1);
    ssize_t size = read(fd, &event, sizeof event);
    fail_nth(0);
    CHECK(size == sizeof event, "read: %m");
    close(fd);
}

int main(void)
{
    char name[64];

    snprintf(name, sizeof name, "/proc/self/task/%d/fail-nth", (int)syscall(SYS_gettid));
    nth_file = open(name, O_RDWR);
    if (nth_file < 0 || !put(settings[0][0], settings[0][1]))
        kt_skip("this kernel cannot inject failures");
    for (size_t i = 1; i < sizeof settings / sizeof *settings; i++)
        (void)put(settings[i][0], settings[i][1]);
    close(kt_open());
    opening();
    configuring();
    monitoring();
    return 0;
}
