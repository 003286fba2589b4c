/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A library that begins and ends its cache where the dynamic loader does: in a constructor and a destructor, with the loader's lock held. It
 * leaves in `constructed` how it went; 0: well. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kdreg.h>

#include "plain.h"

__attribute__((visibility("default"))) int constructed = -1;

static kdreg_t *monitor;
static kdreg_cache_t *cache;
static char *memory;

static int use(void)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, memory, 4096, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

/* A thread's first use of the library, while another one waits for it that holds the loader's lock. */
static void *first_use(void *result)
{
    *(int *)result = use();
    return NULL;
}

static int begin(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error = kdreg_open(NULL, &monitor);
    if (!error)
        error = kdreg_cache_create(monitor, &attr, &cache);
    if (!error)
        error = use();
    if (error)
        return error;
    pthread_t thread;
    int theirs = -1;
    if (pthread_create(&thread, NULL, first_use, &theirs) || pthread_join(thread, NULL))
        return -2;
    /* The handler answers, whoever has the loader's lock. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return munmap(memory + page, page) ? -errno : theirs;
}

__attribute__((constructor)) static void construct(void)
{
    constructed = begin();
}

__attribute__((destructor)) static void destruct(void)
{
    if (kdreg_cache_destroy(cache) || kdreg_close(monitor))
        abort();
    munmap(memory, 65536);
}
