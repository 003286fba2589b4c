/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* kdreg.h first, alone, twice, and in strict C99. */
#include <kdreg.h>
#include <kdreg.h>

#include <stdio.h>
#include <stdlib.h>

bool other_unit_valid(const struct kdreg_region *region);

/* The layout that the ABI fixes on 64-bit machines. */
#define SIZE_IS(type, size) typedef char size_of_##type[sizeof(struct type) == (size) ? 1 : -1]
SIZE_IS(kdreg_attr, 24);
SIZE_IS(kdreg_event, 32);
SIZE_IS(kdreg_region, 24);
SIZE_IS(kdreg_backend_info, 248);
SIZE_IS(kdreg_cache_attr, 80);
SIZE_IS(kdreg_cache_stats, 120);

int main(void)
{
    struct kdreg_attr attr = {0};
    struct kdreg_region region = {0};
    kdreg_t *monitor = NULL;
    char *block = malloc(100000);
    int error;
    attr.size = sizeof attr;
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
