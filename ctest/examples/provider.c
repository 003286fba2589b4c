/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A provider in small: endpoints of a domain that share a cache, transfers that are completed by another thread, rights that
 * grow, parts of what is registered, an end with transfers outstanding, and fork(). The device is a thread that copies. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kdreg.h>

enum { BUFFERS = 16, LENGTH = 8192, ENDPOINTS = 3, TRANSFERS = 2000 };

static char *memory;

/* What the provider keeps in an entry: the keys that go into a work request. */
struct keys {
    uint32_t local, remote;
};

/* What a transfer is until it is completed. */
struct transfer {
    struct transfer *next;
    struct endpoint *endpoint;
    kdreg_entry_t *entry;
    char *to;
    const char *from;
    size_t length;
};

struct domain {
    kdreg_cache_t *cache;
    pthread_t device;
    pthread_mutex_t lock;      /* protects all that follows; no callback takes it but the last */
    pthread_cond_t more, less;
    struct transfer *first, **last;
    int outstanding;
    uint32_t next_key;         /* by reg_with alone, atomically */
    bool stopping, drained;
};

struct endpoint {
    struct domain *domain;
    int completed, failed;     /* under the domain's lock */
};

static int reg(void *ctx, struct kdreg_registration *registration)
{
    struct domain *domain = ctx;
    struct keys *keys = registration->data;
    /* ibv_reg_mr() or its like; a failure of something speculative is not worth a message. */
    keys->local = __atomic_add_fetch(&domain->next_key, 1, __ATOMIC_RELAXED);
    keys->remote = keys->local | 0x80000000u;
    return 0;
}

static int dereg(void *ctx, const struct kdreg_registration *registration)
{
    const struct keys *keys = registration->data;
    (void)ctx;
    return keys->local ? 0 : -EINVAL;
}

/* The device: takes a transfer, copies, and completes it. */
static void *device(void *argument)
{
    struct domain *domain = argument;
    pthread_mutex_lock(&domain->lock);
    while (!domain->stopping || domain->first) {
        struct transfer *transfer = domain->first;
        if (!transfer) {
            pthread_cond_wait(&domain->more, &domain->lock);
            continue;
        }
        if (!(domain->first = transfer->next))
            domain->last = &domain->first;
        pthread_mutex_unlock(&domain->lock);
        memcpy(transfer->to, transfer->from, transfer->length);
        /* Of the caller's own range; UNKNOWN is where there is nobody to ask: the program keeps its buffers. */
        bool good = kdreg_entry_check(domain->cache, transfer->entry, transfer->to, transfer->length) != KDREG_ENTRY_CHANGED;
        kdreg_cache_put(domain->cache, transfer->entry);
        pthread_mutex_lock(&domain->lock);
        good ? transfer->endpoint->completed++ : transfer->endpoint->failed++;
        domain->outstanding--;
        pthread_cond_broadcast(&domain->less);
        free(transfer);
    }
    pthread_mutex_unlock(&domain->lock);
    return NULL;
}

static int domain_open(struct domain *domain)
{
    memset(domain, 0, sizeof *domain);
    pthread_mutex_init(&domain->lock, NULL);
    pthread_cond_init(&domain->more, NULL);
    pthread_cond_init(&domain->less, NULL);
    domain->last = &domain->first;
    struct kdreg_cache_attr attr = KDREG_CACHE_ATTR_INIT;
    attr.reg_with = reg;
    attr.dereg_with = dereg;
    attr.ctx = domain;
    attr.entry_size = sizeof(struct keys);
    attr.name = "provider";
    int error = kdreg_cache_create(NULL, &attr, &domain->cache);
    if (error)
        return error;
    return -pthread_create(&domain->device, NULL, device, domain);
}

/* Posts a receive: `to` must be writable for the device. */
static int post(struct endpoint *endpoint, char *to, const char *from, size_t length, uint32_t access)
{
    struct domain *domain = endpoint->domain;
    struct transfer *transfer = malloc(sizeof *transfer);
    if (!transfer)
        return -ENOMEM;
    *transfer = (struct transfer){.endpoint = endpoint, .to = to, .from = from, .length = length};
    int error = kdreg_cache_get(domain->cache, to, length, access, &transfer->entry);
    if (error) {
        free(transfer);
        return error;
    }
    const struct keys *keys = kdreg_entry_data(transfer->entry);
    if (!keys->local || (kdreg_entry_access(transfer->entry) & access) != access)
        abort();
    pthread_mutex_lock(&domain->lock);
    *domain->last = transfer;
    domain->last = &transfer->next;
    domain->outstanding++;
    pthread_cond_signal(&domain->more);
    pthread_mutex_unlock(&domain->lock);
    return 0;
}

static void drained(void *argument)
{
    struct domain *domain = argument;
    pthread_mutex_lock(&domain->lock);
    domain->drained = true;
    pthread_cond_broadcast(&domain->less);
    pthread_mutex_unlock(&domain->lock);
}

/* With transfers outstanding: nothing new, the rest is completed, and then there is no cache any more. */
static int domain_close(struct domain *domain)
{
    int error = kdreg_cache_drain(domain->cache, drained, domain);
    if (error)
        return error;
    pthread_mutex_lock(&domain->lock);
    while (!domain->drained || domain->outstanding)
        pthread_cond_wait(&domain->less, &domain->lock);
    domain->stopping = true;
    pthread_cond_broadcast(&domain->more);
    pthread_mutex_unlock(&domain->lock);
    pthread_join(domain->device, NULL);
    return kdreg_cache_destroy(domain->cache);
}

/* A thread of the application with an endpoint of its own. */
static void *application(void *argument)
{
    struct endpoint *endpoint = argument;
    char source[LENGTH];
    memset(source, 7, sizeof source);
    for (size_t i = 0; i < TRANSFERS; i++) {
        char *buffer = memory + i % BUFFERS * LENGTH;
        /* Now and then a part of it, at an odd address; now and then with more rights than before. */
        size_t offset = i % 5 == 0 ? 100 : 0, length = i % 5 == 0 ? 1000 : LENGTH;
        uint32_t access = KDREG_ACCESS_WRITE | (i % 7 == 0 ? KDREG_ACCESS_REMOTE_WRITE : 0);
        int error = post(endpoint, buffer + offset, source, length, access);
        if (error) {
            fprintf(stderr, "post: %s\n", kdreg_strerror(error));
            exit(1);
        }
        if (i % 64 == 0) {
            pthread_mutex_lock(&endpoint->domain->lock);
            while (endpoint->domain->outstanding > 32)
                pthread_cond_wait(&endpoint->domain->less, &endpoint->domain->lock);
            pthread_mutex_unlock(&endpoint->domain->lock);
        }
    }
    /* Its source is on this stack. */
    pthread_mutex_lock(&endpoint->domain->lock);
    while (endpoint->completed + endpoint->failed < TRANSFERS)
        pthread_cond_wait(&endpoint->domain->less, &endpoint->domain->lock);
    pthread_mutex_unlock(&endpoint->domain->lock);
    return NULL;
}

static int run(void)
{
    static char source[LENGTH];
    struct domain domain;
    struct endpoint endpoints[ENDPOINTS] = {{0}};
    pthread_t threads[ENDPOINTS];
    /* A child's pages become its own when it first writes to them: before they are registered. */
    memset(memory, 1, BUFFERS * LENGTH);
    if (domain_open(&domain))
        return 1;
    for (int i = 0; i < ENDPOINTS; i++) {
        endpoints[i].domain = &domain;
        if (pthread_create(&threads[i], NULL, application, &endpoints[i]))
            return 1;
    }
    for (int i = 0; i < ENDPOINTS; i++)
        pthread_join(threads[i], NULL);
    struct kdreg_cache_stats stats = KDREG_CACHE_STATS_INIT;
    struct kdreg_cache_info info = KDREG_CACHE_INFO_INIT;
    kdreg_cache_stats(domain.cache, &stats);
    kdreg_cache_info(domain.cache, &info);
    for (int i = 0; i < 20; i++)
        if (post(&endpoints[0], memory, source, LENGTH, KDREG_ACCESS_WRITE))
            return 1;
    int error = domain_close(&domain);
    printf("%s: %d completed, %d failed; %llu hits, %llu registrations\n", info.name, endpoints[0].completed, endpoints[0].failed,
           (unsigned long long)stats.hits, (unsigned long long)stats.registrations);
    for (int i = 0; i < ENDPOINTS; i++)
        if (endpoints[i].failed || endpoints[i].completed != TRANSFERS + (i == 0 ? 20 : 0))
            return 1;
    return error ? 1 : 0;
}

int main(void)
{
    memory = mmap(NULL, BUFFERS * LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct domain domain;
    if (memory == MAP_FAILED || run() || domain_open(&domain))
        return 1;
    /* A child has no cache of its parent's, and opens its own. */
    pid_t child = fork();
    if (child == 0) {
        struct endpoint endpoint = {.domain = &domain};
        _exit(post(&endpoint, memory, memory, 1, KDREG_ACCESS_WRITE) == -ECHILD ? run() : 1);
    }
    int status;
    return child < 0 || waitpid(child, &status, 0) != child || status || domain_close(&domain);
}
