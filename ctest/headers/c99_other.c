/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A second translation unit with the same inline function. */
#include <kdreg.h>

bool other_unit_valid(const struct kdreg_region *region);

bool other_unit_valid(const struct kdreg_region *region)
{
    return kdreg_valid(region);
}
