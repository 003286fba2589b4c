/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kdreg2 interface: MONITOR, UNMONITOR, UNMONITOR_ALL. */
#include "kt.h"

#define SLOTS 16

static int fd;
static const struct kdreg2_status_data *status;

static uint32_t word(size_t location)
{
    return status->monitoring_state_base[location].u.raw;
}

static void parameters(void)
{
    struct kdreg2_monitoring_params p;
    char *memory = kt_space(kt_page());

    CHECK(kt_try_monitor(fd, memory, 0, 1, &p) == -1 && errno == EINVAL, "%m");
    CHECK(p.location == KDREG2_LOCATION_NONE);
    CHECK(kt_try_monitor(fd, memory, 1, KDREG2_BAD_COOKIE_VALUE, &p) == -1 && errno == EINVAL,
          "%m");
    CHECK(p.location == KDREG2_LOCATION_NONE);
    /* Ends beyond the address space. */
    CHECK(kt_try_monitor(fd, memory, SIZE_MAX, 1, &p) == -1 && errno == EINVAL, "%m");
    CHECK(kt_active(status) == 0);

    /* Cookie 0 is a cookie; address 0 an address. */
    p = kt_monitor(fd, NULL, 1, 0);
    CHECK(p.location < SLOTS && (p.generation & 1) == 1 && word(p.location) == p.generation);
    CHECK(status->monitoring_state_base[p.location].u.bits.in_use == 1);
    CHECK(status->monitoring_state_base[p.location].u.bits.data == p.generation >> 1);
    CHECK(!kt_changed(status, p) && kt_active(status) == 1);
    CHECK(kt_unmonitor(fd, 0, p) == 0, "%m");
    CHECK(kt_changed(status, p) && kt_active(status) == 0);
    kt_no_event(fd);
    munmap(memory, kt_page());
}

static void cookies(void)
{
    char *memory = kt_space(kt_page());
    struct kdreg2_monitoring_params p = kt_monitor(fd, memory, 100, 7), q;

    /* The same again: the same parameters. */
    CHECK(kt_try_monitor(fd, memory, 100, 7, &q) == 0, "%m");
    CHECK(p.location == q.location && p.generation == q.generation && kt_active(status) == 1);
    /* The same cookie for another range. */
    CHECK(kt_try_monitor(fd, memory, 101, 7, &q) == -1 && errno == EBUSY, "%m");
    CHECK(q.location == KDREG2_LOCATION_NONE);
    CHECK(kt_try_monitor(fd, memory + 1, 99, 7, &q) == -1 && errno == EBUSY, "%m");
    CHECK(!kt_changed(status, p));
    /* Another cookie for the same range. */
    q = kt_monitor(fd, memory, 100, 8);
    CHECK(q.location != p.location && kt_active(status) == 2);

    /* Not found: no error. */
    CHECK(kt_unmonitor(fd, 99, p) == 0, "%m");
    CHECK(!kt_changed(status, p) && !kt_changed(status, q));
    /* Location out of range. */
    q.location = SLOTS;
    CHECK_ERRNO(kt_unmonitor(fd, 8, q), EINVAL);
    q.location = SIZE_MAX;
    CHECK_ERRNO(kt_unmonitor(fd, 8, q), EINVAL);
    /* The cookie in use with other parameters. */
    CHECK_ERRNO(kt_unmonitor(fd, 8, p), EBADSLT);
    CHECK(kt_unmonitor(fd, 7, p) == 0, "%m");
    q = kt_monitor(fd, memory, 100, 7);
    CHECK_ERRNO(kt_unmonitor(fd, 7, p), EBADSLT);
    CHECK(!kt_changed(status, q) && kt_changed(status, p));

    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(kt_changed(status, q) && kt_active(status) == 0);
    kt_no_event(fd);
    munmap(memory, kt_page());
    kt_no_event(fd);
}

/* Byte-granular ranges, overlaps, one event for each region. */
static void overlaps(void)
{
    size_t page = kt_page();
    char *memory = kt_space(4 * page);
    struct kdreg2_monitoring_params before = kt_monitor(fd, memory, page, 1);
    struct kdreg2_monitoring_params last_byte = kt_monitor(fd, memory + 2 * page - 1, 1, 2);
    struct kdreg2_monitoring_params all = kt_monitor(fd, memory, 4 * page, 3);
    struct kdreg2_monitoring_params first_byte = kt_monitor(fd, memory + page, 1, 4);
    struct kdreg2_monitoring_params after = kt_monitor(fd, memory + 2 * page, page, 5);
    struct kdreg2_event event;
    uint64_t total = kt_total(status);

    CHECK(munmap(memory + page, page) == 0, "%m");
    CHECK(!kt_changed(status, before) && !kt_changed(status, after));
    CHECK(kt_changed(status, last_byte) && kt_changed(status, all) && kt_changed(status, first_byte));
    CHECK(kt_active(status) == 2 && kt_pending(status) == 3 && kt_total(status) == total + 3);
    unsigned seen = 0;
    for (int i = 0; i < 3; i++) {
        event = kt_event(fd);
        CHECK(event._alignment == 0);
        uint64_t cookie = event.u.mapping_change.cookie;
        CHECK(cookie >= 2 && cookie <= 4);
        seen |= 1U << cookie;
        const void *addr = event.u.mapping_change.addr;
        size_t len = event.u.mapping_change.len;
        CHECK(cookie != 2 || (addr == memory + 2 * page - 1 && len == 1));
        CHECK(cookie != 3 || (addr == memory && len == 4 * page));
        CHECK(cookie != 4 || (addr == memory + page && len == 1));
        CHECK(kt_pending(status) == (uint64_t)(2 - i));
    }
    CHECK(seen == 0x1c);
    kt_no_event(fd);
    /* UNMONITOR of what has changed: clients rely on success. */
    CHECK(kt_unmonitor(fd, 3, all) == 0, "%m");
    /* The slot can be in use again by then; other than that nothing happens. */
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    munmap(memory, 4 * page);
    kt_no_event(fd);
}

/* A full descriptor, and events that take up its slots. */
static void full(void)
{
    size_t page = kt_page();
    char *memory = kt_space(SLOTS * page);
    struct kdreg2_monitoring_params p[SLOTS], q;

    for (unsigned i = 0; i < SLOTS; i++)
        p[i] = kt_monitor(fd, memory + i * page, page, i);
    CHECK(kt_try_monitor(fd, memory, page, SLOTS, &q) == -1 && errno == ENOSPC, "%m");
    CHECK(q.location == KDREG2_LOCATION_NONE);
    munmap(memory, 2 * page);
    /* Two events wait: their slots are not free, so that none can be lost. */
    CHECK_ERRNO(kt_try_monitor(fd, memory, page, SLOTS, NULL), ENOSPC);
    kt_event(fd);
    kt_monitor(fd, memory, page, 0);
    CHECK_ERRNO(kt_try_monitor(fd, memory, page, SLOTS, NULL), ENOSPC);
    CHECK(kt_pending(status) == 1);
    CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
    CHECK(kt_pending(status) == 0);
    kt_no_event(fd);
    kt_monitor(fd, memory, page, 1);
    CHECK_ERRNO(kt_try_monitor(fd, memory, page, SLOTS, NULL), ENOSPC);
    /* UNMONITOR_ALL does not leak slots. */
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    CHECK(kt_active(status) == 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        q = kt_monitor(fd, memory, page, i);
        CHECK(q.location != p[i].location || q.generation != p[i].generation);
        CHECK(kt_changed(status, p[i]));
    }
    CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
    munmap(memory, SLOTS * page);
}

/* The result cannot be delivered: the region is not monitored. */
static void undeliverable(void)
{
    struct kdreg2_ioctl_monitor *data =
        mmap(NULL, kt_page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(data != MAP_FAILED, "%m");
    *data = (struct kdreg2_ioctl_monitor){.addr = &fd, .length = sizeof fd, .cookie = 5};
    CHECK(mprotect(data, kt_page(), PROT_READ) == 0, "%m");
    CHECK_ERRNO(ioctl(fd, KDREG2_IOCTL_MONITOR, data), EFAULT);
    CHECK(kt_active(status) == 0);
    kt_no_event(fd);
    munmap(data, kt_page());
}

int main(void)
{
    fd = kt_open();
    status = kt_config(fd, SLOTS);
    for (int i = 0; i < 3; i++) {
        parameters();
        cookies();
        overlaps();
        full();
        undeliverable();
    }
    return 0;
}
