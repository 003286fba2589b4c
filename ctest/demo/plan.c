/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "plan.h"
#include "status.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define ROOM_MOST ((size_t)64 << 20) /* more would only slow the demonstration down */
#define ROOM_LEAST_PAGES 8

static size_t clamp(size_t value, size_t least, size_t most)
{
    return value < least ? least : value > most ? most : value;
}

static size_t power_of_two_below(size_t value)
{
    size_t power = 1;

    while (power * 2 <= value)
        power *= 2;
    return power;
}

/*
 * How much can be pinned, found by doing it: RLIMIT_MEMLOCK is shared by all
 * processes of a user, and capabilities in a container may not lift it.
 */
static int measure_room(const struct plan *plan, int file, size_t *room, char *why, size_t why_size)
{
    size_t chunk = (size_t)1 << 20, want = *room;
    struct memory memory;
    struct device *device;
    int ret = memory_open(&memory, pin_kind_shared(plan->kind), 2 * want);

    if (ret < 0) {
        snprintf(why, why_size, "memfd_create: %s", strerror(-ret));
        return ret;
    }
    ret = device_open(plan->kind, &memory, file, &device, why, why_size);
    if (ret < 0) {
        memory_close(&memory);
        return ret;
    }
    if (chunk > want)
        chunk = want;
    char *addr = memory_map(&memory, want);
    *room = 0;
    while (addr && *room < want && chunk >= plan->page) {
        void *handle;
        ret = want - *room < chunk ? -ENOMEM : device->ops->reg(device, addr + *room, chunk, &handle);
        if (!ret)
            *room += chunk;
        else if (ret == -ENOMEM)
            chunk = chunk / 2 & ~(plan->page - 1);
        else
            break;
    }
    device->ops->close(device); /* releases them all */
    if (addr)
        memory_unmap(&memory, addr, want);
    memory_close(&memory);
    if (!addr || (ret && ret != -ENOMEM)) {
        snprintf(why, why_size, "%s: %s", addr ? "pinning" : "mmap", strerror(addr ? -ret : ENOMEM));
        return addr ? ret : -ENOMEM;
    }
    if (*room < ROOM_LEAST_PAGES * plan->page) {
        snprintf(why, why_size, "only %zu KiB can be pinned and %zu KiB are needed: raise RLIMIT_MEMLOCK (ulimit -l)",
                 *room >> 10, ROOM_LEAST_PAGES * plan->page >> 10);
        return -ENOMEM;
    }
    return 0;
}

static void size_workload(struct plan *plan)
{
    size_t page = plan->page, room = plan->room;

    plan->largest = clamp(power_of_two_below(room / 64), page, (size_t)512 << 10);
    plan->large_count = clamp(room / (8 * plan->largest), 2, 8);
    plan->pool_size = clamp(plan->largest / 4, page, plan->largest);
    plan->pool_count = clamp(room / (4 * plan->pool_size), 2, 8);
    plan->small_most = clamp(plan->largest / 8, 2048, 16384);
    plan->small_count = clamp(room / (8 * (plan->small_most + page)), 1, 16);
    plan->batch = clamp(room / (4 * plan->largest), 1, 8);
    plan->cache_bytes = room / 2;
    plan->merge_bytes = clamp(room / 8, 2 * plan->largest, 2 * plan->largest);
    /* Each large buffer may have doubled, and as much again is set aside for its doubling. */
    plan->memory_size = 4 * (plan->large_count * 4 * plan->largest + plan->pool_count * 2 * plan->pool_size +
                             plan->small_count * 2 * (plan->small_most + page));
    plan->file_size = plan->batch * 2 * plan->largest;
}

int plan_make(struct plan *plan, enum pin_kind forced, int file, FILE *log)
{
    size_t limit = memlock_limit();
    enum pin_kind first = forced == PIN_KINDS ? PIN_IO_URING : forced;
    enum pin_kind last = forced == PIN_KINDS ? PIN_NONE : forced;
    int ret = -EINVAL;

    memset(plan, 0, sizeof(*plan));
    plan->page = (size_t)sysconf(_SC_PAGESIZE);
    for (int kind = (int)first; kind <= (int)last; kind++) {
        char why[256] = "";
        bool limited = limit != SIZE_MAX && kind != PIN_NONE;

        plan->kind = (enum pin_kind)kind;
        plan->room = limited && limit < ROOM_MOST ? limit & ~(plan->page - 1) : ROOM_MOST;
        ret = plan->room ? measure_room(plan, file, &plan->room, why, sizeof(why)) : -EPERM;
        if (!plan->room && !why[0])
            snprintf(why, sizeof(why), "RLIMIT_MEMLOCK is 0: raise it (ulimit -l)");
        if (ret == 0) {
            size_workload(plan);
            return 0;
        }
        fprintf(log, "  %-12s refused: %s\n", pin_kind_name(plan->kind), why);
    }
    return ret;
}
