/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A libfabric that has nothing but what an imported memory monitor sees of one: fi_version, fi_open("mr_cache"), and a
 * registration cache that behaves as libfabric's does: callbacks and notifications under one process-wide lock,
 * unsubscribe called from inside a notification, a stale entry dropped when it is looked up.
 */
#include "fake_libfabric.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry {
    struct entry *next;
    const void *addr;
    size_t length;
    uint64_t contents; /* what was registered, as a card would have it */
};

/* libfabric's mm_lock: protects the caches and the monitor's callbacks. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fid_mem_monitor *monitor;
static struct entry *caches[FAKE_CACHES];
static int open_caches;
static int notified_early;

uint32_t fi_version(void)
{
    const char *version = getenv("FAKE_LIBFABRIC_VERSION");
    return version ? (uint32_t)strtoul(version, NULL, 0) : FAKE_VERSION(2, 1);
}

static void uncache(struct entry **at)
{
    struct entry *entry = *at;
    *at = entry->next;
    monitor->export_ops->unsubscribe(monitor, entry->addr, entry->length);
    free(entry);
}

static void notify(struct fid_mem_monitor *which, const void *addr, size_t length)
{
    (void)which;
    pthread_mutex_lock(&lock);
    notified_early += !open_caches;
    for (int i = 0; i < FAKE_CACHES; i++)
        for (struct entry **at = &caches[i]; *at;)
            if ((const char *)(*at)->addr < (const char *)addr + length && (const char *)addr < (const char *)(*at)->addr + (*at)->length)
                uncache(at);
            else
                at = &(*at)->next;
    pthread_mutex_unlock(&lock);
}

static struct fi_ops_mem_notify import_ops = { .size = sizeof import_ops, .notify = notify };

static int close_monitor(struct fid *fid)
{
    (void)fid;
    monitor = NULL;
    return 0;
}
static struct fi_ops monitor_fid_ops = { .size = sizeof monitor_fid_ops, .close = close_monitor };

static int import(struct fid *cache, struct fid *fid, uint64_t flags)
{
    (void)cache;
    if (flags || fid->fclass != FAKE_CLASS_MEM_MONITOR)
        return -EINVAL;
    if (monitor)
        return -EBUSY;
    monitor = (struct fid_mem_monitor *)fid;
    monitor->fid.context = &lock;
    monitor->fid.ops = &monitor_fid_ops;
    monitor->import_ops = &import_ops;
    return 0;
}

static int close_cache(struct fid *fid)
{
    free(fid);
    return 0;
}
static struct fi_ops cache_ops = { .size = sizeof cache_ops, .close = close_cache, .bind = import };

int fi_open(uint32_t version, const char *name, void *attr, size_t attr_len, uint64_t flags, struct fid **fid, void *context)
{
    (void)attr;
    if (strcmp(name, "mr_cache"))
        return -ENOSYS;
    if (version < FAKE_VERSION(1, 13) || attr_len || flags)
        return -EINVAL;
    *fid = calloc(1, sizeof **fid);
    if (!*fid)
        return -ENOMEM;
    (*fid)->context = context;
    (*fid)->ops = &cache_ops;
    return 0;
}

int fake_open(void)
{
    int error = 0;
    if (monitor && !open_caches)
        error = monitor->export_ops->start(monitor);
    pthread_mutex_lock(&lock);
    open_caches += !error;
    pthread_mutex_unlock(&lock);
    return error;
}

void fake_close(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < FAKE_CACHES; i++)
        while (caches[i])
            uncache(&caches[i]);
    int last = --open_caches == 0;
    pthread_mutex_unlock(&lock);
    if (last)
        monitor->export_ops->stop(monitor);
}

uint64_t fake_lookup(int cache, const void *addr, size_t length, int *hit)
{
    pthread_mutex_lock(&lock);
    struct entry **at = &caches[cache];
    while (*at && ((*at)->addr != addr || (*at)->length != length))
        at = &(*at)->next;
    *hit = *at && monitor->export_ops->valid(monitor, addr, length);
    if (!*hit) {
        if (*at)
            uncache(at);
        /* As in libfabric, memory is registered without the lock, which takes its time. */
        pthread_mutex_unlock(&lock);
        struct entry *entry = malloc(sizeof *entry);
        if (!entry)
            abort();
        *entry = (struct entry){ .addr = addr, .length = length, .contents = *(const uint64_t *)addr };
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
        pthread_mutex_lock(&lock);
        entry->next = caches[cache];
        caches[cache] = entry;
        at = &caches[cache];
        if (monitor->export_ops->subscribe(monitor, addr, length))
            abort();
    }
    uint64_t contents = (*at)->contents;
    pthread_mutex_unlock(&lock);
    return contents;
}

size_t fake_entries(int cache)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (struct entry *entry = caches[cache]; entry; entry = entry->next)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}

int fake_notified_early(void)
{
    return notified_early;
}
