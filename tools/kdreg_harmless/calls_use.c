/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory in use: page faults, children, and what the kernel reads and writes on a program's behalf. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "../newer/newer.h"

static long sum_of(const struct memory *memory)
{
    long sum = 0;
    for (int i = 0; i < memory->units; i++)
        sum += *(volatile unsigned char *)at(memory, i);
    return sum;
}

static long read_pages(struct memory *memory, const struct call *call)
{
    (void)call;
    long sum = 0;
    for (char *page = memory->base; page < memory->base + size_of(memory); page += memory->page)
        sum += *(volatile unsigned char *)page;
    return sum;
}

static long write_pages(struct memory *memory, const struct call *call)
{
    for (char *page = memory->base; page < memory->base + size_of(memory); page += memory->page)
        *(volatile char *)page = (char)call->value;
    return 0;
}

static long child_says(pid_t child)
{
    int status;
    pid_t reaped;
    if (child < 0)
        return -errno;
    while ((reaped = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        ;
    return reaped != child ? -errno : WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static long fork_reads(struct memory *memory, const struct call *call)
{
    (void)call;
    pid_t child = fork();
    if (child == 0)
        _exit((int)(sum_of(memory) & 0x7f));
    return child_says(child);
}

static long fork_writes(struct memory *memory, const struct call *call)
{
    pid_t child = fork();
    if (child == 0) {
        write_pages(memory, call);
        _exit((int)(sum_of(memory) & 0x7f));
    }
    return child_says(child);
}

/* The child changes mappings that the parent's library watches. */
static long fork_unmaps(struct memory *memory, const struct call *call)
{
    pid_t child = fork();
    if (child == 0) {
        char *start;
        size_t length;
        part_of(memory, call->part, &start, &length);
        int error = madvise(start, length, MADV_DONTNEED) ? errno : 0;
        if (munmap(start, length))
            error = errno;
        _exit(error);
    }
    return child_says(child);
}

static long fork_parent_writes(struct memory *memory, const struct call *call)
{
    int pipes[2];
    char byte = 0;
    if (pipe(pipes))
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) == 0 ? (int)(sum_of(memory) & 0x7f) : 127);
    }
    write_pages(memory, call);
    close(pipes[1]);
    long result = child_says(child);
    close(pipes[0]);
    return result;
}

static long fork_twice(struct memory *memory, const struct call *call)
{
    pid_t child = fork();
    if (child == 0)
        _exit((int)fork_writes(memory, call));
    return child_says(child);
}

static long spawn(struct memory *memory, const struct call *call)
{
    (void)memory, (void)call;
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    return child_says(child);
}

static long vm_read(struct memory *memory, const struct call *call)
{
    struct iovec remote;
    part_of(memory, call->part, (char **)&remote.iov_base, &remote.iov_len);
    struct iovec local = {malloc(remote.iov_len), remote.iov_len};
    long result = failed_or(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
    free(local.iov_base);
    return result;
}

static long vm_write(struct memory *memory, const struct call *call)
{
    struct iovec remote;
    part_of(memory, call->part, (char **)&remote.iov_base, &remote.iov_len);
    struct iovec local = {malloc(remote.iov_len), remote.iov_len};
    memset(local.iov_base, 0x21, local.iov_len);
    long result = failed_or(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
    free(local.iov_base);
    return result;
}

static int prepare_file(struct memory *memory, const struct call *call)
{
    int fd = open_file(call->value);
    if (fd < 0)
        return -errno;
    memory->extra = (char *)(intptr_t)fd;
    return 0;
}

static long write_to_file(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(pwrite((int)(intptr_t)memory->extra, start, length, 0));
}

static int prepare_full_file(struct memory *memory, const struct call *call)
{
    char *start, *content;
    size_t length;
    int error = prepare_file(memory, call);
    part_of(memory, call->part, &start, &length);
    if (error)
        return error;
    if (posix_memalign((void **)&content, 4096, length))
        return -ENOMEM;
    memset(content, 0x5a, length);
    long written = pwrite((int)(intptr_t)memory->extra, content, length, 0);
    free(content);
    return written == (long)length ? 0 : -EIO;
}

static long read_from_file(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(pread((int)(intptr_t)memory->extra, start, length, 0));
}

/* Pages given to a pipe, and taken out again elsewhere. value: flags. */
static long splice_pages(struct memory *memory, const struct call *call)
{
    struct iovec range;
    int pipes[2], copies[2];
    char taken[64] = {0};
    part_of(memory, call->part, (char **)&range.iov_base, &range.iov_len);
    range.iov_len = 4 * memory->page;
    if (pipe(pipes) || pipe(copies))
        return -errno;
    long result = failed_or(vmsplice(pipes[1], &range, 1, (unsigned)call->value | SPLICE_F_NONBLOCK));
    if (result > 0 && (tee(pipes[0], copies[1], (size_t)result, SPLICE_F_NONBLOCK) != result || read(copies[0], taken, sizeof taken) != sizeof taken))
        result = -errno;
    if (result > 0 && memcmp(taken, range.iov_base, sizeof taken))
        result = -EILSEQ;
    close(pipes[0]), close(pipes[1]), close(copies[0]), close(copies[1]);
    return result;
}

static long splice_into(struct memory *memory, const struct call *call)
{
    struct iovec range;
    int pipes[2];
    char given[64];
    memset(given, 0x66, sizeof given);
    part_of(memory, call->part, (char **)&range.iov_base, &range.iov_len);
    range.iov_len = sizeof given;
    if (pipe(pipes) || write(pipes[1], given, sizeof given) != sizeof given)
        return -errno;
    long result = failed_or(vmsplice(pipes[0], &range, 1, SPLICE_F_NONBLOCK));
    close(pipes[0]), close(pipes[1]);
    return result;
}

/* value: O_RDONLY or O_WRONLY. */
static long through_proc(struct memory *memory, const struct call *call)
{
    char *start, byte[64];
    size_t length;
    part_of(memory, call->part, &start, &length);
    memset(byte, 0x44, sizeof byte);
    int fd = open("/proc/self/mem", call->value | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    long result = failed_or(call->value == O_RDONLY ? pread(fd, byte, sizeof byte, (off_t)(uintptr_t)start)
                                                    : pwrite(fd, byte, sizeof byte, (off_t)(uintptr_t)start));
    close(fd);
    return result;
}

/* value: what is cleared. */
static long clear_references(struct memory *memory, const struct call *call)
{
    (void)memory;
    char digit = (char)('0' + call->value);
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    long result = failed_or(write(fd, &digit, 1));
    close(fd);
    return result;
}

/* How many pages count as written. */
static long scan_written(struct memory *memory, const struct call *call)
{
    (void)call;
    struct newer_page_region regions[64];
    struct newer_pm_scan scan = {.size = sizeof scan, .start = (uintptr_t)memory->base, .end = (uintptr_t)memory->base + size_of(memory),
                                 .vec = (uintptr_t)regions, .vec_len = 64, .category_mask = NEWER_PAGE_IS_WRITTEN, .return_mask = NEWER_PAGE_IS_WRITTEN};
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    long count = failed_or(ioctl(fd, NEWER_PAGEMAP_SCAN, &scan)), pages = 0;
    for (long i = 0; i < count; i++)
        pages += (long)((regions[i].end - regions[i].start) / memory->page);
    close(fd);
    return count < 0 ? count : pages;
}

const struct call calls_use[] = {
    {"reading every page for the first time", IN_AREA | HEAP, UNTOUCHED | FAULTS_COUNT, 0, WHOLE_OF_IT, read_pages, NULL, NULL},
    {"writing every page for the first time", IN_AREA | HEAP, UNTOUCHED | FAULTS_COUNT, 1, WHOLE_OF_IT, write_pages, NULL, NULL},
    {"reading every page again", ANY, FAULTS_COUNT, 0, WHOLE_OF_IT, read_pages, NULL, NULL},
    {"writing every page again", ANY, FAULTS_COUNT, 1, WHOLE_OF_IT, write_pages, NULL, NULL},
    {"fork; the child reads", ANY, 0, 0, WHOLE_OF_IT, fork_reads, NULL, NULL},
    {"fork; the child writes", ANY, 0, 3, WHOLE_OF_IT, fork_writes, NULL, NULL},
    {"fork; the child discards and unmaps", ANY, 0, 0, ACROSS, fork_unmaps, NULL, NULL},
    {"fork; the parent writes", ANY, 0, 5, WHOLE_OF_IT, fork_parent_writes, NULL, NULL},
    {"fork; the child forks", ANY, 0, 7, WHOLE_OF_IT, fork_twice, NULL, NULL},
    {"vfork and exec", ANY, 0, 0, WHOLE_OF_IT, spawn, NULL, NULL},
    {"process_vm_readv", ANY, 0, 0, ACROSS, vm_read, NULL, NULL},
    {"process_vm_writev", ANY, 0, 0, ACROSS, vm_write, NULL, NULL},
    {"write from it", ANY, 0, 0, ACROSS, write_to_file, prepare_file, NULL},
    {"read into it", ANY, 0, 0, ACROSS, read_from_file, prepare_full_file, NULL},
    {"write from it, O_DIRECT", ANY, 0, O_DIRECT, ACROSS, write_to_file, prepare_file, NULL},
    {"read into it, O_DIRECT", ANY, 0, O_DIRECT, ACROSS, read_from_file, prepare_full_file, NULL},
    {"vmsplice to a pipe, tee", ANY, 0, 0, INSIDE, splice_pages, NULL, NULL},
    {"vmsplice to a pipe, GIFT", ANY, 0, SPLICE_F_GIFT, ACROSS, splice_pages, NULL, NULL},
    {"vmsplice from a pipe", ANY, 0, 0, INSIDE, splice_into, NULL, NULL},
    {"reading /proc/self/mem", ANY, 0, O_RDONLY, INSIDE, through_proc, NULL, NULL},
    {"writing /proc/self/mem", ANY, 0, O_WRONLY, INSIDE, through_proc, NULL, NULL},
    {"clear_refs: referenced", ANY, 0, 1, WHOLE_OF_IT, clear_references, NULL, NULL},
    {"clear_refs: soft-dirty", ANY, 0, 4, WHOLE_OF_IT, clear_references, NULL, NULL},
    {"PAGEMAP_SCAN: written pages", ANY, 0, 0, WHOLE_OF_IT, scan_written, NULL, NULL},
    {0},
};
