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
#define MEASURE_CHUNK ((size_t)1 << 20)

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
static int measure_room(struct plan *plan, struct memory *memory, struct device *device, size_t most)
{
    void *handles[DEVICE_SLOTS];
    size_t count = 0, chunk = MEASURE_CHUNK, bytes;
    uint64_t held;
    char *addr = memory_map(memory, most);
    int ret = 0, error;

    if (!addr)
        return -ENOMEM;
    plan->room = 0;
    while (chunk >= plan->page && plan->room < most && count < DEVICE_SLOTS) {
        ret = most - plan->room < chunk ? -ENOMEM
                                        : device->ops->reg(device, addr + plan->room, chunk, &handles[count]);
        if (ret == -ENOMEM) {
            chunk = (chunk / 2) & ~(plan->page - 1);
            continue;
        }
        if (ret < 0)
            break;
        plan->room += chunk;
        count++;
    }
    ret = ret == -ENOMEM ? 0 : ret;
    while (count) {
        error = device->ops->dereg(device, handles[--count]);
        ret = ret ? ret : error;
    }
    error = device->ops->settle(device, &held, &bytes);
    memory_unmap(memory, addr, most);
    return ret ? ret : error ? error : held || bytes ? -EBUSY : 0;
}

/* Opens memory and device of one kind; on failure `why` says what was refused. */
static int try_kind(struct plan *plan, size_t limit, int file, struct memory *memory, struct device **device,
                    char *why, size_t why_size)
{
    size_t most = ROOM_MOST;
    int ret;

    if (plan->kind != PIN_NONE && limit < most)
        most = limit & ~(plan->page - 1);
    if (!most) {
        snprintf(why, why_size, "RLIMIT_MEMLOCK is %zu bytes: raise it (ulimit -l)", limit);
        return -EPERM;
    }
    ret = memory_open(memory, pin_kind_shared(plan->kind), 2 * ROOM_MOST);
    if (ret < 0) {
        snprintf(why, why_size, "memfd_create: %s", strerror(-ret));
        return ret;
    }
    ret = device_open(plan->kind, memory, file, device, why, why_size);
    if (ret == 0) {
        ret = measure_room(plan, memory, *device, most);
        if (ret < 0) {
            snprintf(why, why_size, "pinning: %s", strerror(-ret));
        } else if (plan->room < ROOM_LEAST_PAGES * plan->page) {
            snprintf(why, why_size, "%zu KiB can be pinned and %zu KiB are needed: raise RLIMIT_MEMLOCK (ulimit -l)",
                     plan->room >> 10, ROOM_LEAST_PAGES * plan->page >> 10);
            ret = -ENOMEM;
        }
        if (ret < 0)
            (*device)->ops->close(*device);
    }
    if (ret < 0)
        memory_close(memory);
    return ret;
}

static void size_workload(struct plan *plan)
{
    size_t page = plan->page, room = plan->room;

    plan->largest = clamp(power_of_two_below(room / 64), page, (size_t)1 << 20);
    plan->large_count = clamp(room / (8 * plan->largest), 2, 8);
    plan->pool_size = clamp(plan->largest / 2, page, plan->largest);
    plan->pool_count = clamp(room / (4 * plan->pool_size), 2, 8);
    plan->small_most = clamp(plan->largest / 8, 2048, 16384);
    plan->small_count = clamp(room / (8 * (plan->small_most + page)), 1, 16);
    plan->batch = clamp(room / (4 * plan->largest), 1, 8);
    plan->cache_bytes = room / 2;
    plan->merge_bytes = clamp(room / 8, 2 * plan->largest, 2 * plan->largest);
    plan->file_size = plan->batch * 2 * plan->largest;
}

/* Twice what the buffers may come to (each large one doubled, with room for that set aside), so
 * that freed pages are not given out again at once. */
static size_t memory_needed(const struct plan *plan)
{
    size_t most = plan->large_count * 4 * plan->largest + plan->pool_count * 2 * plan->pool_size +
                  plan->small_count * 2 * (plan->small_most + plan->page);
    return 2 * most;
}

int plan_make(struct plan *plan, enum pin_kind forced, int file, struct memory *memory, struct device **device,
              FILE *log)
{
    size_t limit = memlock_limit();
    enum pin_kind first = forced == PIN_KINDS ? PIN_IO_URING : forced;
    enum pin_kind last = forced == PIN_KINDS ? PIN_NONE : forced;
    int ret = -EINVAL;

    memset(plan, 0, sizeof(*plan));
    plan->page = (size_t)sysconf(_SC_PAGESIZE);
    for (int kind = (int)first; kind <= (int)last; kind++) {
        char why[256] = "";

        plan->kind = (enum pin_kind)kind;
        ret = try_kind(plan, limit, file, memory, device, why, sizeof(why));
        if (ret == 0) {
            size_workload(plan);
            ret = memory_resize(memory, memory_needed(plan));
            if (ret < 0)
                fprintf(log, "  a memfd of %zu KiB: %s\n", memory_needed(plan) >> 10, strerror(-ret));
            return ret;
        }
        fprintf(log, "  %-12s refused: %s\n", pin_kind_name(plan->kind), why);
    }
    return ret;
}
