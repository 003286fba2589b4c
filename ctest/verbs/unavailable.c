/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Without libibverbs, and without a device: an errno, and a message that says what to do. Links no libibverbs. */
#include "../check.h"
#include "said.h"

#include <kdreg/verbs.h>

static void expect(int err, int expected, const char *advice)
{
    CHECK_IS(err, expected);
    CHECK(strstr(said, advice), "the log says '%s', not what to do ('%s')", said, advice);
    printf("  %s\n  %s\n", kdreg_strerror(err), said);
    said[0] = 0;
}

int main(int argc, char **argv)
{
    check_watchdog(60);
    bool library = argc > 1 && strcmp(argv[1], "library") == 0;
    CHECK_IS(said_begin(), 0);
    kdreg_cache_t *cache = NULL;
    /* Nobody looks into it before the library is there. */
    static char pd[64];
    if (library) {
        check_says("no libibverbs");
        expect(kdreg_verbs_probe(), -ELIBACC, "Debian: libibverbs1");
        expect(kdreg_verbs_cache_create((struct ibv_pd *)pd, NULL, &cache), -ELIBACC, "Debian: libibverbs1");
    } else {
        check_says("no device");
        expect(kdreg_verbs_probe(), -ENODEV, "rdma link add");
        expect(kdreg_verbs_cache_create(NULL, NULL, &cache), -ENODEV, "ibv_devices");
    }
    CHECK(cache == NULL, "nothing was written");
    return check_result("unavailable");
}
