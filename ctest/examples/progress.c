/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A loop that makes progress and never registers: large buffers are registered by the cache's own thread, and what comes of it is asked for,
 * or told by way of a pipe. */
#include <errno.h>
#include <kdreg.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LENGTH = 64 << 20 };

static pthread_t loop;
static int stalled, done[2];

/* A device that takes its time: it has the kernel bring in every page. */
static int reg(void *ctx, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)ctx, (void)access;
    stalled += pthread_equal(pthread_self(), loop);
    for (size_t i = 0; i < length; i += 4096)
        (void)((volatile char *)addr)[i];
    *handle = addr;
    return 0;
}

static int dereg(void *ctx, void *addr, size_t length, void *handle)
{
    (void)ctx, (void)addr, (void)length, (void)handle;
    return 0;
}

/* What is told: in the cache's own thread, so it only passes it on. */
struct message {
    int status;
    kdreg_entry_t *entry;
};

static void ready(void *arg, int status, kdreg_entry_t *entry)
{
    struct message message = {status, entry};
    if (write(*(int *)arg, &message, sizeof message) != sizeof message)
        perror("write");
}

int main(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = reg, .dereg = dereg};
    struct kdreg_get_attr get = {.size = sizeof get, .access = KDREG_ACCESS_READ};
    kdreg_cache_t *cache;
    kdreg_entry_t *entry;
    struct message message;
    loop = pthread_self();
    char *buffer = mmap(NULL, 2 * LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int error = kdreg_cache_create(NULL, &attr, &cache);
    if (error || buffer == MAP_FAILED || pipe(done)) {
        fprintf(stderr, "kdreg_cache_create: %s\n", kdreg_strerror(error));
        return 1;
    }
    /* Asked for, again and again, between whatever else is to be done. */
    long rounds = 0;
    int status;
    while ((status = kdreg_cache_try_get(cache, buffer, LENGTH, &get, &entry)) == -EAGAIN)
        rounds++;
    printf("polled: %s after %ld rounds\n", kdreg_strerror(status), rounds);
    /* Where nothing can be watched nothing is kept: such a cache only tells. */
    if (status == 0 ? kdreg_cache_put(cache, entry) : status != -ENOENT)
        return 1;
    /* Told: the pipe is one more thing that the loop waits for. */
    error = kdreg_cache_prefetch(cache, buffer + LENGTH, LENGTH, &get, ready, &done[1]);
    if (error || read(done[0], &message, sizeof message) != sizeof message || message.status)
        return 1;
    printf("told: %zu MiB are registered\n", kdreg_entry_length(message.entry) >> 20);
    if (kdreg_cache_put(cache, message.entry))
        return 1;
    error = kdreg_cache_destroy(cache);
    printf("the loop registered %d times\n", stalled);
    return error || stalled;
}
