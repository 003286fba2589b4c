/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kdreg2 interface: read, poll, epoll, FLUSH, and what is not supported. */
#include "kt.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

static int fd;
static const struct kdreg2_status_data *status;

/* Makes `count` events, with cookies 0 ... count - 1 in this order. */
static void make_events(unsigned count)
{
    size_t page = kt_page();
    char *memory = kt_space(count * page);

    for (unsigned i = 0; i < count; i++)
        kt_monitor(fd, memory + i * page, page, i);
    for (unsigned i = 0; i < count; i++)
        CHECK(munmap(memory + i * page, page) == 0, "%m");
}

static void sizes(void)
{
    struct kdreg2_event events[64];

    CHECK(read(fd, events, 0) == 0, "%m");
    CHECK_ERRNO(read(fd, events, 1), EINVAL);
    CHECK_ERRNO(read(fd, events, sizeof *events - 1), EINVAL);
    make_events(50);
    CHECK(kt_pending(status) == 50);
    CHECK(read(fd, events, 0) == 0, "%m");
    CHECK_ERRNO(read(fd, events, sizeof *events - 1), EINVAL);
    CHECK(kt_pending(status) == 50);
    /* Whole events, as many as fit. */
    CHECK(read(fd, events, 3 * sizeof *events + 5) == 3 * sizeof *events, "%m");
    CHECK(events[2].u.mapping_change.cookie == 2 && kt_pending(status) == 47);
    CHECK(read(fd, events, sizeof events) == 47 * sizeof *events, "%m");
    for (unsigned i = 0; i < 47; i++)
        CHECK(events[i].type == KDREG2_EVENT_MAPPING_CHANGE &&
              events[i].u.mapping_change.cookie == i + 3);
    kt_no_event(fd);
}

/* A bad buffer: an error, and nothing lost. */
static void bad_buffers(void)
{
    size_t page = kt_page();
    char *memory = kt_map(2 * page);
    struct kdreg2_event *events = (struct kdreg2_event *)(memory + page) - 20;
    struct kdreg2_event event;

    make_events(40);
    CHECK_ERRNO(syscall(SYS_read, fd, 1L, sizeof event), EFAULT);
    CHECK_ERRNO(syscall(SYS_read, fd, 0L, 10 * sizeof event), EFAULT);
    CHECK(kt_pending(status) == 40 && kt_poll(fd) == POLLIN);
    CHECK(munmap(memory + page, page) == 0, "%m");
    /* Room for 20, and half of one in the way of the 19th. */
    CHECK(read(fd, (char *)events + 40, 40 * sizeof event) == 18 * sizeof event, "%m");
    CHECK(kt_pending(status) == 22);
    for (unsigned i = 18; i < 40; i++) {
        event = kt_event(fd);
        CHECK(event.u.mapping_change.cookie == i, "event %llu instead of %u",
              (unsigned long long)event.u.mapping_change.cookie, i);
    }
    kt_no_event(fd);
    munmap(memory, page);
}

static void flush(void)
{
    uint64_t total = kt_total(status);

    make_events(20);
    CHECK(kt_total(status) == total + 20);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    CHECK(kt_pending(status) == 0 && kt_total(status) == total + 20);
    kt_no_event(fd);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    make_events(1);
    kt_event(fd);
}

static void unsupported(void)
{
    struct kdreg2_event events[2];
    struct iovec vector[2] = {{events, sizeof *events}, {events + 1, sizeof *events}};

    make_events(2);
    CHECK_ERRNO(pread(fd, events, sizeof events, 0), ESPIPE);
    CHECK_ERRNO(preadv(fd, vector, 2, 0), ESPIPE);
    CHECK_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
    CHECK_ERRNO(write(fd, events, sizeof events), EOPNOTSUPP);
    CHECK_ERRNO(writev(fd, vector, 2), EOPNOTSUPP);
    CHECK_ERRNO(pwrite(fd, events, sizeof events, 0), ESPIPE);
    CHECK(mmap(NULL, kt_page(), PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(kt_pending(status) == 2);
    CHECK(readv(fd, vector, 2) == sizeof events, "%m");
    CHECK(events[1].u.mapping_change.cookie == 1);
}

/* poll and epoll, both triggers. */
static void polling(void)
{
    int level = epoll_create1(EPOLL_CLOEXEC), edge = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT}, f = {.events = EPOLLIN | EPOLLET};

    CHECK(epoll_ctl(level, EPOLL_CTL_ADD, fd, &e) == 0, "%m");
    CHECK(epoll_ctl(edge, EPOLL_CTL_ADD, fd, &f) == 0, "%m");
    CHECK(epoll_wait(level, &e, 1, 0) == 0 && epoll_wait(edge, &e, 1, 0) == 0);
    make_events(2);
    CHECK(epoll_wait(level, &e, 1, 0) == 1 && e.events == EPOLLIN);
    CHECK(epoll_wait(edge, &e, 1, 0) == 1 && e.events == EPOLLIN);
    CHECK(epoll_wait(edge, &e, 1, 0) == 0);
    CHECK(epoll_wait(level, &e, 1, 0) == 1);
    kt_event(fd);
    CHECK(epoll_wait(level, &e, 1, 0) == 1);
    kt_event(fd);
    CHECK(epoll_wait(level, &e, 1, 0) == 0);
    make_events(1);
    CHECK(epoll_wait(edge, &e, 1, 0) == 1);
    kt_event(fd);
    close(level);
    close(edge);
}

static void *sleeping_reader(void *result)
{
    struct kdreg2_event event;
    int flags = fcntl(fd, F_GETFL);

    CHECK(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0, "%m");
    *(ssize_t *)result = read(fd, &event, sizeof event);
    CHECK(fcntl(fd, F_SETFL, flags) == 0, "%m");
    return NULL;
}

static void *sleeping_poller(void *result)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    *(ssize_t *)result = poll(&p, 1, -1);
    return NULL;
}

/* Waits until the other thread of the process sleeps in the kernel. */
static void wait_until_asleep(void)
{
    char name[64], state;

    for (int i = 0; i < 100000; i++) {
        int asleep = 0;

        for (int tid = getpid() + 1; tid < getpid() + 1000 && !asleep; tid++) {
            snprintf(name, sizeof name, "/proc/self/task/%d/stat", tid);
            FILE *file = fopen(name, "r");

            if (!file)
                continue;
            asleep = fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && state == 'S';
            fclose(file);
        }
        if (asleep)
            return;
        usleep(100);
    }
    CHECK(!"asleep in time");
}

static void blocking(void *(*sleeper)(void *), ssize_t expected)
{
    pthread_t thread;
    ssize_t result = 0;

    CHECK(pthread_create(&thread, NULL, sleeper, &result) == 0);
    wait_until_asleep();
    make_events(1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(result == expected, "%zd", result);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
}

static void nothing(int signal)
{
    (void)signal;
}

/* A signal interrupts a read that sleeps. */
static void interrupted(void)
{
    struct sigaction action = {.sa_handler = nothing};
    struct kdreg2_event event;
    pid_t parent = getpid();

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0, "%m");
    CHECK(fcntl(fd, F_SETFL, 0) == 0, "%m");
    pid_t child = fork();
    if (child == 0) {
        /* Again and again: the first may come before the read sleeps. */
        while (kill(parent, SIGUSR1) == 0 && getppid() == parent)
            usleep(1000);
        _exit(0);
    }
    CHECK_ERRNO(read(fd, &event, sizeof event), EINTR);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK_ERRNO(poll(&p, 1, -1), EINTR);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "%m");
}

int main(void)
{
    fd = kt_open();
    status = kt_config(fd, 64);
    sizes();
    bad_buffers();
    flush();
    unsupported();
    polling();
    blocking(sleeping_reader, sizeof(struct kdreg2_event));
    blocking(sleeping_poller, 1);
    interrupted();
    return 0;
}
