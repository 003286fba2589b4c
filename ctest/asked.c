/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a call says of the registration it asks for, what the callbacks are told of it, and what is kept in the entry. On every backend. */
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"

static size_t page;
static bool watches;

/* What a caller keeps in an entry. */
struct keys {
    uint64_t serial;
    void *addr;
    char filling[200];
};

struct device {
    int calls, live, refuse_speculative, result;
    uint64_t serial;
    struct kdreg_registration last;
};

static int device_register(void *context, struct kdreg_registration *registration)
{
    struct device *device = context;
    device->calls++;
    device->last = *registration;
    CHECK_IS(registration->size, sizeof *registration);
    CHECK(registration->handle == NULL, "a handle before there is one");
    if (registration->data) {
        struct keys *keys = registration->data;
        CHECK((uintptr_t)keys % 16 == 0, "the data is at %p", registration->data);
        for (size_t i = 0; i < sizeof *keys; i++)
            REQUIRE(((const char *)registration->data)[i] == 0, "byte %zu of the data is not zero", i);
        keys->serial = ++device->serial;
        keys->addr = registration->addr;
        memset(keys->filling, 0xa5, sizeof keys->filling);
    }
    if (device->refuse_speculative && registration->flags & KDREG_REGISTRATION_SPECULATIVE)
        return -EPERM;
    if (device->result)
        return device->result;
    device->live++;
    registration->handle = (void *)(uintptr_t)(0x1000 + device->live);
    return 0;
}

static int device_deregister(void *context, const struct kdreg_registration *registration)
{
    struct device *device = context;
    device->live--;
    CHECK(registration->handle != NULL && registration->arg == NULL && registration->flags == 0, "what is undone");
    if (registration->data) {
        const struct keys *keys = registration->data;
        CHECK(keys->addr == registration->addr && keys->filling[199] == (char)0xa5, "the data is not what was written for %p", registration->addr);
    }
    return 0;
}

static kdreg_cache_t *create(struct device *device, size_t entry_size, size_t max_entries)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg_with = device_register, .dereg_with = device_deregister, .ctx = device,
                                    .entry_size = entry_size, .max_entries = max_entries, .flags = KDREG_CACHE_NO_REAPER};
    return new_cache(NULL, &attr);
}

static kdreg_entry_t *get(kdreg_cache_t *cache, char *addr, size_t length, struct kdreg_get_attr attr)
{
    kdreg_entry_t *entry = NULL;
    attr.size = sizeof attr;
    int error = kdreg_cache_get_with(cache, addr, length, &attr, &entry);
    REQUIRE(error == 0, "kdreg_cache_get_with: %s", kdreg_strerror(error));
    return entry;
}

static void arguments(void)
{
    check_says("the argument of a call reaches the callback, and a hit asks for none");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 0, 0);
    char *memory = check_space(64 * page);
    int kind;
    struct kdreg_get_attr with = {.access = KDREG_ACCESS_READ, .arg = &kind};
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory, page, with)), 0);
    CHECK(device.last.arg == &kind && device.last.addr == memory && device.last.length == page && device.last.access == KDREG_ACCESS_READ &&
          device.last.flags == 0 && device.last.data == NULL, "what the callback was told");
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory, page, with)), 0);
    CHECK_IS(device.calls, watches ? 1 : 2);
    kdreg_entry_t *entry;
    CHECK_IS(kdreg_cache_get(cache, memory + 8 * page, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK(device.last.arg == NULL, "an argument that nobody gave");
    CHECK_IS(kdreg_cache_put(cache, entry), 0);

    check_says("alignment of a call, and what lies beyond what is mapped");
    char *wide = (char *)(((uintptr_t)memory + 31 * page) & ~(16 * page - 1));
    entry = get(cache, wide + page, page, (struct kdreg_get_attr){.access = KDREG_ACCESS_READ, .alignment = 16 * page});
    if (watches)
        CHECK(kdreg_entry_base(entry) == wide && kdreg_entry_length(entry) == 16 * page, "registered %p+%zu", kdreg_entry_base(entry), kdreg_entry_length(entry));
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory, 64 * page);
}

static void merging(void)
{
    check_says("not to be merged: neither now nor later; merged is speculative, and refused it is asked for bare");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, sizeof(struct keys), 0);
    char *memory = check_space(64 * page);
    struct kdreg_get_attr with = {.access = KDREG_ACCESS_READ}, apart = {.access = KDREG_ACCESS_READ, .flags = KDREG_GET_NO_MERGE};
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory, page, with)), 0);
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory + page, page, apart)), 0);
    CHECK(device.last.addr == memory + page && device.last.length == page && device.last.flags == 0, "it was merged");
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory + 2 * page, page, with)), 0);
    CHECK(device.last.addr == memory + 2 * page && device.last.length == page, "it was merged with one that is not to be");
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory + 3 * page, page, with)), 0);
    if (watches)
        CHECK(device.last.addr == memory + 2 * page && device.last.length == 2 * page && device.last.flags == KDREG_REGISTRATION_SPECULATIVE, "%p+%zu flags %u",
              device.last.addr, device.last.length, device.last.flags);
    device.refuse_speculative = 1;
    device.calls = 0;
    kdreg_entry_t *entry = get(cache, memory + 4 * page, page, with);
    CHECK(kdreg_entry_base(entry) == memory + 4 * page && kdreg_entry_length(entry) == page && device.last.flags == 0, "the bare range");
    CHECK_IS(device.calls, watches ? 2 : 1);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);

    check_says("the caller's own bits of access are united by or");
    device.refuse_speculative = 0;
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory + 20 * page, page, (struct kdreg_get_attr){.access = KDREG_ACCESS_READ | 1u << 16})), 0);
    entry = get(cache, memory + 20 * page, page, (struct kdreg_get_attr){.access = KDREG_ACCESS_WRITE | 1u << 31});
    CHECK_IS(kdreg_entry_access(entry), (watches ? KDREG_ACCESS_READ | 1u << 16 : 0) | KDREG_ACCESS_WRITE | 1u << 31);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory, 64 * page);
}

/* What begins where an entry might, and is the caller's: whatever is in it, it is none. */
static void no_entry(kdreg_cache_t *cache, uint64_t *inside, const char *memory)
{
    static const uint64_t words[] = {0x10001, 0x10002, 0x14001, 0x15001, 0x0000555555550000, UINT64_MAX, 0x7fffffffffff0001};
    uint64_t before[8];
    memcpy(before, inside, sizeof before);
    kdreg_entry_t *entry = (kdreg_entry_t *)(void *)inside;
    for (size_t word = 0; word < sizeof words / sizeof *words; word++) {
        for (size_t i = 0; i < 8; i++)
            inside[i] = words[word];
        CHECK_IS(kdreg_entry_valid(cache, entry), false);
        CHECK_IS(kdreg_entry_check(cache, entry, memory, 1), -EINVAL);
        CHECK_IS(kdreg_cache_hold(cache, entry), -EINVAL);
        CHECK_IS(kdreg_cache_drop(cache, entry, NULL, NULL), -EINVAL);
        CHECK_IS(kdreg_cache_put(cache, entry), -EINVAL);
        for (size_t i = 0; i < 8; i++)
            CHECK(inside[i] == words[word], "the caller's bytes were written to");
    }
    /* As an entry that a thread of whichever number owns. */
    for (uint64_t number = 1; number < 128; number++) {
        inside[0] = number << 7 | 1;
        inside[1] = 5;
        CHECK_IS(kdreg_cache_put(cache, entry), -EINVAL);
        CHECK_IS(inside[1], 5);
    }
    memcpy(inside, before, sizeof before);
}

static void data(size_t entry_size)
{
    check_says("a structure of %zu bytes in each entry: the entry's own, zero at first", entry_size);
    enum { ENTRIES = 300 };
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, entry_size, ENTRIES / 2);
    char *memory = check_space(2 * ENTRIES * page);
    for (int round = 0; round < 3; round++) {
        kdreg_entry_t *entries[ENTRIES];
        struct keys before[ENTRIES];
        for (size_t i = 0; i < ENTRIES; i++) {
            entries[i] = get(cache, memory + 2 * i * page, page, (struct kdreg_get_attr){.access = KDREG_ACCESS_READ});
            struct keys *keys = kdreg_entry_data(entries[i]);
            REQUIRE(keys, "no data");
            CHECK(keys->addr == kdreg_entry_base(entries[i]), "the data of entry %zu is another's", i);
            keys->filling[100] = (char)i;
            before[i] = *keys;
        }
        for (size_t i = 0; i < ENTRIES; i++) {
            CHECK(memcmp(&before[i], kdreg_entry_data(entries[i]), sizeof before[i]) == 0, "the data of entry %zu changed", i);
            CHECK_IS(kdreg_cache_put(cache, kdreg_entry_data(entries[i])), -EINVAL);
            CHECK_IS(kdreg_cache_put(cache, (kdreg_entry_t *)(void *)((char *)entries[i] + 64)), -EINVAL);
            no_entry(cache, (uint64_t *)(void *)((char *)entries[i] + 128), memory + 2 * i * page);
            CHECK_IS(kdreg_cache_put(cache, entries[i]), 0);
        }
    }
    struct kdreg_cache_stats stats = stats_of(cache);
    CHECK(stats.in_use == 0 && stats.entries == (watches ? ENTRIES / 2 : 0), "%llu in use, %llu entries", (unsigned long long)stats.in_use, (unsigned long long)stats.entries);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory, 2 * ENTRIES * page);
}

static void edges(void)
{
    check_says("a callback that returns a positive number; access 0; a range that is not mapped to its end");
    struct device device = {.result = ENOSPC};
    kdreg_cache_t *cache = create(&device, 0, 0);
    char *memory = check_space(8 * page);
    kdreg_entry_t *entry = NULL;
    struct kdreg_get_attr with = {.size = sizeof with};
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &with, &entry), -ENOSPC);
    device.result = 1;
    CHECK_IS(kdreg_cache_get_with(cache, memory, page, &with, &entry), -EPERM);
    static const int none[] = {INT_MIN, INT_MAX, -INT_MAX};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        device.result = none[i];
        CHECK_IS(kdreg_cache_get_with(cache, memory, page, &with, &entry), -EINVAL);
        CHECK_IS(kdreg_cache_getv(cache, &(struct iovec){memory, page}, 1, 0, &entry), -EINVAL);
        int status;
        while ((status = kdreg_cache_try_get(cache, memory, page, &with, &entry)) == -EAGAIN)
            check_sleep_ms(1);
        CHECK_IS(status, watches ? -EINVAL : -ENOENT);
    }
    device.result = 0;
    CHECK(entry == NULL, "a failing call changed its result");
    entry = get(cache, memory, page, with);
    CHECK_IS(kdreg_entry_access(entry), 0);
    CHECK_IS(device.last.access, 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory + 2 * page, page, (struct kdreg_get_attr){.access = KDREG_ACCESS_WRITE})), 0);
    device.calls = 0;
    CHECK_IS(kdreg_cache_put(cache, get(cache, memory + 2 * page, page, with)), 0);
    CHECK_IS(device.calls, watches ? 0 : 1);
    munmap(memory + 6 * page, 2 * page);
    device.calls = 0;
    int error = kdreg_cache_get_with(cache, memory + 5 * page, 2 * page, &with, &entry);
    if (watches) {
        CHECK_IS(error, -EFAULT);
        CHECK_IS(device.calls, 0);
    } else {
        CHECK_IS(error, 0);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    CHECK_IS(device.live, 0);

    check_says("attributes of a cache that cannot be");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg_with = device_register};
    CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), -EINVAL);
    attr = (struct kdreg_cache_attr){.size = sizeof attr, .dereg_with = device_deregister};
    CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), -EINVAL);
    attr = (struct kdreg_cache_attr){.size = sizeof attr, .reg_with = device_register, .dereg_with = device_deregister, .entry_size = 4017};
    CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), -EINVAL);
    attr.entry_size = SIZE_MAX;
    CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), -EINVAL);
    attr.entry_size = 4016;
    CHECK_IS(kdreg_cache_create(NULL, &attr, &cache), 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 6 * page);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    kdreg_t *monitor = check_open_any(&watches);
    arguments();
    merging();
    data(sizeof(struct keys));
    data(4016);
    edges();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("asked");
}
