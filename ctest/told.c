/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a cache tells of itself and of its entries: what it is on, each of them, and which go and why. On every backend. */
#include <pthread.h>
#include <sys/mman.h>

#include "caches.h"

static size_t page;
static bool watches;

/* What happened, in order. */
struct device {
    kdreg_cache_t *cache;
    atomic_int live, told[8];
    pthread_mutex_t lock; /* of what follows */
    struct kdreg_cache_event last;
    char *told_of[16], *undone[16];
    atomic_int tellings, undoings;
};

static int do_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    struct device *device = context;
    (void)length;
    (void)access;
    atomic_fetch_add(&device->live, 1);
    *handle = (char *)addr + 1;
    return 0;
}

static int do_deregister(void *context, void *addr, size_t length, void *handle)
{
    struct device *device = context;
    (void)length;
    CHECK(handle == (char *)addr + 1, "another's handle");
    atomic_fetch_sub(&device->live, 1);
    int i = atomic_fetch_add(&device->undoings, 1);
    if (i < 16)
        device->undone[i] = addr;
    return 0;
}

static void on_event(void *context, const struct kdreg_cache_event *event)
{
    struct device *device = context;
    CHECK_IS(event->size, sizeof *event);
    REQUIRE(event->cause >= 1 && event->cause <= 7, "cause %u", event->cause);
    atomic_fetch_add(&device->told[event->cause], 1);
    if (event->cause == KDREG_CAUSE_LOST)
        return;
    CHECK(event->handle == (char *)event->addr + 1, "told of %p with another's handle", event->addr);
    int i = atomic_fetch_add(&device->tellings, 1);
    if (i < 16)
        device->told_of[i] = event->addr;
    pthread_mutex_lock(&device->lock);
    device->last = *event;
    pthread_mutex_unlock(&device->lock);
    /* No lock is held. */
    stats_of(device->cache);
    kdreg_entry_t *entry;
    CHECK(kdreg_cache_find(device->cache, event->addr, 1, 0, &entry) == -ENOENT || kdreg_cache_put(device->cache, entry) == 0, "find from inside");
}

static size_t describe(void *context, const kdreg_entry_t *entry, char *text, size_t size)
{
    (void)context;
    return (size_t)snprintf(text, size, "key of %p", kdreg_entry_base(entry));
}

static void create(struct device *device, uint32_t flags, size_t max_entries)
{
    *device = (struct device){.lock = PTHREAD_MUTEX_INITIALIZER};
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = do_register, .dereg = do_deregister, .ctx = device, .flags = flags,
                                    .max_entries = max_entries, .name = "domain0", .event = on_event, .dump = describe};
    int error = kdreg_cache_create(NULL, &attr, &device->cache);
    REQUIRE(error == 0, "kdreg_cache_create: %s", kdreg_strerror(error));
}

static kdreg_entry_t *get(struct device *device, char *addr, size_t length)
{
    kdreg_entry_t *entry = NULL;
    int error = kdreg_cache_get(device->cache, addr, length, KDREG_ACCESS_READ, &entry);
    REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
    return entry;
}

static void use(struct device *device, char *addr, size_t length)
{
    CHECK_IS(kdreg_cache_put(device->cache, get(device, addr, length)), 0);
}

static void events(void)
{
    check_says("told of what goes, once, before it is deregistered, and why");
    struct device device;
    create(&device, KDREG_CACHE_NO_REAPER, 0);
    char *memory = check_space(64 * page);
    use(&device, memory, page);
    use(&device, memory + page, page);
    if (!watches) {
        CHECK_IS(device.tellings, 0);
        CHECK_IS(kdreg_cache_destroy(device.cache), 0);
        munmap(memory, 64 * page);
        return;
    }
    CHECK_IS(device.told[KDREG_CAUSE_MERGED], 1);
    use(&device, memory + 10 * page, page);
    CHECK_IS(kdreg_cache_invalidate(device.cache, memory + 10 * page, page), 1);
    CHECK_IS(device.told[KDREG_CAUSE_INVALIDATED], 1);
    CHECK_IS(device.live, 1);

    use(&device, memory + 20 * page, page);
    munmap(memory + 20 * page, page);
    CHECK_EVENTUALLY(kdreg_cache_reap(device.cache) >= 0 && device.told[KDREG_CAUSE_CHANGED] == 1, 60, "not told of a change");

    kdreg_entry_t *entry = get(&device, memory + 30 * page, page);
    CHECK_IS(kdreg_cache_drop(device.cache, entry, NULL, NULL), 0);
    CHECK_IS(device.told[KDREG_CAUSE_DROPPED], 1);
    CHECK(device.last.addr == memory + 30 * page && device.last.length == page && device.last.access == KDREG_ACCESS_READ, "what was told");
    CHECK_IS(device.live, 2);
    CHECK_IS(kdreg_cache_put(device.cache, entry), 0);
    CHECK_IS(device.live, 1);
    CHECK_IS(kdreg_cache_flush(device.cache), 1);
    CHECK_IS(device.told[KDREG_CAUSE_FLUSHED], 1);
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
    CHECK(device.live == 0 && device.tellings == device.undoings, "%d told of, %d undone", device.tellings, device.undoings);
    for (int i = 0; i < device.tellings && i < 16; i++)
        CHECK(device.told_of[i] == device.undone[i], "the order of the %dth", i);

    check_says("evicted: told of it, too; and at the cache's end of all that is left");
    create(&device, KDREG_CACHE_NO_REAPER | KDREG_CACHE_NO_MERGE, 4);
    for (size_t i = 0; i < 12; i++)
        use(&device, memory + (40 + i) * page, page);
    CHECK_IS(device.told[KDREG_CAUSE_EVICTED], 8);

    check_says("evict: the least recently used go until so many bytes have; what is in use stays");
    entry = get(&device, memory + 48 * page, page);
    CHECK_IS(kdreg_cache_evict(device.cache, 0), 0);
    CHECK_IS(kdreg_cache_evict(device.cache, page + 1), 2);
    CHECK_IS(device.live, 2);
    kdreg_entry_t *found = NULL;
    CHECK_IS(kdreg_cache_find(device.cache, memory + 49 * page, page, KDREG_ACCESS_READ, &found), -ENOENT);
    CHECK_IS(kdreg_cache_find(device.cache, memory + 51 * page, page, KDREG_ACCESS_READ, &found), 0);
    CHECK_IS(kdreg_cache_put(device.cache, found), 0);
    CHECK_IS(kdreg_cache_evict(device.cache, SIZE_MAX), 1);
    CHECK_IS(kdreg_cache_evict(device.cache, SIZE_MAX), 0);
    CHECK_IS(device.told[KDREG_CAUSE_EVICTED], 11);
    CHECK_IS(kdreg_cache_put(device.cache, entry), 0);
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
    CHECK_IS(device.told[KDREG_CAUSE_FLUSHED], 1);
    CHECK(device.live == 0 && device.tellings == 12, "%d told of", device.tellings);
    munmap(memory, 20 * page);
    munmap(memory + 21 * page, 43 * page);
}

static atomic_bool over;

static void *churn(void *argument)
{
    struct device *device = argument;
    char *memory = check_space(16 * page);
    for (size_t i = 0; i < 3000; i++) {
        kdreg_entry_t *entry = NULL;
        char *addr = memory + i % 16 * page;
        REQUIRE(kdreg_cache_get(device->cache, addr, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
        if (i % 5 == 0)
            CHECK(kdreg_cache_invalidate(device->cache, addr, page) >= 0, "invalidate");
        CHECK_IS(kdreg_cache_put(device->cache, entry), 0);
        if (i % 7 == 0)
            REQUIRE(mmap(addr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == addr, "mmap");
    }
    munmap(memory, 16 * page);
    return NULL;
}

static int count(void *argument, kdreg_entry_t *entry)
{
    REQUIRE(kdreg_entry_base(entry) && kdreg_entry_length(entry), "an entry without a range");
    ++*(int *)argument;
    return 0;
}

static void *look(void *argument)
{
    struct device *device = argument;
    while (!over) {
        int seen = 0;
        CHECK_IS(kdreg_cache_each(device->cache, count, &seen), 0);
    }
    return NULL;
}

static void churned(uint32_t flags)
{
    check_says("threads that get, invalidate and unmap, while another looks at each entry (flags %u)", flags);
    struct device device;
    create(&device, flags, 8);
    pthread_t threads[4], looker;
    over = false;
    REQUIRE(pthread_create(&looker, NULL, look, &device) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, &device) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    over = true;
    pthread_join(looker, NULL);
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
    CHECK(device.live == 0 && device.tellings <= device.undoings, "%d told of, %d undone", device.tellings, device.undoings);
}

static int stop_at_second(void *argument, kdreg_entry_t *entry)
{
    (void)entry;
    return ++*(int *)argument == 2 ? 5 : 0;
}

static void questions(void)
{
    check_says("what it is on, its name, each of its entries, and a dump with the caller's words");
    struct device device;
    create(&device, KDREG_CACHE_NO_MERGE, 0);
    struct kdreg_cache_info info = {.size = sizeof info};
    CHECK_IS(kdreg_cache_info(device.cache, &info), 0);
    CHECK(info.size == sizeof info && strcmp(info.name, "domain0") == 0, "named \"%.32s\"", info.name);
    CHECK_IS(kdreg_cache_caps(device.cache), info.caps);
    CHECK(!!(info.caps & KDREG_CAP_UNMAP) == watches && !(info.flags & KDREG_INFO_LOST), "caps %#llx flags %u", (unsigned long long)info.caps, info.flags);
    CHECK((info.backend == KDREG_BACKEND_NONE) == !watches && (info.monitor != 0) == watches, "backend %u", info.backend);
    char *memory = check_space(8 * page);
    for (size_t i = 0; i < 4; i++)
        use(&device, memory + 2 * i * page, page);
    int seen = 0;
    CHECK_IS(kdreg_cache_each(device.cache, count, &seen), 0);
    CHECK_IS(seen, watches ? 4 : 0);
    seen = 0;
    CHECK_IS(kdreg_cache_each(device.cache, stop_at_second, &seen), watches ? 5 : 0);
    CHECK_IS(seen, watches ? 2 : 0);
    FILE *file = tmpfile();
    REQUIRE(file, "tmpfile");
    CHECK_IS(kdreg_cache_dump(device.cache, fileno(file)), 0);
    char text[4096] = "", key[64];
    REQUIRE(pread(fileno(file), text, sizeof text - 1, 0) > 0, "an empty dump");
    snprintf(key, sizeof key, "key of %p", (void *)memory);
    CHECK(strstr(text, "kdreg cache domain0 on "), "no name in:\n%s", text);
    CHECK(!watches || strstr(text, key), "no \"%s\" in:\n%s", key, text);
    fclose(file);
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
    munmap(memory, 8 * page);

    check_says("names that cannot be");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = do_register, .dereg = do_deregister, .ctx = &device};
    static const char *const bad[] = {"with blank", "with\nline end", "12345678901234567890123456789012", "\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        attr.name = bad[i];
        CHECK_IS(kdreg_cache_create(NULL, &attr, &device.cache), -EINVAL);
    }
    attr.name = "1234567890123456789012345678901";
    REQUIRE(kdreg_cache_create(NULL, &attr, &device.cache) == 0, "the longest name");
    CHECK_IS(kdreg_cache_info(device.cache, &info), 0);
    CHECK(strcmp(info.name, attr.name) == 0, "named \"%.32s\"", info.name);
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
}

/* Takes the userfaultfds of the process away, as a program does that closes what it has not opened. */
static int take_away(void)
{
    int taken = 0;
    for (int fd = 3; fd < 256; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "userfaultfd")) {
            int ends[2];
            REQUIRE(pipe(ends) == 0 && dup2(ends[0], fd) == fd, "pipe");
            taken++;
        }
    }
    return taken;
}

static void backend_dies(void)
{
    check_says("the backend stops: the cache says so, and goes on without");
    struct device device;
    create(&device, KDREG_CACHE_NO_REAPER, 0);
    struct kdreg_cache_info info = {.size = sizeof info};
    CHECK_IS(kdreg_cache_info(device.cache, &info), 0);
    char *memory = check_space(4 * page);
    use(&device, memory, page);
    if (info.backend == KDREG_BACKEND_USERFAULTFD) {
        CHECK(take_away() > 0, "no userfaultfd");
        munmap(memory, page);
        CHECK_EVENTUALLY(kdreg_cache_reap(device.cache) >= 0 && device.told[KDREG_CAUSE_LOST] == 1, 60, "not told that the backend has stopped");
        CHECK_IS(kdreg_cache_info(device.cache, &info), 0);
        CHECK(info.flags & KDREG_INFO_LOST, "flags %u", info.flags);
        use(&device, memory + 2 * page, page);
        CHECK_IS(device.told[KDREG_CAUSE_LOST], 1);
    }
    CHECK_IS(kdreg_cache_destroy(device.cache), 0);
    CHECK_IS(device.live, 0);
    munmap(memory + page, 3 * page);
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    check_watchdog(250);
    CHECK_IS(kdreg_close(check_open_any(&watches)), 0);
    events();
    churned(0);
    churned(KDREG_CACHE_NO_REAPER);
    questions();
    backend_dies();
    return check_result("told");
}
