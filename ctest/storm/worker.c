/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What every thread of the storm works with: its random numbers, and what it has to report. */
#include "storm.h"

struct storm storm;

uint64_t worker_random(struct worker *worker, uint64_t below)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return (worker->random * 0x2545f4914f6cdd1dull >> 32) % below;
}

void history_add(struct history *history, const struct worker *worker, const char *what, uint64_t stamp)
{
    unsigned at = history->next++ % HISTORY;
    history->last[at].time = check_now() - storm.started;
    history->last[at].thread = worker->index;
    history->last[at].what = what;
    history->last[at].stamp = stamp;
}

void report(struct worker *worker, const char *what, const char *addr, uint64_t expected, uint64_t found, const struct history *history)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;   /* keeps reports apart */
    enum { REPORTS = 10 };
    long nth = atomic_fetch_add(&storm.broken, 1);
    if (nth >= REPORTS) {
        atomic_store(&storm.stop, true);
        return;
    }
    pthread_mutex_lock(&lock);
    fprintf(stderr, "FAILED at %.6f s, thread %d: %s: address %p, expected %#llx, found %#llx\n", check_now() - storm.started, worker ? worker->index : -1, what,
            (const void *)addr, (unsigned long long)expected, (unsigned long long)found);
    for (unsigned i = history && history->next > HISTORY ? history->next - HISTORY : 0; history && i < history->next; i++)
        fprintf(stderr, "    %.6f s, thread %d: %s, then stamp %#llx\n", history->last[i % HISTORY].time, history->last[i % HISTORY].thread,
                history->last[i % HISTORY].what, (unsigned long long)history->last[i % HISTORY].stamp);
    pthread_mutex_unlock(&lock);
}
