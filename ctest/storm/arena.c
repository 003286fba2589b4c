/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Addresses for the storm's memory. */
#include <sys/mman.h>

#include "storm.h"

char *arena(size_t pages)
{
    /* Low in the address space: mmap without an address works from the top. Never given back. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uintptr_t next = 0x200000000000u;
    size_t size = file_page_size(), length = (pages + 16) * size;
    pthread_mutex_lock(&lock);
    uintptr_t hint = next;
    next += length;
    pthread_mutex_unlock(&lock);
    char *space = mmap((void *)hint, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(space != MAP_FAILED, "mmap: %s", strerror(errno));
    return space + 8 * size;
}
