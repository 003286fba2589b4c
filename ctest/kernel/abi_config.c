/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kdreg2 interface: open, CONFIG_DATA, the status data, unknown ioctls. */
#include "fdinfo.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void names(void)
{
    struct stat kdreg, kdreg2;

    CHECK(stat(KDREG_DEVICE_NAME, &kdreg) == 0, "%m");
    CHECK(S_ISCHR(kdreg.st_mode) && (kdreg.st_mode & 0777) == 0666, "mode %o", kdreg.st_mode);
    CHECK(stat(KDREG2_DEVICE_NAME, &kdreg2) == 0, "%m");
    CHECK(S_ISCHR(kdreg2.st_mode) && (kdreg2.st_mode & 0777) == 0666, "mode %o", kdreg2.st_mode);
}

static void before_config(int fd)
{
    struct kdreg2_monitoring_params params;
    static char memory[64];

    errno = 0;
    CHECK(kt_try_monitor(fd, memory, sizeof memory, 1, &params) == -1 && errno == ENOSPC, "%m");
    CHECK(params.location == KDREG2_LOCATION_NONE);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_DUMP_STATS) == 0, "%m");
    kt_no_event(fd);
}

static void initial_status(const struct kdreg2_status_data *status, size_t n)
{
    const struct kdreg2_monitoring_state *state = status->monitoring_state_base;

    CHECK(status->version == 1);
    CHECK(status->max_regions == n);
    CHECK(kt_pending(status) == 0 && kt_total(status) == 0 && kt_active(status) == 0);
    for (size_t i = 0; i < n; i++) {
        CHECK(state[i].u.bits.in_use == 0);
        CHECK(state[i].u.raw == (i + 1 < n ? (i + 1) << 1 : 0xfffffffe), "word %zu is %#x", i,
              state[i].u.raw);
    }
}

static void errors(int fd)
{
    struct kdreg2_config_data data = {.max_regions = 0};

    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), EINVAL);
    data.max_regions = (size_t)1 << 40;
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), ENOSPC);
    data.max_regions = (size_t)-1;
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), ENOSPC);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, NULL), EFAULT);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, -1L), EFAULT);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_MONITOR, NULL), EFAULT);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_UNMONITOR, NULL), EFAULT);
    CHECK_ERRNO(ioctl(fd, _IO('k', 99), NULL), ENOTTY);
    CHECK_ERRNO(ioctl(fd, _IO('x', 1), NULL), ENOTTY);
    /* The right number with another size is another request. */
    CHECK_ERRNO(ioctl(fd, _IOWR('k', 1, char), &data), ENOTTY);
}

/* The result cannot be delivered: nothing has changed. */
static void undeliverable(int fd, const struct kdreg2_status_data *status, size_t n)
{
    struct kdreg2_config_data *data =
        mmap(NULL, kt_page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static char memory[64];

    CHECK(data != MAP_FAILED, "%m");
    data->max_regions = 7;
    CHECK(mprotect(data, kt_page(), PROT_READ) == 0, "%m");
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, data), EFAULT);
    CHECK(status->max_regions == n);
    CHECK(kt_unmonitor(fd, 1, kt_monitor(fd, memory, sizeof memory, 1)) == 0, "%m");
    munmap(data, kt_page());
}

static void reconfigure(int fd)
{
    const struct kdreg2_status_data *status = kt_config(fd, 3);
    char *page = kt_space(kt_page()), *memory = kt_space(64);
    struct kdreg2_monitoring_params params = kt_monitor(fd, memory, 64, 1);
    struct kdreg2_config_data data = {.max_regions = 5};

    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), EBUSY);
    CHECK(!kt_changed(status, params));
    CHECK(kt_unmonitor(fd, 1, params) == 0, "%m");

    struct kdreg2_monitoring_params gone = kt_monitor(fd, page, kt_page(), 2);
    munmap(page, kt_page());
    CHECK(kt_changed(status, gone));
    CHECK(kt_active(status) == 0 && kt_pending(status) == 1);
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_CONFIG_DATA, &data), EBUSY);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");

    /* Smaller, larger: old parameters never match again. */
    for (size_t n = 1; n < 5000; n = n * 3 + 1) {
        const struct kdreg2_status_data *now = kt_config(fd, n);

        CHECK(now->max_regions == n && status->max_regions == n);
        CHECK(kt_changed(status, params) && kt_changed(status, gone));
        if (params.location < n)
            CHECK(kt_changed(now, params));
        for (int i = 0; i < 4; i++) {
            struct kdreg2_monitoring_params new = kt_monitor(fd, memory, 64, 1);

            CHECK(memcmp(&new, &params, sizeof new.location + sizeof new.generation) != 0);
            CHECK(kt_changed(now, params) && kt_changed(status, params));
            CHECK(!kt_changed(now, new));
            CHECK(kt_unmonitor(fd, 1, new) == 0, "%m");
        }
        const struct kdreg2_monitoring_state *state = now->monitoring_state_base;
        CHECK(state[n - 1].u.bits.in_use == 0);
    }
    /* All slots of the last size can be had. */
    size_t n = 1000;
    kt_config(fd, n);
    for (size_t i = 0; i < n; i++)
        kt_monitor(fd, memory, 64, i);
    CHECK_ERRNO(kt_try_monitor(fd, memory, 64, n, NULL), ENOSPC);
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
}

static atomic_int attempt;
static volatile sig_atomic_t signals;

static void count_signal(int signal)
{
    (void)signal;
    signals++;
}

static void *interrupter(void *thread)
{
    int before = 0;

    for (unsigned spin = 0;; spin++) {
        int now = atomic_load(&attempt);

        if (now < 0)
            return NULL;
        if (now == before)
            continue;
        before = now;
        /* One signal for each attempt, a little later each time. */
        for (volatile unsigned i = 0; i < spin % 3000; i++)
            ;
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
    }
}

/* To register with the kernel is given up when a signal is pending. The caller
 * does not see that. */
static void signals_come_in(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    pthread_t self = pthread_self(), thread;

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0, "%m");
    CHECK(pthread_create(&thread, NULL, interrupter, &self) == 0);
    for (int i = 1; i <= 100; i++) {
        int fd = kt_open();

        atomic_store(&attempt, i);
        kt_config(fd, 10);
        close(fd);
    }
    atomic_store(&attempt, -1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(signals > 0);
}

/* What /proc says of a descriptor. */
static void fdinfo(void)
{
    size_t page = kt_page();
    int fd = kt_open();
    char *memory = kt_space(2 * page);

    kt_config(fd, 77);
    kt_monitor(fd, memory, page, 1);
    kt_monitor(fd, memory + page, page, 2);
    munmap(memory, page);
    CHECK(kt_fdinfo(0, fd, "kdreg-max-regions") == 77);
    CHECK(kt_fdinfo(0, fd, "kdreg-regions") == 1);
    CHECK(kt_fdinfo(0, fd, "kdreg-pending-events") == 1);
    CHECK(kt_fdinfo(0, fd, "kdreg-total-events") == 1);
    close(fd);
}

int main(void)
{
    int fd = kt_open();
    int other = kt_open();

    names();
    before_config(fd);
    errors(fd);
    const struct kdreg2_status_data *status = kt_config(fd, 2500);
    initial_status(status, 2500);
    errors(fd);
    undeliverable(fd, status, 2500);
    reconfigure(other);
    signals_come_in();
    fdinfo();
    /* A descriptor does not notice what happens on another one. */
    initial_status(kt_config(kt_open(), 1), 1);
    CHECK(close(fd) == 0, "%m");
    /* Read-only and write-only descriptors can be opened, too. */
    CHECK(close(kt_open_flags(O_RDONLY)) == 0, "%m");
    CHECK(close(kt_open_flags(O_WRONLY)) == 0, "%m");
    fd = open(KDREG2_DEVICE_NAME, O_RDWR);
    CHECK(fd >= 0, "%m");
    kt_config(fd, 1);
    return 0;
}
