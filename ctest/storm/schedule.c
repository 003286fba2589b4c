/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The storm's threads as real-time threads, which run until they sleep: on processors of which they leave nothing, whoever is to end the
 * storm, and whoever the storm's threads wait for, has to be given its share by somebody. */
#include <sched.h>

#include "storm.h"

/* The library's handler may need a priority between the two. The main thread sleeps, and has to wake when the storm is over. */
enum { WORKER = 1, MAIN = 3 };

static int become(int priority)
{
    struct sched_param parameters = {.sched_priority = priority};
    return pthread_setschedparam(pthread_self(), priority ? SCHED_FIFO : SCHED_OTHER, &parameters);
}

bool schedule_possible(void)
{
    int error = become(MAIN);
    if (error) {
        printf("skipped: no real-time priority to be had here (CAP_SYS_NICE, RLIMIT_RTPRIO): %s\n", strerror(error));
        return false;
    }
    /* What is opened and created from here on is so by an ordinary thread, as by most programs. */
    REQUIRE(become(0) == 0, "back to SCHED_OTHER");
    return true;
}

void schedule_main(void)
{
    if (storm.options.fifo)
        REQUIRE(become(MAIN) == 0, "SCHED_FIFO for the main thread");
}

/* After the storm there is nobody to get the better of. */
void schedule_main_back(void)
{
    if (storm.options.fifo)
        REQUIRE(become(0) == 0, "SCHED_OTHER for the main thread");
}

void schedule_worker(void)
{
    if (storm.options.pin) {
        cpu_set_t all, one;
        REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0, "sched_getaffinity: %s", strerror(errno));
        int first = 0;
        while (!CPU_ISSET(first, &all))
            first++;
        CPU_ZERO(&one);
        CPU_SET(first, &one);
        REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity: %s", strerror(errno));
    }
    if (storm.options.fifo) {
        int error = become(WORKER);   /* in place of the main thread's, which was inherited */
        REQUIRE(error == 0, "SCHED_FIFO for a thread: %s", strerror(error));
    }
}
