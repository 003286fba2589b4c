/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "pages.h"

#include <sys/uio.h>

#include "../check.h"
#include "../../tools/newer/newer.h"

/* Few enough for what a pipe may hold, and all pipes of a user together. */
enum { MOST = 64 };

struct pages {
    char *first;          /* the address of the first page that is kept */
    size_t stride, count; /* bytes from one to the next; how many */
    int out, in;          /* the pipe: a word of each page */
};

static atomic_long registrations;
static atomic_ullong stamps = 1;

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* The word of a page that is kept: in its middle, for at its ends there is the allocator's own. */
static uint64_t *word_of(const struct pages *pages, size_t number)
{
    return (uint64_t *)(void *)(pages->first + number * pages->stride + page_size() / 2);
}

static bool make_pipe(int *out, int *in, size_t slots)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return false;
    if (slots > 16 && fcntl(ends[1], F_SETPIPE_SZ, (int)(slots * page_size())) < 0) {
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    *out = ends[0];
    *in = ends[1];
    return true;
}

/* Takes hold of them; 0 or a negative errno. */
static int take(struct pages *pages)
{
    struct iovec words[MOST];
    for (size_t i = 0; i < pages->count; i++)
        words[i] = (struct iovec){word_of(pages, i), sizeof(uint64_t)};
    for (size_t done = 0; done < pages->count;) {
        ssize_t got = vmsplice(pages->in, words + done, pages->count - done, SPLICE_F_NONBLOCK);
        if (got < 0)
            return -errno;
        if (got == 0 || (size_t)got % sizeof(uint64_t))
            return -EFAULT;
        done += (size_t)got / sizeof(uint64_t);
    }
    return 0;
}

int pages_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context;
    (void)access;
    /* Pages to be written to: not the one of zeros that stands for any that was only read. */
    if (madvise(addr, length, MADV_POPULATE_WRITE))
        return errno == ENOMEM ? -EFAULT : -errno;
    size_t all = length / page_size();
    struct pages *pages = malloc(sizeof *pages);
    if (!pages)
        return -ENOMEM;
    pages->first = addr;
    pages->stride = (all + MOST - 1) / MOST * page_size();
    pages->count = (length + pages->stride - 1) / pages->stride;
    int error = make_pipe(&pages->out, &pages->in, pages->count) ? 0 : -errno;
    if (error) {
        free(pages);
        return error;
    }
    error = take(pages);
    if (error) {
        close(pages->in);
        close(pages->out);
        free(pages);
        return error;
    }
    atomic_fetch_add(&registrations, 1);
    *handle = pages;
    return 0;
}

int pages_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)context;
    (void)addr;
    (void)length;
    struct pages *pages = handle;
    close(pages->in);
    close(pages->out);
    free(pages);
    atomic_fetch_sub(&registrations, 1);
    return 0;
}

int pages_differ(const void *handle, char *at, size_t length, unsigned long *looked)
{
    const struct pages *pages = handle;
    uint64_t written[MOST], kept[MOST];
    memset(written, 0, sizeof written);
    int differ = 0, mine = 0;
    for (size_t i = 0; i < pages->count; i++) {
        uint64_t *word = word_of(pages, i);
        if ((char *)word < at || (char *)(word + 1) > at + length)
            continue;
        written[i] = atomic_fetch_add(&stamps, 1) << 8 | 0x5a;
        __atomic_store_n(word, written[i], __ATOMIC_RELAXED);
        mine++;
    }
    if (!mine)
        return 0;
    int out, in;
    REQUIRE(make_pipe(&out, &in, pages->count), "a pipe to look through: %s", strerror(errno));
    ssize_t bytes = (ssize_t)(pages->count * sizeof *kept);
    REQUIRE(tee(pages->out, in, (size_t)bytes, SPLICE_F_NONBLOCK) == bytes, "tee: %s", strerror(errno));
    REQUIRE(read(out, kept, (size_t)bytes) == bytes, "what the registration has: %s", strerror(errno));
    close(in);
    close(out);
    for (size_t i = 0; i < pages->count; i++)
        differ += written[i] && written[i] != kept[i];
    *looked += (unsigned long)mine;
    return differ;
}

long pages_registrations(void)
{
    return atomic_load(&registrations);
}

bool pages_possible(void)
{
    size_t length = 2 * MOST * page_size();
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    void *handle;
    int error = pages_register(NULL, memory, length, 0, &handle);
    if (error) {
        printf("skipped: no pages can be kept by vmsplice and MADV_POPULATE_WRITE here: %s\n", strerror(-error));
        return false;
    }
    /* It has to tell other pages from these, or nothing is shown. */
    unsigned long looked = 0;
    int differ = pages_differ(handle, memory, length, &looked);
    REQUIRE(differ == 0 && looked == MOST, "%d of %lu pages differ from themselves", differ, looked);
    REQUIRE(madvise(memory, length / 2, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    differ = pages_differ(handle, memory, length, &looked);
    REQUIRE(differ == MOST / 2, "%d pages differ, %d were discarded", differ, MOST / 2);
    pages_deregister(NULL, memory, length, handle);
    munmap(memory, length);
    return true;
}
