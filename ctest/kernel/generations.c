/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Generations never repeat: a slot that has used up its own is retired. Needs
 * the module to start near the end:
 *
 *   insmod kdreg.ko first_generation=2147483640
 */
#include "kt.h"

#define SLOTS 4
#define LAST 0x7fffffffu

int main(void)
{
    char *memory = kt_space(kt_page());
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, SLOTS);
    struct kdreg2_monitoring_params p = kt_monitor(fd, memory, 64, 1), used[256];
    unsigned each = LAST - (p.generation >> 1) + 1, total = 1;

    if (each > 64)
        kt_skip("the generations of this module last for too long (first_generation)");
    used[0] = p;
    CHECK(kt_unmonitor(fd, 1, p) == 0, "%m");
    while (kt_try_monitor(fd, memory, 64, total, &p) == 0) {
        CHECK(!kt_changed(status, p));
        CHECK(total < 256);
        for (unsigned i = 0; i < total; i++) {
            CHECK(used[i].location != p.location || used[i].generation != p.generation,
                  "use %u repeats use %u", total, i);
            CHECK(kt_changed(status, used[i]));
        }
        used[total] = p;
        /* In turn by UNMONITOR, UNMONITOR_ALL and an event. */
        if (total % 3 == 0) {
            CHECK(kt_unmonitor(fd, total, p) == 0, "%m");
        } else if (total % 3 == 1) {
            CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
        } else {
            char *page = kt_space(kt_page());

            CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
            total++;
            if (kt_try_monitor(fd, page, kt_page(), total, &p) != 0)
                break;
            used[total - 1] = used[total] = p;
            munmap(page, kt_page());
            CHECK(kt_changed(status, p));
            CHECK(kt_event(fd).u.mapping_change.cookie == total);
        }
        total++;
    }
    CHECK(errno == ENOSPC, "%m");
    CHECK(kt_active(status) == 0);
    printf("%u slots, %u generations each, %u uses\n", SLOTS, each, total);
    CHECK(total >= SLOTS * each - 1 && total <= SLOTS * each + 1);
    /* They stay retired, whatever is configured. */
    kt_config(fd, SLOTS);
    CHECK_ERRNO(kt_try_monitor(fd, memory, 64, 1, NULL), ENOSPC);
    kt_config(fd, SLOTS + 1);
    p = kt_monitor(fd, memory, 64, 1);
    CHECK(p.location == SLOTS);
    return 0;
}
