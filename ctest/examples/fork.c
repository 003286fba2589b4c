/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* fork: the child's copy of a handle is dead and harmless, the child opens its own, and the parent's cache stays warm. */
#include <errno.h>
#include <kdreg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LENGTH = 1 << 20 };

static int child(kdreg_t *inherited, struct kdreg_region *region, void *buffer)
{
    struct kdreg_region other;
    int error = kdreg_monitor(inherited, buffer, LENGTH, 1, &other);
    printf("child: the parent's handle: %s\n", kdreg_strerror(error));
    printf("child: the parent's region: %s\n", kdreg_valid(region) ? "valid" : "not valid");
    if (error != -ECHILD || kdreg_valid(region))
        return 1;
    /* It need not close what it inherited. */
    kdreg_t *own;
    if (kdreg_open(NULL, &own) || kdreg_monitor(own, buffer, LENGTH, 1, &other))
        return 1;
    if (!kdreg_valid(&other))
        return 1;
    /* What the child does to its memory is no change of the parent's. */
    munmap(buffer, LENGTH);
    printf("child: its own region, after munmap: %s\n", kdreg_valid(&other) ? "valid" : "changed");
    if (kdreg_valid(&other) || kdreg_close(own))
        return 1;
    return 0;
}

int main(void)
{
    kdreg_t *monitor;
    struct kdreg_region region;
    int error = kdreg_open(NULL, &monitor);
    if (error) {
        fprintf(stderr, "kdreg_open: %s\n", kdreg_strerror(error));
        return 1;
    }
    if (!(kdreg_caps(monitor) & KDREG_CAP_FORK_WARM)) {
        printf("skipped: backend %s does not promise to stay warm over fork\n", kdreg_backend_name(monitor));
        return 77;
    }
    void *buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED || kdreg_monitor(monitor, buffer, LENGTH, 1, &region))
        return 1;
    fflush(stdout); /* or the child prints it again */
    pid_t pid = fork();
    if (pid == 0) {
        int result = child(monitor, &region, buffer);
        fflush(stdout);
        _exit(result);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        printf("parent: the child failed with status %#x\n", status);
        return 1;
    }
    printf("parent: its region, after fork: %s\n", kdreg_valid(&region) ? "valid" : "changed");
    if (!kdreg_valid(&region))
        return 1;
    munmap(buffer, LENGTH);
    printf("parent: after its own munmap: %s\n", kdreg_valid(&region) ? "valid" : "changed");
    return kdreg_valid(&region) || kdreg_close(monitor) ? 1 : 0;
}
