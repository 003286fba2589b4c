/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The file that is the physical memory of the storm. */
#include <sys/mman.h>

#include "storm.h"

/* stamp: serial number << 24 | page number in the file + 1; 0 in the low bits for memory without a file */
enum { PLACE_BITS = 24 };
static const uint64_t place_mask = (1u << PLACE_BITS) - 1;

static struct {
    int fd;
    char *mirror;
    size_t pages, page_size;
    pthread_mutex_t lock;   /* guards the ring of free runs below */
    size_t *ring, capacity, head, tail;
    atomic_int *mapped;     /* per run: pages not yet dropped */
    atomic_uint_fast64_t serial;
} file;

void file_create(size_t pages)
{
    file.page_size = (size_t)sysconf(_SC_PAGESIZE);
    file.pages = pages;
    file.fd = memfd_create("kdreg-storm", MFD_CLOEXEC);
    REQUIRE(file.fd >= 0 && ftruncate(file.fd, (off_t)(pages * file.page_size)) == 0, "the storm's file: %s", strerror(errno));
    file.mirror = mmap(NULL, pages * file.page_size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    REQUIRE(file.mirror != MAP_FAILED, "the storm's second mapping: %s", strerror(errno));
    pthread_mutex_init(&file.lock, NULL);
    atomic_store(&file.serial, 1);
    file.capacity = pages / RUN;
    file.ring = calloc(file.capacity, sizeof *file.ring);
    file.mapped = calloc(file.capacity, sizeof *file.mapped);
    REQUIRE(file.ring && file.mapped, "no memory");
    for (size_t i = 0; i < file.capacity; i++)
        file.ring[i] = i * RUN;
    file.tail = file.capacity;
}

int file_descriptor(void)
{
    return file.fd;
}

size_t file_page_size(void)
{
    return file.page_size;
}

static uint64_t *word_at(size_t page)
{
    return (uint64_t *)(void *)(file.mirror + page * file.page_size);
}

/* The run given back longest ago comes first, so that a registration kept too long meets new stamps only late. */
size_t file_take(size_t pages, uint64_t *stamps)
{
    REQUIRE(pages <= RUN, "a run has %d pages", RUN);
    pthread_mutex_lock(&file.lock);
    REQUIRE(file.head != file.tail, "the storm's file is full");
    size_t first = file.ring[file.head++ % file.capacity];
    pthread_mutex_unlock(&file.lock);
    atomic_store(&file.mapped[first / RUN], (int)pages);
    for (size_t i = 0; i < pages; i++) {
        uint64_t serial = atomic_fetch_add(&file.serial, 1);
        stamps[i] = serial << PLACE_BITS | (first + i + 1);
        __atomic_store_n(word_at(first + i), stamps[i], __ATOMIC_RELEASE);
    }
    return first;
}

void file_drop(const uint64_t *stamps, size_t pages)
{
    for (size_t i = 0; i < pages; i++) {
        size_t page = (stamps[i] & place_mask) - 1, run = page / RUN;
        /* What is read through a registration of this page from now on is nobody's data. */
        __atomic_store_n(word_at(page), 0, __ATOMIC_RELEASE);
        if (atomic_fetch_sub(&file.mapped[run], 1) != 1)
            continue;
        pthread_mutex_lock(&file.lock);
        file.ring[file.tail++ % file.capacity] = run * RUN;
        pthread_mutex_unlock(&file.lock);
    }
}

char *file_map_fresh(char *addr, size_t pages, int flags, uint64_t *stamps)
{
    uint64_t fresh[RUN];
    size_t first = file_take(pages, fresh);
    char *mapped = mmap(addr, pages * file.page_size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, file.fd, (off_t)(first * file.page_size));
    if (mapped == MAP_FAILED) {
        file_drop(fresh, pages);
        return NULL;
    }
    memcpy(stamps, fresh, pages * sizeof *fresh);
    return mapped;
}

bool stamp_of_file(uint64_t stamp)
{
    return (stamp & place_mask) != 0;
}

uint64_t stamp_anonymous(void)
{
    return atomic_fetch_add(&file.serial, 1) << PLACE_BITS;
}

uint64_t file_read_through(uint64_t stamp)
{
    return __atomic_load_n(word_at((stamp & place_mask) - 1), __ATOMIC_ACQUIRE);
}
