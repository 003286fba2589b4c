/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A device, and who is told, for tests of registering ahead of use. */
#ifndef KDREG_AHEAD_H
#define KDREG_AHEAD_H

#include <pthread.h>
#include <semaphore.h>

#include "caches.h"

static size_t page;
static bool watches;
static char *memory;

/* A device whose registrations wait at a gate, where there is one. */
struct device {
    int calls, live, here;
    int error, error_at, replace_at, end_at, exit_at;
    bool gate;
    sem_t arrived, open;
    pthread_t caller;
};

__attribute__((unused)) static int device_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)access, (void)length;
    int call = __atomic_add_fetch(&device->calls, 1, __ATOMIC_SEQ_CST);
    if (pthread_equal(pthread_self(), device->caller))
        __atomic_add_fetch(&device->here, 1, __ATOMIC_SEQ_CST);
    if (device->gate) {
        sem_post(&device->arrived);
        while (sem_wait(&device->open))
            ;
    }
    if (call == device->error_at)
        return device->error;
    if (call == device->end_at)
        pthread_exit(NULL);
    if (call == device->exit_at)
        exit(3);
    *handle = (void *)(uintptr_t) * (volatile unsigned char *)addr;
    if (call == device->replace_at) {
        char *fresh = mmap(addr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        REQUIRE(fresh == addr, "mmap");
        *fresh = 2;
    }
    __atomic_add_fetch(&device->live, 1, __ATOMIC_SEQ_CST);
    return 0;
}

__attribute__((unused)) static int device_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    (void)addr, (void)length, (void)handle;
    __atomic_sub_fetch(&device->live, 1, __ATOMIC_SEQ_CST);
    return 0;
}

/* With a `dereg` of its own, which is given the device, too. */
__attribute__((unused)) static kdreg_cache_t *create_with(struct device *device, uint32_t flags, kdreg_deregister_fn dereg)
{
    sem_init(&device->arrived, 0, 0);
    sem_init(&device->open, 0, 0);
    device->caller = pthread_self();
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg = device_register;
    attr.dereg = dereg;
    attr.ctx = device;
    attr.flags = flags | KDREG_CACHE_NO_MERGE;
    return new_cache(NULL, &attr);
}

__attribute__((unused)) static kdreg_cache_t *create(struct device *device, uint32_t flags)
{
    return create_with(device, flags, device_deregister);
}

__attribute__((unused)) static void destroy(kdreg_cache_t *cache, struct device *device)
{
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device->live, 0);
    CHECK_IS(device->here, 0);
}

__attribute__((unused)) static char *region(int index)
{
    return memory + 2 * (size_t)index * page;
}

__attribute__((unused)) static const struct kdreg_get_attr reading = {.size = sizeof reading, .access = KDREG_ACCESS_READ};

__attribute__((unused)) static int try_get(kdreg_cache_t *cache, int index, kdreg_entry_t **entry)
{
    return kdreg_cache_try_get(cache, region(index), page, &reading, entry);
}

/* As often as it takes until it is there, or is said not to be. */
__attribute__((unused)) static int poll_range(kdreg_cache_t *cache, char *addr, size_t length, kdreg_entry_t **entry)
{
    int status;
    while ((status = kdreg_cache_try_get(cache, addr, length, &reading, entry)) == -EAGAIN)
        check_sleep_ms(1);
    return status;
}

__attribute__((unused)) static int poll_for(kdreg_cache_t *cache, int index, kdreg_entry_t **entry)
{
    return poll_range(cache, region(index), page, entry);
}

/* What was handed over, and when: after the posting it is the poster's no more. */
struct told {
    int calls, status;
    kdreg_entry_t *entry;
    kdreg_cache_t *ends, *puts;
    bool end_thread;
    sem_t done;
};

__attribute__((unused)) static void ready(void *argument, int status, kdreg_entry_t *entry)
{
    struct told *told = argument;
    told->calls++;
    told->status = status;
    told->entry = entry;
    if (told->ends) {
        CHECK_IS(kdreg_cache_destroy(told->ends), -EDEADLK);
        CHECK_IS(kdreg_cache_drain(told->ends, NULL, NULL), -EDEADLK);
        CHECK_IS(kdreg_cache_prefetch(told->ends, memory, page, &reading, NULL, NULL), 0);
    }
    if (told->puts)
        CHECK_IS(kdreg_cache_put(told->puts, entry), 0);
    bool end = told->end_thread;
    sem_post(&told->done);
    if (end)
        pthread_exit(NULL);
}

__attribute__((unused)) static int prefetch(kdreg_cache_t *cache, int index, struct told *told)
{
    if (told)
        sem_init(&told->done, 0, 0);
    return kdreg_cache_prefetch(cache, region(index), page, &reading, told ? ready : NULL, told);
}

__attribute__((unused)) static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore))
        ;
}

__attribute__((unused)) static kdreg_t *begin(size_t regions)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    kdreg_t *monitor = check_open_any(&watches);
    memory = check_space(2 * regions * page);
    return monitor;
}

#endif
