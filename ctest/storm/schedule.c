/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The storm's threads as real-time threads, and on each of their processors one more that polls, below them, as those do that wait for a
 * network: when all of the storm's wait for the library's handler, an ordinary thread still has nothing there, but for the share that the
 * kernel keeps for it. */
#include <sched.h>

#include "storm.h"

/* The library's handler may need a priority between the last two. The main thread sleeps, and has to wake when the storm is over. */
enum { POLLER = 1, WORKER, MAIN = 4 };

static pthread_t pollers[CPU_SETSIZE];
static int polling;

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

static void bind_to(int processor)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity: %s", strerror(errno));
}

/* The first processor from this one on that the process may use; CPU_SETSIZE: there is none. */
static int processor_from(int first)
{
    /* Of the main thread, which is never bound. */
    cpu_set_t all;
    REQUIRE(sched_getaffinity(getpid(), sizeof all, &all) == 0, "sched_getaffinity: %s", strerror(errno));
    while (first < CPU_SETSIZE && !CPU_ISSET(first, &all))
        first++;
    return first;
}

static void *poll_on(void *processor)
{
    bind_to((int)(intptr_t)processor);
    REQUIRE(become(POLLER) == 0, "SCHED_FIFO for a thread that polls");
    while (!atomic_load(&storm.stop))
        ;
    return NULL;
}

void schedule_begin(void)
{
    if (!storm.options.fifo)
        return;
    REQUIRE(become(MAIN) == 0, "SCHED_FIFO for the main thread");
    polling = 0;
    for (int at = processor_from(0); at < CPU_SETSIZE; at = storm.options.pin ? CPU_SETSIZE : processor_from(at + 1))
        REQUIRE(pthread_create(&pollers[polling++], NULL, poll_on, (void *)(intptr_t)at) == 0, "pthread_create");
}

void schedule_end(void)
{
    if (!storm.options.fifo)
        return;
    for (int i = 0; i < polling; i++)
        pthread_join(pollers[i], NULL);
    REQUIRE(become(0) == 0, "SCHED_OTHER for the main thread");
}

bool schedule_enough(void)
{
    /* With no more than the share that the kernel keeps for ordinary threads the handler sees to some ten changes in a second. */
    enum { ENOUGH = 3000 };
    uint64_t changes = 0;
    for (int i = 0; i < storm.options.threads; i++)
        changes += atomic_load(&storm.workers[i].changes);
    return !storm.options.fifo || changes >= ENOUGH;
}

void schedule_worker(void)
{
    if (storm.options.pin)
        bind_to(processor_from(0));
    if (storm.options.fifo)
        REQUIRE(become(WORKER) == 0, "SCHED_FIFO for a thread");   /* in place of the main thread's, which was inherited */
}
