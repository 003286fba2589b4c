/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* late FILE COMMAND...
 * Writes 0 to FILE. While the kernel is about to, since what is to be written is in a page that a userfaultfd keeps back, COMMAND runs; when
 * that has ended, 0 is written. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "../check.h"

enum { SIZE = 4096 };

struct writing {
    int file;
    const char *bytes;
    int error;
};

static void *write_it(void *given)
{
    struct writing *writing = given;
    writing->error = write(writing->file, writing->bytes, 2) == 2 ? 0 : errno;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    check_watchdog(1700);
    char *page = check_space(SIZE);
    int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {.range = {(uintptr_t)page, SIZE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    REQUIRE(faults >= 0 && ioctl(faults, UFFDIO_API, &api) == 0 && ioctl(faults, UFFDIO_REGISTER, &range) == 0, "userfaultfd: %s",
            strerror(errno));
    struct writing writing = {.file = open(argv[1], O_WRONLY | O_CLOEXEC), .bytes = page};
    REQUIRE(writing.file >= 0, "%s: %s", argv[1], strerror(errno));
    pthread_t writer;
    REQUIRE(pthread_create(&writer, NULL, write_it, &writing) == 0, "pthread_create");
    struct uffd_msg fault;
    REQUIRE(read(faults, &fault, sizeof(fault)) == (ssize_t)sizeof(fault), "no fault comes");

    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    CHECK(check_child_succeeded(child), "%s failed", argv[2]);

    static char zero[SIZE] __attribute__((aligned(SIZE))) = "0\n";
    struct uffdio_copy copy = {.dst = (uintptr_t)page, .src = (uintptr_t)zero, .len = SIZE};
    REQUIRE(ioctl(faults, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY: %s", strerror(errno));
    pthread_join(writer, NULL);
    if (writing.error)
        printf("%s: %s\n", argv[1], strerror(writing.error));
    return check_result("late");
}
