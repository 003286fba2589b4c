/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Statistics in the kernel log: some, for whoever asks; never many. */
#include "kt.h"

#include <time.h>

enum { ASKED = 2000, IN_A_ROW = 10, INTERVAL = 10 };

/* Lines of the log that are statistics, from where the reader stands on. */
static unsigned statistics(int log)
{
    char record[8192];
    unsigned lines = 0;
    ssize_t size;

    for (;;) {
        size = read(log, record, sizeof record - 1);
        if (size < 0 && errno == EPIPE)
            kt_skip("the log ran over meanwhile");
        if (size <= 0)
            return lines;
        record[size] = 0;
        lines += strstr(record, "kdreg: max_regions ") || strstr(record, "kdreg: events: ");
    }
}

int main(void)
{
    int fd = kt_open(), log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
    struct timespec begin, end;

    if (log < 0)
        kt_skip("no kernel log");
    close(fd);
    CHECK(lseek(log, 0, SEEK_END) == 0, "%m");
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned i = 0; i < 4; i++) {
        pid_t child = fork();

        if (child == 0) {
            kt_become_nobody();
            fd = kt_open();
            for (unsigned n = 0; n < ASKED / 4; n++)
                CHECK(ioctl(fd, KDREG2_IOCTL_DUMP_STATS) == 0, "%m");
            _exit(0);
        }
        CHECK(kt_wait(child) == 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    unsigned lines = statistics(log);
    /* Others may have asked before; and a slow machine earns more. */
    unsigned most = 2 * (IN_A_ROW + 1 + (unsigned)((end.tv_sec - begin.tv_sec) / INTERVAL));
    printf("asked %u times: %u lines, at most %u\n", ASKED, lines, most);
    CHECK(lines <= most);
    return 0;
}
