/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Refuses each allocation that a call makes in turn, the first, the second, and so on until the call makes no more. */
#ifndef KDREG_CTEST_REFUSING_H
#define KDREG_CTEST_REFUSING_H

#include "check.h"

/* The program's own allocator, which the library uses, too: what it hands out is the C library's. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long allocations; /* so far, while counting */
static atomic_long refused;     /* the number of the one that is refused; 0: none; -1: all */
static atomic_bool counting;

static bool refuse(void)
{
    if (!atomic_load(&counting))
        return false;
    long number = atomic_fetch_add(&allocations, 1) + 1;
    long which = atomic_load(&refused);
    return which == -1 || which == number;
}

#define OR_NULL(call) (refuse() ? (errno = ENOMEM, NULL) : (call))
void *malloc(size_t size) { return OR_NULL(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return OR_NULL(__libc_calloc(count, size)); }
void *realloc(void *block, size_t size) { return OR_NULL(__libc_realloc(block, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return OR_NULL(__libc_memalign(alignment, size)); }
void *memalign(size_t alignment, size_t size) { return OR_NULL(__libc_memalign(alignment, size)); }
int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *made = OR_NULL(__libc_memalign(alignment, size));
    if (!made)
        return ENOMEM;
    *block = made;
    return 0;
}

/* What succeeds, or is -ENOMEM and has changed nothing. */
struct call {
    const char *name;
    int (*call)(void);
    void (*undo)(void);
};
__attribute__((unused)) static void nothing(void) {}

static long descriptors(void)
{
    long open = 0;
    for (int fd = 0; fd < 256; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

__attribute__((unused)) static void refuse_each(const struct call *call, const char *where)
{
    int refusals = 0, made = 0;
    for (long number = 1;; number++) {
        long before = descriptors();
        atomic_store(&allocations, 0);
        atomic_store(&refused, number);
        atomic_store(&counting, true);
        int error = call->call();
        atomic_store(&counting, false);
        long asked = atomic_load(&allocations);
        if (error == 0) {
            call->undo();
            made++;
        } else
            refusals++;
        CHECK(error == 0 || error == -ENOMEM, "%s%s without allocation %ld: %s", call->name, where, number, kdreg_strerror(error));
        if (error)
            CHECK(descriptors() == before, "%s%s without allocation %ld leaves %ld descriptors", call->name, where, number, descriptors() - before);
        if (asked < number || number > 3000)
            break;
    }
    CHECK(made > 0, "%s%s never succeeds", call->name, where);
    printf("    %s%s: %d refused, %d made\n", call->name, where, refusals, made);
}

/* As refuse_each, of a call that is the first of its process: in a child for each. */
__attribute__((unused)) static void refuse_first(const struct call *call)
{
    for (long number = 1, more = 1; more && number < 3000; number++) {
        pid_t child = check_fork();
        if (child == 0) {
            kdreg_set_log(NULL, NULL, KDREG_LOG_ERROR);
            atomic_store(&refused, number);
            atomic_store(&counting, true);
            int error = call->call();
            atomic_store(&counting, false);
            if (error != 0 && error != -ENOMEM) {
                fprintf(stderr, "%s: %s\n", call->name, kdreg_strerror(error));
                _exit(1);
            }
            /* Another time it works. */
            if (error && call->call() != 0)
                _exit(2);
            call->undo();
            _exit(atomic_load(&allocations) < number ? 10 : 0);
        }
        int status;
        REQUIRE(waitpid(child, &status, 0) == child, "waitpid");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) % 10 == 0, "%s, the first time, without allocation %ld: status %#x", call->name, number,
              status);
        more = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
}

#endif
