/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What grows and shrinks: files, the heap, blocks of malloc, the stack. */
#include <alloca.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "calls.h"
#include "../newer/newer.h"

static sigjmp_buf out_of_signal;
static void leap(int number) { siglongjmp(out_of_signal, number); }

/* The signal that reading there ends in, or 0. */
static long signal_of_reading(const char *place)
{
    struct sigaction action = {.sa_handler = leap}, bus, segv;
    sigaction(SIGBUS, &action, &bus);
    sigaction(SIGSEGV, &action, &segv);
    long number = sigsetjmp(out_of_signal, 1);
    if (!number)
        (void)*(volatile const char *)place;
    sigaction(SIGBUS, &bus, NULL);
    sigaction(SIGSEGV, &segv, NULL);
    return number;
}

static long truncate_and_read(struct memory *memory, const struct call *call)
{
    (void)call;
    if (ftruncate(memory->fd, (off_t)(size_of(memory) / 4 + memory->unit)))
        return -errno;
    return signal_of_reading(memory->base + size_of(memory) / 2);
}

static long truncate_and_extend(struct memory *memory, const struct call *call)
{
    (void)call;
    if (ftruncate(memory->fd, (off_t)(size_of(memory) / 4 + memory->unit)) || ftruncate(memory->fd, (off_t)size_of(memory)))
        return -errno;
    return signal_of_reading(memory->base + size_of(memory) / 2);
}

/* value: mode. */
static long allocate(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    return failed_or(fallocate(memory->fd, call->value, start - memory->base, (off_t)length));
}

static long write_behind(struct memory *memory, const struct call *call)
{
    char *start, bytes[64];
    size_t length;
    part_of(memory, call->part, &start, &length);
    memset(bytes, 0x29, sizeof bytes);
    return failed_or(pwrite(memory->fd, bytes, sizeof bytes, start - memory->base));
}

static long detach(struct memory *memory, const struct call *call)
{
    (void)call;
    return failed_or(shmdt(memory->base));
}

static long attach_over(struct memory *memory, const struct call *call)
{
    char *start;
    size_t length;
    part_of(memory, call->part, &start, &length);
    int segment = shmget(IPC_PRIVATE, length, IPC_CREAT | 0600);
    if (segment < 0)
        return -errno;
    long result = shmat(segment, start, SHM_REMAP) == (void *)start ? AS_ASKED : -errno;
    shmctl(segment, IPC_RMID, NULL);
    return result;
}

static long break_up(struct memory *memory, const struct call *call)
{
    (void)call;
    char *end = sbrk((intptr_t)size_of(memory));
    if (end == (void *)-1)
        return -errno;
    memset(end, 1, size_of(memory));
    memory->moved = end;
    memory->moved_length = size_of(memory);
    return end == memory->base + size_of(memory) ? IN_PLACE : MOVED;
}

static long break_down(struct memory *memory, const struct call *call)
{
    (void)call;
    return sbrk(-(intptr_t)(size_of(memory) / 2)) == (void *)-1 ? -errno : 0;
}

static long break_down_and_up(struct memory *memory, const struct call *call)
{
    long result = break_down(memory, call);
    if (result < 0 || sbrk((intptr_t)(size_of(memory) / 2)) == (void *)-1)
        return -errno;
    return *(volatile char *)(memory->base + size_of(memory) - memory->unit);   /* a fresh page */
}

/* value: to so many quarters of what it was. */
static long reallocate(struct memory *memory, const struct call *call)
{
    size_t length = size_of(memory) + memory->unit;
    size_t wanted = length / 4 * (size_t)call->value, skipped = (size_t)(memory->base - memory->block);
    char *block = realloc(memory->block, wanted);
    if (!block)
        return -errno;
    long sum = 0;   /* what was there is there, wherever it is now */
    for (int i = 0; i < memory->units && skipped + (size_t)(i + 1) * memory->unit < wanted; i++)
        sum += block[skipped + (size_t)i * memory->unit];
    return sum;
}

static long give_back(struct memory *memory, const struct call *call)
{
    (void)call;
    free(memory->block);
    return 0;
}

static long give_back_and_take(struct memory *memory, const struct call *call)
{
    (void)call;
    size_t length = size_of(memory) + memory->unit;
    free(memory->block);
    char *again = malloc(length);
    if (!again)
        return -errno;
    memset(again, 1, length);
    return 0;
}

static long trim(struct memory *memory, const struct call *call)
{
    (void)memory, (void)call;
    malloc_trim(0);
    return 0;
}

static __attribute__((noinline)) long deeper(struct memory *memory, const struct call *call)
{
    (void)memory;
    size_t depth = (size_t)call->value;
    volatile char *frame = alloca(depth);
    for (size_t i = depth; i > 0; i -= 4096)
        frame[i - 1] = 1;
    return frame[depth - 1];
}

const struct call calls_grow[] = {
    {"ftruncate, then reading beyond", WITH_FD, 0, 0, WHOLE_OF_IT, truncate_and_read, NULL, NULL},
    {"ftruncate down and up, then reading", WITH_FD, 0, 0, WHOLE_OF_IT, truncate_and_extend, NULL, NULL},
    {"fallocate(PUNCH_HOLE)", WITH_FD, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ACROSS, allocate, NULL, NULL},
    {"pwrite to the file behind it", WITH_FD, 0, 0, INSIDE, write_behind, NULL, NULL},
    {"shmdt", ANY, 0, 0, WHOLE_OF_IT, detach, NULL, NULL},
    {"shmat(SHM_REMAP) over a part", ANY, PLACE, 0, INSIDE, attach_over, NULL, NULL},
    {"brk up", HEAP, PLACE, 0, WHOLE_OF_IT, break_up, NULL, NULL},
    {"brk down", HEAP, 0, 0, WHOLE_OF_IT, break_down, NULL, NULL},
    {"brk down and up", HEAP, 0, 0, WHOLE_OF_IT, break_down_and_up, NULL, NULL},
    {"malloc_trim", HEAP | MALLOC, 0, 0, WHOLE_OF_IT, trim, NULL, NULL},
    {"realloc to twice the size", MALLOC, RESULT_ALONE, 8, WHOLE_OF_IT, reallocate, NULL, NULL},
    {"realloc to sixteen times the size", MALLOC, RESULT_ALONE, 64, WHOLE_OF_IT, reallocate, NULL, NULL},
    {"realloc to half the size", MALLOC, RESULT_ALONE, 2, WHOLE_OF_IT, reallocate, NULL, NULL},
    {"free", MALLOC, RESULT_ALONE, 0, WHOLE_OF_IT, give_back, NULL, NULL},
    {"free, and malloc of as much", MALLOC, RESULT_ALONE, 0, WHOLE_OF_IT, give_back_and_take, NULL, NULL},
    {"stack growth", STACK, 0, 3 << 20, WHOLE_OF_IT, deeper, NULL, NULL},
    {0},
};
