/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg/uring.h against what goes wrong: an errno, a line in the log that says what to do, nothing changed. */
#include "../check.h"
#include "ring.h"

#include <grp.h>
#include <kdreg/uring.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PAGE 4096

static char logged[2048];

static void take_log(void *context, int level, const char *message)
{
    (void)context;
    (void)level;
    snprintf(logged, sizeof(logged), "%s", message);
}

/* The call fails with the errno, and the log names the remedy. */
#define REFUSED(call, error, remedy)                                                           \
    do {                                                                                       \
        logged[0] = 0;                                                                         \
        CHECK_IS(call, error);                                                                 \
        CHECK(strstr(logged, remedy), "the log says '%s', not '%s'", logged, remedy);           \
    } while (0)

static char *map(size_t length, int protection)
{
    char *addr = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(addr != MAP_FAILED, "mmap: %s", strerror(errno));
    return addr;
}

static void bad_arguments(int ring_fd)
{
    struct kdreg_uring_attr attr = { .size = sizeof(attr) };
    kdreg_uring_t *uring = NULL;
    int closed = dup(ring_fd), null = open("/dev/null", O_RDWR | O_CLOEXEC);

    check_says("bad arguments");
    close(closed);
    CHECK_IS(kdreg_uring_create(NULL, ring_fd, NULL, NULL), -EINVAL);
    REFUSED(kdreg_uring_create(NULL, -1, NULL, &uring), -EBADF, "is not open");
    REFUSED(kdreg_uring_create(NULL, closed, NULL, &uring), -EBADF, "is not open");
    REFUSED(kdreg_uring_create(NULL, null, NULL, &uring), -EOPNOTSUPP, "pass liburing's ring_fd");
    attr.flags = 16;
    CHECK_IS(kdreg_uring_create(NULL, ring_fd, &attr, &uring), -EINVAL);
    attr.flags = 0;
    attr.first = 1; /* only a window has one */
    CHECK_IS(kdreg_uring_create(NULL, ring_fd, &attr, &uring), -EINVAL);
    attr.first = 0;
    attr.slots = 16385;
    CHECK_IS(kdreg_uring_create(NULL, ring_fd, &attr, &uring), -EINVAL);
    attr.slots = 4;
    attr.flags = KDREG_URING_WINDOW;
    REFUSED(kdreg_uring_create(NULL, ring_fd, &attr, &uring), -ENXIO, "no such slots");
    attr.size = 8;
    CHECK_IS(kdreg_uring_create(NULL, ring_fd, &attr, &uring), -EINVAL);
    CHECK(!uring, "something was written on failure");
    CHECK_IS(kdreg_uring_get(NULL, wait, 1), -EINVAL);
    CHECK_IS(kdreg_uring_put((kdreg_uring_t *)(void *)logged, 0), -EBADF);
    CHECK_IS(kdreg_uring_destroy(NULL), -EINVAL);
    close(null);
}

static void holding(int ring_fd)
{
    struct kdreg_uring_attr attr = { .size = sizeof(attr), .slots = 2, .flags = KDREG_URING_NO_MERGE };
    struct kdreg_cache_stats stats = { .size = sizeof(stats) };
    kdreg_uring_t *uring, *second = NULL;
    char *one = map(PAGE, PROT_READ | PROT_WRITE), *two = map(PAGE, PROT_READ | PROT_WRITE);
    char *three = map(PAGE, PROT_READ | PROT_WRITE), *constant = map(PAGE, PROT_READ);
    int first, other, status;

    check_says("indices in use");
    REQUIRE(kdreg_uring_create(NULL, ring_fd, &attr, &uring) == 0, "kdreg_uring_create");
    REFUSED(kdreg_uring_create(NULL, ring_fd, NULL, &second), -EBUSY, "KDREG_URING_WINDOW");
    CHECK_IS(kdreg_uring_put(uring, 0), -EINVAL);
    CHECK_IS(kdreg_uring_put(uring, -1), -EINVAL);
    CHECK_IS(kdreg_uring_put(uring, 2), -EINVAL);
    CHECK_IS(kdreg_uring_get(uring, one, 0), -EINVAL);
    REFUSED(kdreg_uring_get(uring, constant, PAGE), -EFAULT, "writable memory only");
    first = kdreg_uring_get(uring, one, PAGE);
    other = kdreg_uring_get(uring, two, 10);
    CHECK(first >= 0 && other >= 0 && first != other, "indices %d and %d", first, other);
    REFUSED(kdreg_uring_get(uring, three, PAGE), -ENOBUFS, "more slots");
    CHECK_IS(kdreg_uring_destroy(uring), -EBUSY);
    CHECK_IS(kdreg_uring_stats(uring, &stats), 0);
    CHECK_IS(stats.in_use, 2);
    pid_t child = fork();
    if (child == 0)
        _exit(kdreg_uring_get(uring, one, PAGE) == -ECHILD && kdreg_uring_put(uring, first) == -ECHILD &&
                      kdreg_uring_destroy(uring) == -ECHILD ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0, "a child's calls return -ECHILD");
    CHECK_IS(kdreg_uring_put(uring, first), 0);
    CHECK_IS(kdreg_uring_put(uring, other), 0);
    CHECK_IS(kdreg_uring_put(uring, other), -EINVAL);
    CHECK(kdreg_uring_get(uring, three, PAGE) >= 0, "a slot is free again");
    CHECK_IS(kdreg_uring_destroy(uring), -EBUSY);
    for (int index = 0; index < 2; index++)
        kdreg_uring_put(uring, index);
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    CHECK_IS(kdreg_uring_destroy(uring), -EBADF);
    munmap(one, PAGE);
    munmap(two, PAGE);
    munmap(three, PAGE);
    munmap(constant, PAGE);
}

/* As a user who may lock 256 KiB: what is idle makes room, what is held does not. */
static void memlock(void)
{
    struct rlimit limit = { 256 << 10, 256 << 10 };
    struct ring ring;
    kdreg_uring_t *uring;
    size_t most = 1 << 20;
    char *addr = map(most, PROT_READ | PROT_WRITE);

    if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
        (geteuid() == 0 && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))) {
        printf("  not checked, RLIMIT_MEMLOCK: %s\n", strerror(errno));
        return;
    }
    prctl(PR_SET_DUMPABLE, 1); /* /proc/self is ours again, as after an exec */
    if (ring_open(&ring, 4, 4) < 0) {
        printf("  not checked, RLIMIT_MEMLOCK: nobody may not have a ring here\n");
        return;
    }
    REQUIRE(kdreg_uring_create(NULL, ring.fd, NULL, &uring) == 0, "kdreg_uring_create");
    for (size_t at = 0; at < most; at += 16 * PAGE) {
        int index;
        /* What was released, here or by this user's other processes, may count for a moment longer. */
        CHECK_EVENTUALLY((index = kdreg_uring_get(uring, addr + at, 8 * PAGE)) != -ENOMEM, 60, "32 KiB at %zu: no room", at);
        CHECK(index >= 0, "32 KiB at %zu: %d", at, index);
        CHECK_IS(kdreg_uring_put(uring, index), 0);
    }
    REFUSED(kdreg_uring_get(uring, addr, most), -ENOMEM, "RLIMIT_MEMLOCK is 256 KiB");
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    ring_close(&ring);
}

/* A filter that lets the ring be made, and no buffer be registered. */
static void seccomp(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 427 /* io_uring_register */, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
    struct ring ring;
    kdreg_uring_t *uring, *late;
    char *addr = map(PAGE, PROT_READ | PROT_WRITE);

    REQUIRE(ring_open(&ring, 4, 4) == 0, "a ring");
    REQUIRE(kdreg_uring_create(NULL, ring.fd, NULL, &uring) == 0, "kdreg_uring_create");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        printf("  not checked, seccomp: %s\n", strerror(errno));
        return;
    }
    REFUSED(kdreg_uring_get(uring, addr, PAGE), -EPERM, "seccomp filter");
    REFUSED(kdreg_uring_create(NULL, ring.fd, NULL, &late), -EPERM, "seccomp filter");
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    ring_close(&ring);
}

static void in_child(const char *what, void (*check)(void))
{
    int status;
    pid_t child;

    check_says("%s", what);
    child = check_fork();
    if (child == 0) {
        check();
        check_leave();
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0, "%s: status %d", what, status);
}

int main(void)
{
    struct ring ring;
    int ret = ring_open(&ring, 4, 4);

    alarm(240);
    if (ret < 0) {
        printf("skipped: io_uring_setup: %s\n", strerror(-ret));
        return CHECK_SKIPPED;
    }
    kdreg_set_log(take_log, NULL, KDREG_LOG_WARN);
    bad_arguments(ring.fd);
    holding(ring.fd);
    ring_close(&ring);
    in_child("RLIMIT_MEMLOCK too small", memlock);
    in_child("refused by seccomp", seccomp);
    return check_result("adaptor");
}
