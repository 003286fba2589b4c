/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The monitor alone, for a library that has a cache already: monitor first, register second, check before each use. */
#include <kdreg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { LENGTH = 1 << 20 };

static const char *const reasons[] = {"unknown", "unmap", "discard", "remap", "protect", "migrate", "release", "lost"};

/* A buffer with inaccessible memory on both sides. Neighbours would become one mapping, and where the kernel divides a mapping again, it
 * announces a change of all the memory that a huge page there would cover: more would count as changed than the demonstration wants. */
static void *map(void)
{
    char *memory = mmap(NULL, 3 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + LENGTH, LENGTH, PROT_READ | PROT_WRITE))
        return NULL;
    return memory + LENGTH;
}

int main(void)
{
    kdreg_t *monitor;
    struct kdreg_region kept, discarded, moved;
    void *memory[3] = {map(), map(), map()};
    int error = kdreg_open(NULL, &monitor);
    if (error) {
        fprintf(stderr, "kdreg_open: %s\n", kdreg_strerror(error));
        return 1;
    }
    const uint64_t needed = KDREG_CAP_DISCARD | KDREG_CAP_REMAP;
    if ((kdreg_caps(monitor) & needed) != needed) {
        printf("skipped: backend %s does not see madvise and mremap (kdreg_info says why)\n", kdreg_backend_name(monitor));
        return 77;
    }
    if (!memory[0] || !memory[1] || !memory[2])
        return 1;
    /* The cookie is ours: here, the number of the buffer. */
    if ((error = kdreg_monitor(monitor, memory[0], LENGTH, 0, &kept)) ||
        (error = kdreg_monitor(monitor, memory[1], LENGTH, 1, &discarded)) ||
        (error = kdreg_monitor(monitor, memory[2], LENGTH, 2, &moved))) {
        fprintf(stderr, "kdreg_monitor: %s\n", kdreg_strerror(error));
        return 1;
    }
    /* ... register the memory with the card ... */

    madvise(memory[1], LENGTH, MADV_DONTNEED);
    void *elsewhere = mremap(memory[2], LENGTH, 2 * LENGTH, MREMAP_MAYMOVE);
    if (elsewhere == MAP_FAILED)
        return 1;

    /* Known before the calls returned, whether or not anybody looks at events. */
    printf("buffer 0: %s\n", kdreg_valid(&kept) ? "valid" : "changed");
    printf("buffer 1: %s\n", kdreg_valid(&discarded) ? "valid" : "changed");
    if (!kdreg_valid(&kept) || kdreg_valid(&discarded))
        return 1;
    /* It may have grown where it was, and then nothing changed. */
    if (elsewhere != memory[2] && kdreg_valid(&moved))
        return 1;

    struct kdreg_event events[8];
    int taken = kdreg_check(monitor, events, 8);
    for (int i = 0; i < taken; i++) {
        const char *reason = events[i].reason < 8 ? reasons[events[i].reason] : "?";
        printf("event: buffer %d, %zu bytes, %s\n", (int)events[i].cookie, events[i].length, reason);
    }
    if (taken < 1)
        return 1;
    /* Regions whose event was taken are gone; this one is still watched. */
    error = kdreg_unmonitor(monitor, &kept);
    printf("buffer 0, not watched any more: %s\n", kdreg_valid(&kept) ? "valid" : "not valid");
    return error || kdreg_valid(&kept) || kdreg_close(monitor) ? 1 : 0;
}
