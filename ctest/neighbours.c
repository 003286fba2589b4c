/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads that map, watch and change single buffers side by side, so that the kernel joins and cuts what is watched all the time: a region whose
 * memory its own thread has changed is valid for nobody. */
#include <pthread.h>

#include "check.h"

enum { THREADS = 16, SECONDS = 15, LARGEST = 3 };

enum change { UNMAPPED, REPLACED, MOVED, SHRUNK, DISCARDED, CHANGES };
static const char *const change_names[CHANGES] = {"unmapped", "replaced", "moved", "shrunk", "discarded"};

static size_t page;
static kdreg_t *monitor;
static double end;
static atomic_ulong changed[CHANGES], late[CHANGES], refused;

static char *map(void *where, size_t length)
{
    char *memory = mmap(where, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED : 0), -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    return memory;
}

/* Changes what is at `*memory`, and says by what. Of what is left there the bounds. */
static enum change change(unsigned chosen, char **memory, size_t *length)
{
    char *other;
    *(volatile char *)*memory = 1;
    switch (chosen) {
    case 0:
        map(*memory, *length);
        return REPLACED;
    case 1:
        other = map(NULL, *length);
        REQUIRE(mremap(*memory, *length, *length, MREMAP_MAYMOVE | MREMAP_FIXED, other) == other, "mremap: %s", strerror(errno));
        *memory = other;
        return MOVED;
    case 2:
        REQUIRE(madvise(*memory, *length, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
        return DISCARDED;
    case 3:
        if (*length > page) {
            REQUIRE(mremap(*memory, *length, page, 0) == *memory, "mremap: %s", strerror(errno));
            *length = page;
            return SHRUNK;
        }
        break;
    }
    REQUIRE(munmap(*memory, *length) == 0, "munmap: %s", strerror(errno));
    *length = 0;
    return UNMAPPED;
}

static void *churn(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument * 7919 + 1;
    while (check_now() < end) {
        for (int i = 0; i < 200; i++) {
            struct kdreg_region region;
            struct kdreg_event events[4];
            seed = seed * 1103515245 + 12345;
            size_t length = (1 + (seed >> 16) % LARGEST) * page;
            char *memory = map(NULL, length);
            int error = kdreg_monitor(monitor, memory, length, 1, &region);
            /* The mappings around it kept changing. */
            REQUIRE(error == 0 || error == -EAGAIN, "monitor: %d", error);
            refused += error != 0;
            if (error == 0 && i % 2) {
                (void)kdreg_valid(&region);
                enum change what = change(seed >> 20 & 7, &memory, &length);
                late[what] += kdreg_valid(&region);
                changed[what]++;
                REQUIRE(kdreg_check(monitor, events, 4) >= 0, "check");
            } else if (error == 0) {
                REQUIRE(kdreg_check(monitor, events, 4) >= 0, "check");
                CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
            }
            REQUIRE(length == 0 || munmap(memory, length) == 0, "munmap: %s", strerror(errno));
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    unsigned long all = 0;
    check_watchdog(120);
    page = (size_t)sysconf(_SC_PAGESIZE);
    monitor = check_open(0);
    end = check_now() + SECONDS;
    for (intptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < CHANGES; i++) {
        printf("%10lu %-10s %lu found valid after it\n", changed[i], change_names[i], late[i]);
        CHECK_IS(late[i], 0);
        all += changed[i];
    }
    printf("%10lu not watched\n", refused);
    CHECK(all > refused, "hardly any was watched");
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("neighbours");
}
