/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* wakes COMMAND...
 * A process that waits for its events, and changes nothing, is woken when nothing is certain any more: another runs COMMAND, which is to
 * bring that about. */
#include <poll.h>

#include "../check.h"

enum { LONGEST = 120000 }; /* that only a hang reaches */

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    check_watchdog(300);
    kdreg_t *monitor = check_open(0);
    if (strcmp(kdreg_backend_name(monitor), "bpf")) {
        printf("skipped: the backend is %s\n", kdreg_backend_name(monitor));
        return CHECK_SKIPPED;
    }
    char *memory = check_space(4096);
    struct kdreg_region region;
    struct kdreg_event event = {0};
    REQUIRE(kdreg_monitor(monitor, memory, 4096, 7, &region) == 0, "kdreg_monitor");
    /* What was logged until now is taken. */
    while (kdreg_check(monitor, &event, 1) > 0)
        ;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    int taken = 0;
    while (taken == 0) {
        struct pollfd ready = {kdreg_fd(monitor), POLLIN, 0};
        int woken = poll(&ready, 1, LONGEST);
        if (woken < 0 && errno == EINTR)
            continue;
        REQUIRE(woken == 1, "nobody is woken");
        taken = kdreg_check(monitor, &event, 1);
    }
    CHECK_IS(taken, 1);
    CHECK_IS(event.cookie, 7);
    CHECK_IS(event.reason, KDREG_REASON_LOST);
    CHECK(check_child_succeeded(child), "%s failed", argv[1]);
    kdreg_close(monitor);
    return check_result("wakes");
}
