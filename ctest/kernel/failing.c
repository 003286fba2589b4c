/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of every call fails once, and every copy from or to user
 * space: the call says ENOMEM or EFAULT, or does its work all the same, and
 * nothing is half done. Needs a kernel with fault injection (failslab,
 * fail_page_alloc, fail_usercopy), such as the debug kernel.
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

/* The allocation or copy after `n - 1` more of this thread fails; 0: none does.
 * Returns what is left to go of the last request: 0 when it came about. Asking
 * and telling copy, too: a failure that the call left over may hit them. */
static int fail_nth(int n)
{
    char text[16];
    ssize_t length = pread(nth_file, text, sizeof text - 1, 0);
    int left = 1;

    CHECK(length > 0 || errno == EFAULT, "%m");
    if (length > 0) {
        text[length] = 0;
        left = atoi(text);
    }
    length = snprintf(text, sizeof text, "%d", n);
    if (pwrite(nth_file, text, (size_t)length, 0) != length)
        CHECK(pwrite(nth_file, text, (size_t)length, 0) == length, "%m");
    return left;
}

/* Runs a call with its first, second, third ... allocation or copy failing,
 * until it has no more. */
#define ALL_FAILURES(name, call, on_success, on_failure)                                       \
    do {                                                                                   \
        int kt_n, kt_failures = 0;                                                         \
        for (kt_n = 1; kt_n < MOST; kt_n++) {                                              \
            fail_nth(kt_n);                                                                \
            errno = 0;                                                                     \
            long r = (long)(call);                                                         \
            int kt_error = errno;                                                          \
            int kt_left = fail_nth(0);                                                     \
            if (r < 0) {                                                                   \
                CHECK(kt_error == ENOMEM || kt_error == EFAULT, name ", failure %d: %s",   \
                      kt_n, strerrorname_np(kt_error));                                    \
                kt_failures += kt_error == ENOMEM;                                         \
                on_failure;                                                                \
            } else {                                                                       \
                on_success;                                                                \
            }                                                                              \
            if (kt_left != 0)                                                              \
                break;                                                                     \
        }                                                                                  \
        CHECK(kt_n < MOST, name " goes on allocating");                                    \
        printf("%s: %d allocations and copies, %d times ENOMEM\n", name, kt_n - 1,         \
               kt_failures);                                                               \
        CHECK(kt_failures > 0, name " does not allocate?");                                \
    } while (0)

/* Mappings of status pages that this process has. */
static unsigned mapped(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[256];
    unsigned count = 0;

    CHECK(file, "%m");
    while (fgets(line, sizeof line, file))
        count += strstr(line, "[kdreg]") != NULL;
    fclose(file);
    return count;
}

static void opening(void)
{
    ALL_FAILURES("open", open(KDREG_DEVICE_NAME, O_RDWR), close((int)r), (void)0);
}

static void configuring(void)
{
    struct kdreg2_config_data data = {.max_regions = 5000};
    int fd = kt_open();

    ALL_FAILURES("CONFIG_DATA", ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), {
        CHECK(data.status_data->max_regions == 5000 && mapped() == 1);
        munmap((void *)data.status_data, 6 * kt_page());
        close(fd);
        fd = kt_open();
    }, CHECK(mapped() == 0));
    /* A first configuration stays when the second fails. */
    const struct kdreg2_status_data *status = kt_config(fd, 10);
    data.max_regions = 100000;
    ALL_FAILURES("CONFIG_DATA again", ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), {
        CHECK(status->max_regions == 100000);
        munmap((void *)data.status_data, 99 * kt_page());
        munmap((void *)status, 2 * kt_page());
        status = kt_config(fd, 10);
    }, CHECK(status->max_regions == 10 && mapped() == 1));
    kt_monitor(fd, &fd, sizeof fd, 1);
    close(fd);
}

static void monitoring(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 100000);
    const char *space = kt_space(kt_page());
    struct kdreg2_ioctl_monitor data = {.addr = space, .length = 64};
    uint64_t made = 0;

    /* The first of each 256 needs memory, that of each 1,024 more of it. */
    for (int round = 0; round < 8; round++) {
        ALL_FAILURES("MONITOR", (data.cookie = made, ioctl(fd, KDREG2_IOCTL_MONITOR, &data)),
                     made++,
                     CHECK(kt_active(status) == made, "%ju active, %ju made",
                           (uintmax_t)kt_active(status), (uintmax_t)made));
        CHECK(kt_active(status) == made, "%ju active, %ju made", (uintmax_t)kt_active(status),
              (uintmax_t)made);
        while (made % 256 != 0)
            kt_monitor(fd, space, 64, made++);
    }
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(kt_active(status) == 0);
    close(fd);
}

/* Batches, in which an entry can fail alone. What the call counts as done is
 * monitored exactly if its entry says so; a step that could not tell its results
 * left nothing behind. */
static void batches(void)
{
    enum { COUNT = 300 };
    static struct kdreg_monitor_entry entries[COUNT];
    struct kdreg_batch batch = {.entries = (uintptr_t)entries, .count = COUNT};
    const char *space = kt_space(kt_page());
    unsigned refused = 0;
    int n;

    for (n = 1; n < MOST; n++) {
        int fd = kt_open();
        const struct kdreg2_status_data *status = kt_config(fd, COUNT);
        uint64_t good = 0;

        for (unsigned i = 0; i < COUNT; i++)
            entries[i] = (struct kdreg_monitor_entry){
                .addr = (uintptr_t)space, .length = 64, .cookie = i, .status = 1};
        batch.done = COUNT;
        fail_nth(n);
        int result = ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch), error = errno;
        int left = fail_nth(0);
        CHECK(result == 0 || error == EFAULT, "failure %d: %s", n, strerrorname_np(error));
        for (unsigned i = 0; i < COUNT; i++) {
            CHECK(entries[i].status == 0 || entries[i].status == -ENOMEM || entries[i].status == 1,
                  "entry %u: %d", i, entries[i].status);
            CHECK(result != 0 || entries[i].status != 1, "entry %u was not handled", i);
            good += entries[i].status == 0;
            refused += entries[i].status == -ENOMEM;
        }
        CHECK(kt_active(status) == good, "failure %d: %ju active, %ju entries say so", n,
              (uintmax_t)kt_active(status), (uintmax_t)good);
        munmap((void *)status, 2 * kt_page());
        close(fd);
        if (left != 0)
            break;
    }
    CHECK(n < MOST, "MONITOR_BATCH goes on allocating");
    printf("MONITOR_BATCH: %d allocations and copies, %u entries refused\n", n - 1, refused);
    CHECK(refused > 0);
}

/* Detecting a change needs no memory, and an event that cannot be copied is
 * read another time. */
static void events(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 10);
    char *memory = kt_map(kt_page());
    struct kdreg2_monitoring_params p = kt_monitor(fd, memory, kt_page(), 1);
    struct kdreg2_event event;
    ssize_t size = -1;
    int n;

    CHECK(mprotect(memory, kt_page(), PROT_READ) == 0 && kt_changed(status, p), "%m");
    for (n = 1; size < 0 && n < 10; n++) {
        CHECK(kt_pending(status) == 1);
        fail_nth(n);
        size = read(fd, &event, sizeof event);
        int error = errno;
        fail_nth(0);
        CHECK(size > 0 || error == EFAULT, "read: %s", strerrorname_np(error));
    }
    CHECK(size == sizeof event && event.u.mapping_change.cookie == 1);
    CHECK(n == 3, "read made %d copies or allocations, and needs one", n - 2);
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
    batches();
    events();
    return 0;
}
