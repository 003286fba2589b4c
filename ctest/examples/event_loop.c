/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An event loop with epoll: a cache without a thread of the library's, whose callbacks run in the loop's thread only. */
#include <errno.h>
#include <kdreg.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 4, LENGTH = 128 << 10 };

static char *buffers[BUFFERS];
static pthread_t loop;
static int released, in_other_thread;

static int reg(void *ctx, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)ctx, (void)length, (void)access;
    *handle = addr;
    return 0;
}

static int dereg(void *ctx, void *addr, size_t length, void *handle)
{
    (void)ctx, (void)addr, (void)handle;
    printf("loop: released %zu KiB\n", length >> 10);
    released++;
    in_other_thread += !pthread_equal(pthread_self(), loop);
    return 0;
}

/* The application: frees its buffers whenever it likes. */
static void *application(void *done)
{
    for (int i = 0; i < BUFFERS; i++)
        munmap(buffers[i], LENGTH);
    eventfd_write(*(int *)done, 1);
    return NULL;
}

int main(void)
{
    struct kdreg_cache_attr attr = {
        .size = sizeof attr, .reg = reg, .dereg = dereg, .flags = KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE};
    kdreg_cache_t *cache;
    pthread_t thread;
    loop = pthread_self();
    int error = kdreg_cache_create(NULL, &attr, &cache);
    if (error) {
        fprintf(stderr, "kdreg_cache_create: %s\n", kdreg_strerror(error));
        return 1;
    }
    for (int i = 0; i < BUFFERS; i++) {
        kdreg_entry_t *entry;
        buffers[i] = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (buffers[i] == MAP_FAILED || kdreg_cache_get(cache, buffers[i], LENGTH, KDREG_ACCESS_WRITE, &entry) ||
            kdreg_cache_put(cache, entry))
            return 1;
    }
    /* The library's descriptor lies among the loop's own. */
    int epoll = epoll_create1(EPOLL_CLOEXEC), done = eventfd(0, EFD_CLOEXEC), fd = kdreg_cache_fd(cache);
    struct epoll_event of_cache = {EPOLLIN, {.fd = fd}}, of_end = {EPOLLIN, {.fd = done}}, ready;
    if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &of_cache) || epoll_ctl(epoll, EPOLL_CTL_ADD, done, &of_end) ||
        pthread_create(&thread, NULL, application, &done))
        return 1;
    /* An event may come a moment after the call that it tells of: so until everything has come back. */
    for (int finished = 0; !finished || released < BUFFERS;) {
        if (epoll_wait(epoll, &ready, 1, -1) < 0) {
            if (errno == EINTR)
                continue;
            return 1;
        }
        eventfd_t count;
        if (ready.data.fd == fd)
            kdreg_cache_reap(cache);
        else
            finished = eventfd_read(done, &count) == 0;
    }
    pthread_join(thread, NULL);
    close(epoll), close(done);
    printf("%d of %d released, %d of them by another thread\n", released, BUFFERS, in_other_thread);
    return kdreg_cache_destroy(cache) || released != BUFFERS || in_other_thread ? 1 : 0;
}
