/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scene.h"

const struct scene scenes[SCENES] = {
    {
        .name = "halo exchange",
        .what = "buffers mapped once, sent from and received into at every step",
        .kind = BUFFER_POOL,
        .writes = 50,
    },
    {
        .name = "work arrays",
        .what = "arrays mapped for some 20 messages, then unmapped, grown (mremap) or emptied (madvise)",
        .kind = BUFFER_LARGE,
        .writes = 65,
        .parts = 20,
        .grown = 10,
        .emptied = 5,
        .uses = 40,
    },
    {
        .name = "heap blocks",
        .what = "blocks from malloc, written out or read in some 6 times, then freed",
        .kind = BUFFER_SMALL,
        .writes = 65,
        .parts = 20,
        .uses = 12,
    },
};
