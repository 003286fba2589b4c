/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Addresses that are none of user space are refused: no change to the memory
 * behind them would ever be seen. Tags are no part of an address: where the
 * machine ignores them, so does the device, but for telling them back.
 */
#include "kt.h"

#include <signal.h>

#ifdef __x86_64__
#include <asm/prctl.h>
#ifndef ARCH_ENABLE_TAGGED_ADDR
#define ARCH_ENABLE_TAGGED_ADDR 0x4002
#endif
#endif

static int fd;
static size_t page;
static const struct kdreg2_status_data *status;

/* By the single call and in a batch, which look by themselves. */
static void refused(uint64_t address, uint64_t length)
{
    struct kdreg2_monitoring_params params;

    CHECK(kt_try_monitor(fd, (void *)(uintptr_t)address, length, 1, &params) == -1 && errno == EINVAL,
          "%#lx + %#lx: %s", address, length, strerrorname_np(errno));
    CHECK(params.location == KDREG2_LOCATION_NONE);
    struct kdreg_monitor_entry entry = {.addr = address, .length = length, .cookie = 1};
    struct kdreg_batch batch = {.entries = (uintptr_t)&entry, .count = 1};
    CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
    CHECK(entry.status == -EINVAL && entry.location == KDREG2_LOCATION_NONE, "%#lx + %#lx: %d",
          address, length, entry.status);
    CHECK(kt_active(status) == 0);
}

/* Whether the machine ignores a tag in these bits: a child finds out. It takes
 * the signal, or the kernel log would have it. */
static void not_ignored(int number)
{
    (void)number;
    _exit(1);
}

static bool ignored(uint64_t tag, char *memory)
{
    pid_t child = fork();

    if (child == 0) {
        signal(SIGSEGV, not_ignored);
        signal(SIGBUS, not_ignored);
        _exit(*(volatile char *)((uintptr_t)memory | tag) != 0x5a);
    }
    return kt_wait(child) == 0;
}

static void tagged(uint64_t tag)
{
    char *memory = kt_map(page), *space = kt_space(page);
    bool usable = ignored(tag, memory);

    munmap(memory, page);
    memory = space;
    if (!usable) {
        refused((uintptr_t)memory | tag, page);
        kt_unspace(space, page);
        printf("tag %#lx: refused\n", tag);
        return;
    }
    struct kdreg2_monitoring_params p = kt_monitor(fd, (void *)((uintptr_t)memory | tag), page, 1),
                                    same = kt_monitor(fd, memory, page, 1);
    CHECK(same.location == p.location && same.generation == p.generation);
    CHECK(munmap(memory, page) == 0, "%m");
    CHECK(kt_changed(status, p), "STALE: a region by an address with the tag %#lx", tag);
    struct kdreg2_event event = kt_event(fd);
    CHECK((uintptr_t)event.u.mapping_change.addr == ((uintptr_t)memory | tag),
          "%p", event.u.mapping_change.addr);
    printf("tag %#lx: seen through\n", tag);
}

int main(void)
{
    page = kt_page();
    /* Anybody may try. */
    if (getuid() == 0)
        kt_become_nobody();
    fd = kt_open();
    status = kt_config(fd, 16);
    /* The kernel's, what is between, and over the edges. */
    refused(UINT64_MAX, 1);
    refused(UINT64_MAX - page, page);
    refused(0xffff800000000000, page);
#ifdef __x86_64__
    /* Elsewhere these bits may be tags. */
    refused(1ULL << 63, 1);
    refused(1ULL << 57, 1);
#endif
    refused((1ULL << 56) - 1, 2);
    refused(0, UINT64_MAX);
    refused(0, 1ULL << 63);
    refused((uintptr_t)&page, 1ULL << 60);
    /* All of user space is fine, down to 0. */
    CHECK(kt_try_monitor(fd, NULL, (1UL << 46), 7, NULL) == 0, "%m");
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");

    tagged(0x5aULL << 56);
    tagged(1ULL << 62);
    tagged(1ULL << 57);
#ifdef __x86_64__
    /* Linear address masking, where there is any: six bits from 57 on. */
    if (syscall(SYS_arch_prctl, ARCH_ENABLE_TAGGED_ADDR, 6UL) == 0) {
        tagged(0x2aULL << 57);
        tagged(1ULL << 62);
    } else {
        printf("no linear address masking: %m\n");
    }
#endif
    kt_no_event(fd);
    return 0;
}
