/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See looper_start() in worker.h. */
#include <linux/bpf.h>
#include <sched.h>
#include <sys/prctl.h>

#include "../check.h"
#include "worker.h"

static void loop(const struct plan *plan)
{
    union bpf_attr attr;
    uint64_t key = 0, value = 0;
    memset(&attr, 0, sizeof attr);
    attr.map_type = BPF_MAP_TYPE_HASH;
    attr.key_size = attr.value_size = sizeof key;
    attr.max_entries = 64;
    int map = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
    REQUIRE(map >= 0, "bpf(BPF_MAP_CREATE): %s", strerror(errno));
    int integer = integer_open();
    while (!atomic_load(plan->stop)) {
        integer_read(integer);
        memset(&attr, 0, sizeof attr);
        attr.map_fd = (uint32_t)map;
        attr.key = (uintptr_t)&key;
        attr.value = (uintptr_t)&value;
        key = ++value % 64;
        REQUIRE(syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof attr) == 0, "bpf(BPF_MAP_UPDATE_ELEM): %s", strerror(errno));
    }
}

pid_t looper_start(const struct plan *plan)
{
    pid_t parent = getpid(), child = check_fork();
    REQUIRE(child >= 0, "fork: %s", strerror(errno));
    if (child)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(plan->cpu < 0 ? 0 : plan->cpu, &set);
    REQUIRE(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity: %s", strerror(errno));
    loop(plan);
    check_leave();
}
