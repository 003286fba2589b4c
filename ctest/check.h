/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What every C test program here is made of: say what is checked, check it, count what failed, end in bounded time. */
#ifndef KDREG_CHECK_H
#define KDREG_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include <kdreg.h>

enum { CHECK_SKIPPED = 77 }; /* ctest reads it as "skipped" (SKIP_RETURN_CODE) */

/* One of each in a program, however many files of it check something. */
__attribute__((weak, visibility("hidden"))) atomic_int check_failures;
__attribute__((weak, visibility("hidden"))) atomic_int check_made;

__attribute__((format(printf, 3, 4), unused)) static void check_fail(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "FAILED %s:%d: %s\n", file, line, text);
    atomic_fetch_add(&check_failures, 1);
}

/* CHECK(condition, "what should have held, with %d figures", ...) */
#define CHECK(condition, ...)                                   \
    do {                                                        \
        atomic_fetch_add(&check_made, 1);                       \
        if (!(condition))                                       \
            check_fail(__FILE__, __LINE__, __VA_ARGS__);        \
    } while (0)

/* CHECK_IS(call, value): an integer result is exactly this one. */
#define CHECK_IS(actual, expected)                                                                                  \
    do {                                                                                                            \
        long long check_actual = (long long)(actual), check_expected = (long long)(expected);                       \
        CHECK(check_actual == check_expected, "%s is %lld, expected %lld", #actual, check_actual, check_expected);  \
    } while (0)

/* REQUIRE(condition, ...): without this nothing later makes sense. */
#define REQUIRE(condition, ...)                                 \
    do {                                                        \
        bool check_holds = (condition);                         \
        CHECK(check_holds, __VA_ARGS__);                        \
        if (!check_holds) {                                     \
            fflush(stdout);                                     \
            _exit(1);                                           \
        }                                                       \
    } while (0)

__attribute__((format(printf, 1, 2), unused)) static void check_says(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("  checks: ");
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

__attribute__((unused)) static int check_result(const char *program)
{
    int failed = atomic_load(&check_failures);
    printf("%s: %d checks, %d failed\n", program, atomic_load(&check_made), failed);
    fflush(stdout);
    return failed ? 1 : 0;
}

/* Ends a program that hangs, by the default action of SIGALRM: a thread that sleeps in munmap until its monitor has heard of it takes fatal
 * signals only, so a handler would never run. Call again to grant more time. */
__attribute__((unused)) static void check_watchdog(unsigned seconds)
{
    signal(SIGALRM, SIG_DFL);
    alarm(seconds);
}

__attribute__((unused)) static double check_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

__attribute__((unused)) static void check_sleep_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&pause, &pause) && errno == EINTR)
        ;
}

/* CHECK_EVENTUALLY(condition, seconds, ...): for what is allowed to take a while. The bound is generous: it only ends a failure. */
#define CHECK_EVENTUALLY(condition, seconds, ...)                                       \
    do {                                                                                \
        double check_until = check_now() + (seconds);                                   \
        bool check_holds = false;                                                       \
        while (!(check_holds = (condition)) && check_now() < check_until)               \
            check_sleep_ms(1);                                                          \
        CHECK(check_holds, __VA_ARGS__);                                                \
    } while (0)

/* Asked of the kernel, not of the library, so that a library that wrongly finds no backend fails instead of being skipped. */
__attribute__((unused)) static bool check_kernel_can_watch(void)
{
    const char *wanted = getenv("KDREG_BACKEND");
    if (wanted && strcmp(wanted, "none") == 0)
        return false;
    if (access("/dev/kdreg", R_OK | W_OK) == 0 || access("/dev/kdreg2", R_OK | W_OK) == 0)
        return true;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* UFFD_USER_MODE_ONLY */);
    if (fd < 0)
        return false;
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_REMAP};
    bool able = ioctl(fd, UFFDIO_API, &api) == 0;
    close(fd);
    return able;
}

/* Opens what kdreg_open chooses, and says whether that watches memory: it must where the kernel can. */
__attribute__((unused)) static kdreg_t *check_open_any(bool *watches)
{
    kdreg_t *monitor = NULL;
    REQUIRE(kdreg_open(NULL, &monitor) == 0, "kdreg_open");
    *watches = kdreg_caps(monitor) & KDREG_CAP_UNMAP;
    CHECK(*watches == check_kernel_can_watch(), "the kernel %s, and the backend is %s", *watches ? "cannot watch" : "can watch", kdreg_backend_name(monitor));
    return monitor;
}

/* Opens a monitor that can watch memory. Skips the program only where the kernel itself offers nothing to watch with. */
__attribute__((unused)) static kdreg_t *check_open(uint32_t flags)
{
    struct kdreg_attr attr = {.size = sizeof attr, .flags = flags};
    kdreg_t *monitor = NULL;
    int error = kdreg_open(&attr, &monitor);
    REQUIRE(error == 0 && monitor, "kdreg_open(flags %u): %s", flags, kdreg_strerror(error));
    if (!(kdreg_caps(monitor) & KDREG_CAP_UNMAP)) {
        REQUIRE(!check_kernel_can_watch(), "the kernel can watch memory, but kdreg_open chose backend \"%s\" (run kdreg_info to see why)",
                kdreg_backend_name(monitor));
        printf("skipped: no backend that watches memory works here\n");
        exit(CHECK_SKIPPED);
    }
    return monitor;
}

/* Addresses for `length` bytes where the kernel puts nothing of its own accord: low, and for each call others. What a test unmaps there stays
 * unmapped, where an mmap of the library's, of an allocator's or a sanitizer's that names no address would fill a hole beside the other
 * mappings. A hint: who lacks such addresses maps elsewhere. */
__attribute__((weak)) uintptr_t check_next_place = 0x210000000000u;
__attribute__((unused)) static void *check_place(size_t length)
{
    size_t apart = 1u << 21;
    return (void *)__atomic_fetch_add(&check_next_place, (length + 2 * apart - 1) / apart * apart, __ATOMIC_RELAXED);
}

/* Memory of which no page is there, to be left untouched. Pages that are there the kernel moves when it likes (compaction, khugepaged), and a
 * backend that sees that says so, rightly: only of untouched memory, or of memory that is really pinned, can a test say that a region stays
 * valid and an entry is found. What the process itself does to it is seen all the same. */
__attribute__((unused)) static char *check_space(size_t length)
{
    char *memory = mmap(check_place(length), length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    return memory;
}

/* The bpf backend is told of changes to any memory of the process; in one of its modes of discards where there are pages, and not why. */
__attribute__((unused)) static bool check_is_bpf(kdreg_t *monitor)
{
    return strcmp(kdreg_backend_name(monitor), "bpf") == 0;
}

/* Sees to it that there are pages, which a discard can take away, where one of memory that has none may not be seen. */
__attribute__((unused)) static void check_pages(kdreg_t *monitor, void *memory, size_t length)
{
    volatile char *bytes = memory;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; check_is_bpf(monitor) && i < length; i += page)
        bytes[i] = bytes[i];
}

/* In a child that came about otherwise than by check_fork(). */
__attribute__((unused)) static void check_forget(void)
{
    atomic_store(&check_failures, 0);
    atomic_store(&check_made, 0);
}

/* fork(); what the child checks is its own, whatever has failed before. It ends by check_leave(). */
__attribute__((unused)) static pid_t check_fork(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        check_forget();
    return child;
}

__attribute__((noreturn, unused)) static void check_leave(void)
{
    fflush(NULL);
    _exit(atomic_load(&check_failures) != 0);
}

/* Waits for a forked child; true when it exited with 0. */
__attribute__((unused)) static bool check_child_succeeded(pid_t child)
{
    int status = 0;
    pid_t reaped;
    while ((reaped = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        ;
    return reaped == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif
