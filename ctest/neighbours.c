/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads that map, watch and unmap single buffers side by side, so that the kernel joins and cuts what is watched all the time: a region whose
 * memory its own thread has unmapped is valid for nobody. */
#include <pthread.h>

#include "check.h"

enum { THREADS = 16, SECONDS = 15, LARGEST = 3 };

static size_t page;
static kdreg_t *monitor;
static double end;
static atomic_ulong unmapped, late, refused;

static void *churn(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument * 7919 + 1;
    while (check_now() < end) {
        for (int i = 0; i < 200; i++) {
            struct kdreg_region region;
            struct kdreg_event events[4];
            seed = seed * 1103515245 + 12345;
            size_t length = (1 + (seed >> 16) % LARGEST) * page;
            char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
            int error = kdreg_monitor(monitor, memory, length, 1, &region);
            /* The mappings around it kept changing. */
            REQUIRE(error == 0 || error == -EAGAIN, "monitor: %d", error);
            refused += error != 0;
            bool stays = error == 0 && i % 2;
            if (stays)
                (void)kdreg_valid(&region);
            else
                REQUIRE(kdreg_check(monitor, events, 4) >= 0, "check");
            if (error == 0 && !stays)
                CHECK_IS(kdreg_unmonitor(monitor, &region), 0);
            REQUIRE(munmap(memory, length) == 0, "munmap: %s", strerror(errno));
            if (stays) {
                unmapped++;
                late += kdreg_valid(&region);
                REQUIRE(kdreg_check(monitor, events, 4) >= 0, "check");
            }
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    check_watchdog(120);
    page = (size_t)sysconf(_SC_PAGESIZE);
    monitor = check_open(0);
    end = check_now() + SECONDS;
    for (intptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%lu unmapped, %lu found valid after it, %lu not watched\n", unmapped, late, refused);
    CHECK_IS(late, 0);
    CHECK(unmapped > refused, "hardly any was watched");
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("neighbours");
}
