/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two libraries in one process that know nothing of each other: each has its own handle, queue and cookies, and both share
 * one subscription to the kernel. (Two userfaultfds could not watch the same memory.) */
#include <errno.h>
#include <kdreg.h>
#include <stdio.h>
#include <sys/mman.h>

enum { LENGTH = 64 << 10 };

/* What each of the two libraries has. */
struct library {
    const char *name;
    kdreg_t *monitor;
    struct kdreg_region region;
};

static int start(struct library *library, const void *buffer, uint64_t cookie)
{
    int error = kdreg_open(NULL, &library->monitor);
    if (!error && !(kdreg_caps(library->monitor) & KDREG_CAP_UNMAP)) {
        printf("skipped: backend %s watches nothing (kdreg_info says why)\n", kdreg_backend_name(library->monitor));
        return -EOPNOTSUPP;
    }
    if (!error)
        error = kdreg_monitor(library->monitor, buffer, LENGTH, cookie, &library->region);
    if (error)
        fprintf(stderr, "%s: %s\n", library->name, kdreg_strerror(error));
    else
        printf("%s: watches the buffer through %s\n", library->name, kdreg_backend_name(library->monitor));
    return error;
}

/* Each gets its own event, with its own cookie. First the question: an event alone may come a moment later. */
static int saw(struct library *library, uint64_t cookie)
{
    struct kdreg_event event;
    if (kdreg_valid(&library->region) || kdreg_check(library->monitor, &event, 1) != 1)
        return 0;
    printf("%s: event with cookie %#llx\n", library->name, (unsigned long long)event.cookie);
    return event.cookie == cookie;
}

int main(void)
{
    struct library mpi = {.name = "libmpi"}, storage = {.name = "libstorage"};
    void *buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error = buffer == MAP_FAILED ? 1 : start(&mpi, buffer, 0x111);
    if (error)
        return error == -EOPNOTSUPP ? 77 : 1;
    if (start(&storage, buffer, 0x222))
        return 1;
    puts("unmap");
    munmap(buffer, LENGTH);
    if (!saw(&mpi, 0x111) || !saw(&storage, 0x222))
        return 1;
    /* One of them ends; the other is not disturbed. */
    if (kdreg_close(mpi.monitor))
        return 1;
    void *other = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (other == MAP_FAILED || kdreg_monitor(storage.monitor, other, LENGTH, 0x333, &storage.region))
        return 1;
    printf("libmpi is gone; libstorage's new region is %s\n", kdreg_valid(&storage.region) ? "valid" : "not valid");
    if (!kdreg_valid(&storage.region))
        return 1;
    munmap(other, LENGTH);
    return saw(&storage, 0x333) && !kdreg_close(storage.monitor) ? 0 : 1;
}
