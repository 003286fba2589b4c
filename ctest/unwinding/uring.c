/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads that are cancelled in calls of the io_uring adaptor: none is a cancellation point, whatever it does. */
#include <fcntl.h>
#include <kdreg/uring.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "../check.h"
#include "../uring.h"
#include "cancelling.h"

enum { SLOTS = 8 };
static size_t page;
static int nowhere;

static kdreg_uring_t *buffers(int ring, uint32_t flags)
{
    kdreg_uring_t *uring = NULL;
    struct kdreg_uring_attr attr = {.size = sizeof attr, .slots = SLOTS, .flags = flags};
    int error = kdreg_uring_create(NULL, ring, &attr, &uring);
    REQUIRE(error == 0, "kdreg_uring_create: %s", kdreg_strerror(error));
    return uring;
}

/* Everything there is, hits, evictions, errors and their messages included. */
static void everything(int ring, uint32_t flags)
{
    char *memory = check_space(64 * page);
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    kdreg_uring_t *uring = buffers(ring, flags), *second;
    CHECK_IS(kdreg_uring_create(NULL, -1, NULL, &second), -EBADF);
    CHECK_IS(kdreg_uring_create(NULL, nowhere, NULL, &second), -EOPNOTSUPP);
    CHECK_IS(kdreg_uring_create(NULL, ring, NULL, &second), -EBUSY);
    int held[SLOTS];
    for (size_t i = 0; i < 3 * SLOTS; i++) {
        int index = kdreg_uring_get(uring, memory + 2 * i * page, page);
        REQUIRE(index >= 0, "kdreg_uring_get: %s", kdreg_strerror(index));
        kdreg_uring_valid(uring, index);
        CHECK_IS(kdreg_uring_put(uring, index), 0);
        CHECK_IS(kdreg_uring_put(uring, index), -EINVAL);
    }
    CHECK_IS(kdreg_uring_get(uring, (void *)(16 * page), page), -EFAULT);
    for (size_t i = 0; i < SLOTS; i++)
        held[i] = kdreg_uring_get(uring, memory + 2 * i * page, page);
    CHECK_IS(kdreg_uring_get(uring, memory + 40 * page, page), -ENOBUFS);
    CHECK_IS(kdreg_uring_destroy(uring), -EBUSY);
    CHECK_IS(kdreg_uring_dump(uring, nowhere), 0);
    munmap(memory, 8 * page);
    CHECK(kdreg_uring_invalidate(uring, memory + 8 * page, 2 * page) >= 0, "invalidate");
    CHECK(kdreg_uring_fd(uring) >= 0, "fd");
    for (size_t i = 0; i < SLOTS; i++)
        CHECK_IS(kdreg_uring_put(uring, held[i]), 0);
    CHECK(kdreg_uring_reap(uring) >= 0, "reap");
    CHECK_IS(kdreg_uring_stats(uring, &stats), 0);
    CHECK(kdreg_uring_flush(uring) >= 0, "flush");
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    munmap(memory + 8 * page, 56 * page);
}

static atomic_int reached;

static void *cancel_first(void *ring)
{
    pthread_cancel(pthread_self());
    for (uint32_t flags = 0; flags <= (KDREG_URING_NO_REAPER | KDREG_URING_BYPASS); flags += KDREG_URING_NO_REAPER)
        everything(*(int *)ring, flags);
    atomic_fetch_add(&reached, 1);
    pthread_testcancel();
    return NULL;
}

static void is_no_cancellation_point(int ring, int level)
{
    int errors = dup(2);
    dup2(nowhere, 2);
    CHECK_IS(kdreg_set_log(NULL, NULL, level), 0);
    atomic_store(&reached, 0);
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, cancel_first, &ring) == 0, "pthread_create");
    pthread_join(thread, &result);
    dup2(errors, 2);
    close(errors);
    CHECK_IS(kdreg_set_log(NULL, NULL, KDREG_LOG_WARN), 0);
    CHECK(reached == 1, "a call was a cancellation point");
    CHECK(result == PTHREAD_CANCELED, "the thread was not cancelled when it could be");
}

/* At any moment, from outside. What they hold then is theirs to put: the cleanup of a program does. */
static kdreg_uring_t *busy;

static void put(void *index) { kdreg_uring_put(busy, *(int *)index); }
static void unmap(void *memory) { munmap(memory, 8 * page); }

static void *use(void *argument)
{
    (void)argument;
    for (;;) {
        char *memory = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED, "mmap");
        pthread_cleanup_push(unmap, memory);
        for (size_t i = 0; i < 8; i += 2) {
            int index = kdreg_uring_get(busy, memory + i * page, page);
            CHECK(index >= 0, "kdreg_uring_get: %s", kdreg_strerror(index));
            pthread_cleanup_push(put, &index);
            pthread_testcancel();
            pthread_cleanup_pop(1);
        }
        pthread_cleanup_pop(1);
    }
    return NULL;
}

static bool all_is_undone(void)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    return kdreg_uring_stats(busy, &stats) == 0 && stats.registrations == stats.deregistrations;
}

static void at_any_time(int ring, uint32_t flags)
{
    check_says("threads are cancelled at any time%s", flags ? ", without a reaper" : "");
    busy = buffers(ring, flags);
    cancel_at_any_time(use);
    CHECK(kdreg_uring_flush(busy) >= 0, "flush");
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    CHECK_EVENTUALLY(all_is_undone(), 60, "registrations that are not undone");
    CHECK_IS(kdreg_uring_stats(busy, &stats), 0);
    CHECK_IS(stats.in_use, 0);
    CHECK(stats.registrations > 0, "nothing was registered");
    /* Each slot is there again. */
    char *memory = check_space(2 * SLOTS * page);
    for (size_t i = 0; i < SLOTS; i++)
        CHECK(kdreg_uring_get(busy, memory + 2 * i * page, page) >= 0, "a slot is lost");
    for (int i = 0; i < SLOTS; i++)
        CHECK_IS(kdreg_uring_put(busy, i), 0);
    CHECK_IS(kdreg_uring_destroy(busy), 0);
    munmap(memory, 2 * SLOTS * page);
}

int main(void)
{
    check_watchdog(240);
    page = (size_t)sysconf(_SC_PAGESIZE);
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    REQUIRE(nowhere >= 0, "/dev/null");
    int ring = open_ring();
    check_says("no call is a cancellation point");
    is_no_cancellation_point(ring, KDREG_LOG_WARN);
    check_says("nor with all there is to be said");
    is_no_cancellation_point(ring, KDREG_LOG_DEBUG);
    at_any_time(ring, KDREG_URING_NO_REAPER);
    at_any_time(ring, 0);
    close(ring);
    return check_result("cancelled_uring");
}
