/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads that are cancelled, at any time. */
#ifndef KDREG_UNWINDING_CANCELLING_H
#define KDREG_UNWINDING_CANCELLING_H

#include <pthread.h>

#include "../check.h"

/* Has three threads at a time do it, which must not end by themselves, and cancels them. */
static inline void cancel_at_any_time(void *(*use)(void *))
{
    unsigned seed = 1;
    for (int round = 0; round < 60; round++) {
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            REQUIRE(pthread_create(&threads[i], NULL, use, NULL) == 0, "pthread_create");
        seed = seed * 1103515245 + 12345;
        struct timespec pause = {0, (seed >> 8) % 4000000};
        nanosleep(&pause, NULL);
        for (int i = 0; i < 3; i++)
            pthread_cancel(threads[i]);
        for (int i = 0; i < 3; i++) {
            void *result;
            pthread_join(threads[i], &result);
            CHECK(result == PTHREAD_CANCELED, "it ended with %p", result);
        }
    }
}

#endif
