/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Registering ahead of use, by the cache's own thread: polled, told, refused, changed while it is done. On every backend. */
#include "ahead.h"

#include <dirent.h>

enum { MOST = 256 };

static int threads_here(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks, "/proc/self/task: %s", strerror(errno));
    for (struct dirent *task; (task = readdir(tasks));)
        count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static void polled(void)
{
    check_says("what is polled for is registered by another thread, once, and found; without a thread before");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, KDREG_CACHE_NO_REAPER);
    kdreg_entry_t *entry = NULL, *again = NULL;
    int before = threads_here();
    CHECK_IS(kdreg_cache_find(cache, region(0), page, KDREG_ACCESS_READ, &entry), -ENOENT);
    CHECK_IS(threads_here(), before);
    device.gate = true;
    CHECK_IS(try_get(cache, 0, &entry), -EAGAIN);
    CHECK_IS(threads_here(), before + 1);
    wait_for(&device.arrived);
    for (int i = 0; i < 1000; i++)
        CHECK_IS(try_get(cache, 0, &entry), -EAGAIN);
    CHECK_IS(kdreg_cache_try_get(cache, region(0) + 1, 7, &reading, &entry), -EAGAIN);
    device.gate = false;
    sem_post(&device.open);
    CHECK_IS(poll_for(cache, 0, &entry), 0);
    CHECK_IS(try_get(cache, 0, &again), 0);
    CHECK(entry == again && kdreg_entry_base(entry) == region(0) && kdreg_entry_check(cache, entry, region(0), page) == KDREG_ENTRY_UNCHANGED, "another's entry");
    CHECK_IS(device.calls, 1);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    CHECK_IS(kdreg_cache_put(cache, again), 0);
    check_says("what fails is told once");
    device.error_at = 2;
    device.error = -EIO;
    CHECK_IS(poll_for(cache, 1, &entry), -EIO);
    CHECK_IS(poll_for(cache, 1, &entry), 0);
    CHECK_IS(kdreg_cache_put(cache, entry), 0);
    char *hole = check_space(3 * page);
    munmap(hole + page, page);
    CHECK_IS(poll_range(cache, hole + page, page, &entry), -EFAULT);
    CHECK_IS(device.calls, 3);
    destroy(cache, &device);
    CHECK_EVENTUALLY(threads_here() == before, 60, "%d threads, before there were %d", threads_here(), before);
}

static void told(void)
{
    check_says("who is told has a reference, which nobody evicts; what was there is told, too");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 0);
    struct told first = {0}, second = {.ends = cache};
    CHECK_IS(prefetch(cache, 1, &first), 0);
    wait_for(&first.done);
    CHECK(first.calls == 1 && first.status == 0 && first.entry, "told %d", first.status);
    CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
    CHECK_IS(kdreg_cache_evict(cache, SIZE_MAX), 0);
    CHECK_IS(prefetch(cache, 1, &second), 0);
    wait_for(&second.done);
    CHECK_IS(second.status, 0);
    CHECK(!watches || second.entry == first.entry, "registered twice");
    CHECK_IS(kdreg_cache_put(cache, first.entry), 0);
    CHECK_IS(kdreg_cache_put(cache, second.entry), 0);
    destroy(cache, &device);
}

static void full(void)
{
    check_says("so many wait, and no more; a cache is not destroyed while somebody is to be told");
    struct device device = {.gate = true};
    static struct told all[MOST + 1];
    kdreg_cache_t *cache = create(&device, 0);
    kdreg_entry_t *entry = NULL;
    CHECK_IS(prefetch(cache, 0, &all[0]), 0);
    wait_for(&device.arrived);
    for (int i = 1; i <= MOST; i++)
        CHECK_IS(prefetch(cache, i, &all[i]), 0);
    CHECK_IS(prefetch(cache, MOST + 1, NULL), -ENOBUFS);
    CHECK_IS(try_get(cache, MOST + 1, &entry), -ENOBUFS);
    CHECK_IS(kdreg_cache_destroy(cache), -EBUSY);
    device.gate = false;
    sem_post(&device.open);
    for (int i = 0; i <= MOST; i++) {
        wait_for(&all[i].done);
        CHECK(all[i].calls == 1 && all[i].status == 0, "told %d", all[i].status);
        CHECK_IS(kdreg_cache_put(cache, all[i].entry), 0);
    }
    destroy(cache, &device);
    if (!watches)
        return;
    check_says("what nobody is to be told of is not done any more when the cache is destroyed");
    device = (struct device){.gate = true};
    cache = create(&device, 0);
    for (int i = 0; i < 10; i++)
        CHECK_IS(prefetch(cache, i, NULL), 0);
    wait_for(&device.arrived);
    device.gate = false;
    sem_post(&device.open);
    destroy(cache, &device);
}

static void changed(void)
{
    check_says("memory that changes while it is registered is registered as it is, or not found");
    for (int polls = 0; polls < 2; polls++) {
        struct device device = {.replace_at = 1};
        kdreg_cache_t *cache = create(&device, 0);
        struct told told = {0};
        *region(3) = 1;
        kdreg_entry_t *entry = NULL;
        if (polls) {
            CHECK_IS(poll_for(cache, 3, &entry), 0);
        } else {
            CHECK_IS(prefetch(cache, 3, &told), 0);
            wait_for(&told.done);
            CHECK_IS(told.status, 0);
            entry = told.entry;
        }
        CHECK_IS((uintptr_t)kdreg_entry_handle(entry), 2);
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
        destroy(cache, &device);
    }
}

static void unkept(void)
{
    check_says("what cannot be kept is not registered for who polls, and handed to who is told");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 0);
    kdreg_entry_t *entry = NULL;
    struct told told = {0};
    CHECK_IS(poll_for(cache, 0, &entry), -ENOENT);
    CHECK_IS(try_get(cache, 0, &entry), -EAGAIN);
    CHECK_IS(prefetch(cache, 0, &told), 0);
    wait_for(&told.done);
    CHECK_IS(told.status, 0);
    CHECK_IS(device.calls, 1);
    CHECK_IS(kdreg_cache_put(cache, told.entry), 0);
    CHECK_IS(device.live, 0);
    destroy(cache, &device);
}

static void bad_input(void)
{
    check_says("bad input");
    struct device device = {0};
    kdreg_cache_t *cache = create(&device, 0);
    kdreg_entry_t *entry = (void *)&device;
    struct kdreg_get_attr wrong = reading;
    CHECK_IS(kdreg_cache_try_get(NULL, memory, page, &reading, &entry), -EINVAL);
    CHECK_IS(kdreg_cache_try_get((void *)memory, memory, page, &reading, &entry), -EBADF);
    CHECK_IS(kdreg_cache_try_get(cache, memory, 0, &reading, &entry), -EINVAL);
    CHECK_IS(kdreg_cache_try_get(cache, memory, SIZE_MAX, &reading, &entry), -EINVAL);
    CHECK_IS(kdreg_cache_try_get(cache, memory, page, NULL, &entry), -EINVAL);
    CHECK_IS(kdreg_cache_try_get(cache, memory, page, &reading, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_try_get(cache, memory, page, &reading, (void *)((char *)&entry + 1)), -EINVAL);
    CHECK_IS(kdreg_cache_prefetch(NULL, memory, page, &reading, NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_prefetch((void *)memory, memory, page, &reading, NULL, NULL), -EBADF);
    CHECK_IS(kdreg_cache_prefetch(cache, memory, 0, &reading, NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_prefetch(cache, NULL, SIZE_MAX, &reading, NULL, NULL), -EINVAL);
    CHECK_IS(kdreg_cache_prefetch(cache, memory, page, NULL, NULL, NULL), -EINVAL);
    for (int i = 0; i < 4; i++) {
        wrong = reading;
        *(i == 0 ? &wrong.size : &wrong.alignment) = i == 1 ? 3 * page : i == 2 ? 1 : 7;
        wrong.flags = i == 3 ? 1u << 31 : 0;
        CHECK_IS(kdreg_cache_try_get(cache, memory, page, &wrong, &entry), -EINVAL);
        CHECK_IS(kdreg_cache_prefetch(cache, memory, page, &wrong, ready, NULL), -EINVAL);
    }
    CHECK(entry == (void *)&device, "written");
    destroy(cache, &device);
    CHECK_IS(device.calls, 0);
    CHECK_IS(kdreg_cache_try_get(cache, memory, page, &reading, &entry), -EBADF);
    CHECK_IS(kdreg_cache_prefetch(cache, memory, page, &reading, NULL, NULL), -EBADF);
}

int main(void)
{
    kdreg_t *monitor = begin(MOST + 2);
    if (watches) {
        polled();
        changed();
    } else {
        unkept();
    }
    told();
    full();
    bad_input();
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("ahead");
}
