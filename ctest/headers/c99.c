/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg.h first, alone, twice, and in strict C99. */
#include <kdreg.h>
#include <kdreg.h>
#include <kdreg/fabric.h>
#include <kdreg/uring.h>
#include <kdreg/verbs.h>

#include <stdio.h>
#include <stdlib.h>

bool other_unit_valid(const struct kdreg_region *region);

/* The layout that the ABI fixes on 64-bit machines. */
#define SIZE_IS(type, size) typedef char size_of_##type[sizeof(struct type) == (size) ? 1 : -1]
SIZE_IS(kdreg_attr, 24);
SIZE_IS(kdreg_event, 32);
SIZE_IS(kdreg_region, 24);
SIZE_IS(kdreg_backend_info, 248);
/* Grows at its end: what the first version had stays where it was. */
typedef char first_cache_attr[offsetof(struct kdreg_cache_attr, reg_with) == 80 ? 1 : -1];
SIZE_IS(kdreg_registration, 56);
SIZE_IS(kdreg_get_attr, 32);
SIZE_IS(kdreg_cache_stats, 120);

int main(void)
{
    struct kdreg_attr attr = KDREG_ATTR_INIT;
    struct kdreg_cache_attr cache = KDREG_CACHE_ATTR_INIT;
    struct kdreg_get_attr get = KDREG_GET_ATTR_INIT;
    struct kdreg_cache_stats stats = KDREG_CACHE_STATS_INIT;
    struct kdreg_cache_info info = KDREG_CACHE_INFO_INIT;
    struct kdreg_backend_info backend = KDREG_BACKEND_INFO_INIT;
    struct kdreg_group_attr group = KDREG_GROUP_ATTR_INIT;
    struct kdreg_verbs_attr verbs = KDREG_VERBS_ATTR_INIT;
    struct kdreg_uring_attr uring = KDREG_URING_ATTR_INIT;
    struct kdreg_fabric_attr fabric = KDREG_FABRIC_ATTR_INIT;
    struct kdreg_fabric_stats of_fabric = KDREG_FABRIC_STATS_INIT;
    struct kdreg_region region = {0};
    kdreg_t *monitor = NULL;
    char *block = malloc(100000);
    int error;
    if (attr.size != sizeof attr || cache.size != sizeof cache || get.size != sizeof get || stats.size != sizeof stats ||
        info.size != sizeof info || backend.size != sizeof backend)
        return 1;
    if (group.size != sizeof group || verbs.size != sizeof verbs || uring.size != sizeof uring || fabric.size != sizeof fabric ||
        of_fabric.size != sizeof of_fabric)
        return 1;
#if !KDREG_VERSION_AT_LEAST(0, 2) || KDREG_VERSION_AT_LEAST(KDREG_VERSION_MAJOR, KDREG_VERSION_MINOR + 1)
#error "the version of the header"
#endif
    if (kdreg_version() != KDREG_VERSION)
        return 1;
    error = kdreg_open(&attr, &monitor);
    if (error || !block) {
        fprintf(stderr, "FAILED: kdreg_open: %s\n", kdreg_strerror(error));
        return 1;
    }
    printf("c99: version %s, backend %s\n", kdreg_version_string(), kdreg_backend_name(monitor));
    if (kdreg_caps(monitor) & KDREG_CAP_UNMAP) {
        error = kdreg_monitor(monitor, block, 100000, 1, &region);
        if (error || !kdreg_valid(&region) || !other_unit_valid(&region)) {
            fprintf(stderr, "FAILED: kdreg_monitor: %s\n", kdreg_strerror(error));
            return 1;
        }
        error = kdreg_unmonitor(monitor, &region);
        if (error) {
            fprintf(stderr, "FAILED: kdreg_unmonitor: %s\n", kdreg_strerror(error));
            return 1;
        }
    }
    free(block);
    return kdreg_close(monitor) ? 1 : 0;
}
