/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* lifecycle [--cycles N] [TENANT.so TENANT.so]
 * Opening and closing, thousands of times, leaves nothing behind; handles that share the monitor do not disturb each other. */
#include <dirent.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include "check.h"
#include "tenant.h"

static size_t page;

struct footprint {
    int descriptors, threads, mappings;
    long resident;   /* pages */
};

static int entries_in(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    REQUIRE(directory, "%s: %s", path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count - (strcmp(path, "/proc/self/fd") == 0);   /* the directory itself was open */
}

static struct footprint measure(void)
{
    struct footprint now = {.descriptors = entries_in("/proc/self/fd"), .threads = entries_in("/proc/self/task")};
    static char text[1 << 16];
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && (got = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            now.mappings += text[i] == '\n';
    close(fd);
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%*s %ld", &now.resident) != 1)
        now.resident = 0;
    if (file)
        fclose(file);
    return now;
}

/* Threads that were joined leave /proc a moment later, and memory allocators settle: mappings may differ by a few, never by the cycles. */
static void unchanged(const char *what, const struct footprint *before, int cycles)
{
    struct footprint now = measure();
    for (int patience = 0; patience < 30000 && now.threads > before->threads; patience++) {
        check_sleep_ms(1);
        now = measure();
    }
    printf("    %s, %d times: descriptors %d -> %d, threads %d -> %d, mappings %d -> %d, resident %ld -> %ld pages\n", what, cycles, before->descriptors, now.descriptors,
           before->threads, now.threads, before->mappings, now.mappings, before->resident, now.resident);
    CHECK(now.descriptors <= before->descriptors, "%s: %d descriptors more", what, now.descriptors - before->descriptors);
    CHECK(now.threads <= before->threads, "%s: %d threads more", what, now.threads - before->threads);
    CHECK(now.mappings <= before->mappings + 8, "%s: %d mappings more", what, now.mappings - before->mappings);
    CHECK(now.resident <= before->resident + 512 + cycles / 50, "%s: %ld pages more", what, now.resident - before->resident);
}

static int nothing_register(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)length;
    (void)access;
    *handle = addr;
    ++*(long *)context;
    return 0;
}

static int nothing_deregister(void *context, void *addr, size_t length, void *handle)
{
    (void)addr;
    (void)length;
    (void)handle;
    --*(long *)context;
    return 0;
}

static void one_cycle(uint32_t flags, bool use, bool reaper, char *memory)
{
    struct kdreg_attr attr = {.size = sizeof attr, .flags = flags};
    kdreg_t *monitor = NULL;
    kdreg_cache_t *cache = NULL;
    long alive = 0;
    REQUIRE(kdreg_open(&attr, &monitor) == 0, "kdreg_open");
    struct kdreg_cache_attr cache_attr = {
        .size = sizeof cache_attr, .reg = nothing_register, .dereg = nothing_deregister, .ctx = &alive, .flags = reaper ? 0 : KDREG_CACHE_NO_REAPER};
    REQUIRE(kdreg_cache_create(monitor, &cache_attr, &cache) == 0, "kdreg_cache_create");
    struct kdreg_region region;
    if (use) {
        REQUIRE(kdreg_monitor(monitor, memory, 2 * page, 1, &region) == 0, "kdreg_monitor");
        for (size_t i = 0; i < 4; i++) {
            kdreg_entry_t *entry;
            REQUIRE(kdreg_cache_get(cache, memory + i * 2 * page, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
            REQUIRE(kdreg_cache_put(cache, entry) == 0, "kdreg_cache_put");
        }
        madvise(memory, page, MADV_DONTNEED);   /* an event that nobody takes */
    }
    REQUIRE(kdreg_cache_destroy(cache) == 0, "kdreg_cache_destroy");
    REQUIRE(alive == 0, "%ld registrations survived kdreg_cache_destroy", alive);
    REQUIRE(kdreg_close(monitor) == 0, "kdreg_close");
    if (use)
        REQUIRE(!kdreg_valid(&region), "a region outlives its monitor");
}

static void cycles_leak_nothing(int cycles)
{
    static const struct {
        const char *what;
        uint32_t flags;
        bool use, reaper;
        int share;   /* of all the cycles, in tenths */
    } plans[] = {{"shared, with cache", 0, false, false, 4}, {"shared, regions left behind", 0, true, false, 2}, {"with reaper", 0, true, true, 2}, {"private", KDREG_OPEN_PRIVATE, true, false, 2}};
    char *memory = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap");
    check_says("%d cycles of open and close, if there is time for them, leak no descriptor, thread, mapping or memory", cycles);
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        int rounds = cycles * plans[i].share / 10;
        for (int warm = 0; warm < 50; warm++)
            one_cycle(plans[i].flags, plans[i].use, plans[i].reaper, memory);
        struct footprint before = measure();
        /* A busy machine does fewer: threads start, end and wake each other in each. */
        double until = check_now() + 100;
        int round = 0;
        while (round < rounds && (round < 500 || check_now() < until)) {
            one_cycle(plans[i].flags, plans[i].use, plans[i].reaper, memory);
            round++;
        }
        unchanged(plans[i].what, &before, round);
    }
    munmap(memory, 16 * page);
}

static void failures_leak_nothing(void)
{
    check_says("refused calls leak nothing either");
    kdreg_t *monitor = check_open(0);
    struct footprint before = measure();
    for (int round = 0; round < 2000; round++) {
        struct kdreg_attr attr = {.size = sizeof attr, .backend = 99};
        kdreg_t *none = NULL;
        struct kdreg_region region;
        kdreg_cache_t *cache = NULL;
        struct kdreg_cache_attr bad = {.size = sizeof bad, .flags = 1u << 30};
        CHECK(kdreg_open(&attr, &none) < 0 && kdreg_monitor(monitor, NULL, 0, 0, &region) < 0 && kdreg_cache_create(monitor, &bad, &cache) < 0, "bad input was taken");
    }
    unchanged("refused calls", &before, 2000);
    CHECK_IS(kdreg_close(monitor), 0);
}

static void handles_are_independent(uint32_t flags)
{
    check_says("two handles (%s): an event each, closing one leaves the other", flags ? "private" : "shared");
    kdreg_t *one = check_open(flags), *two = check_open(flags);
    char *memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct kdreg_region ours, theirs, later;
    int first = kdreg_monitor(one, memory, page, 11, &ours), second = kdreg_monitor(two, memory + (flags ? page : 0), page, 22, &theirs);
    REQUIRE(first == 0, "kdreg_monitor: %s", kdreg_strerror(first));
    if (flags && second == -EBUSY) {
        /* Two userfaultfds cannot watch one mapping: that refusal is safe. */
        char *apart = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        second = kdreg_monitor(two, apart, page, 22, &theirs);
    }
    REQUIRE(second == 0, "kdreg_monitor: %s", kdreg_strerror(second));
    CHECK_IS(kdreg_close(one), 0);
    CHECK(!kdreg_valid(&ours), "a closed handle's region counts as valid");
    CHECK(kdreg_valid(&theirs), "closing one handle took the other's region");
    madvise((void *)(uintptr_t)memory, 2 * page, MADV_DONTNEED);
    if (!flags) {
        struct kdreg_event events[4];
        int count = 0;
        CHECK(!kdreg_valid(&theirs), "the discard was missed");
        CHECK_EVENTUALLY((count = kdreg_check(two, events, 4)) != 0, 60, "no event");
        CHECK(count == 1 && events[0].cookie == 22, "%d events, cookie %llu", count, (unsigned long long)events[0].cookie);
    }
    int error = kdreg_monitor(two, memory + 3 * page, page, 33, &later);
    CHECK(error == 0 || (flags && error == -EBUSY), "kdreg_monitor after the other handle was closed: %s", kdreg_strerror(error));
    CHECK_IS(kdreg_close(two), 0);
    munmap(memory, 4 * page);
}

static void caches_are_independent(void)
{
    check_says("two caches on one monitor: each its own entries, limits and statistics");
    kdreg_t *monitor = check_open(0);
    kdreg_cache_t *one = NULL, *two = NULL;
    long alive_one = 0, alive_two = 0;
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = nothing_register, .dereg = nothing_deregister, .ctx = &alive_one, .flags = KDREG_CACHE_NO_REAPER};
    REQUIRE(kdreg_cache_create(monitor, &attr, &one) == 0, "kdreg_cache_create");
    attr.ctx = &alive_two;
    attr.max_entries = 1;
    REQUIRE(kdreg_cache_create(monitor, &attr, &two) == 0, "kdreg_cache_create");
    char *memory = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    kdreg_entry_t *entry;
    for (size_t i = 0; i < 4; i++) {
        REQUIRE(kdreg_cache_get(one, memory + 2 * i * page, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
        CHECK_IS(kdreg_cache_put(one, entry), 0);
        REQUIRE(kdreg_cache_get(two, memory + 2 * i * page, page, KDREG_ACCESS_READ, &entry) == 0, "kdreg_cache_get");
        CHECK_IS(kdreg_cache_put(two, entry), 0);
    }
    CHECK(alive_one == 4 && alive_two == 1, "registrations alive: %ld and %ld", alive_one, alive_two);
    CHECK_IS(kdreg_cache_flush(two), 1);
    CHECK(alive_one == 4 && alive_two == 0, "after a flush of the second: %ld and %ld", alive_one, alive_two);
    CHECK_IS(kdreg_cache_destroy(two), 0);
    CHECK_IS(kdreg_close(monitor), 0);   /* the cache holds on to what it needs */
    CHECK_IS(kdreg_cache_find(one, memory, page, KDREG_ACCESS_READ, &entry), 0);
    CHECK_IS(kdreg_cache_put(one, entry), 0);
    munmap(memory, page);
    CHECK_IS(kdreg_cache_find(one, memory, page, KDREG_ACCESS_READ, &entry), -ENOENT);
    /* A lookup gives up early where changes are still being taken in; what is lost stays lost. */
    CHECK_EVENTUALLY(kdreg_cache_find(one, memory + 2 * page, page, KDREG_ACCESS_READ, &entry) == 0, 60, "lost to a change elsewhere");
    CHECK_IS(kdreg_cache_put(one, entry), 0);
    CHECK_IS(kdreg_cache_destroy(one), 0);
    CHECK(alive_one == 0, "%ld registrations survived", alive_one);
    munmap(memory + page, 7 * page);

    check_says("a cache on the default monitor (NULL)");
    attr.max_entries = 0;
    REQUIRE(kdreg_cache_create(NULL, &attr, &one) == 0, "kdreg_cache_create");
    CHECK_IS(kdreg_cache_destroy(one), 0);
}

static void tenants_share(const char *first_path, const char *second_path)
{
    check_says("two libraries, loaded at run time, share the monitor and keep separate caches");
    void *libraries[2] = {dlopen(first_path, RTLD_NOW | RTLD_LOCAL), dlopen(second_path, RTLD_NOW | RTLD_LOCAL)};
    REQUIRE(libraries[0] && libraries[1], "dlopen: %s", dlerror());
    const struct tenant *one = dlsym(libraries[0], "tenant_interface"), *two = dlsym(libraries[1], "tenant_interface");
    REQUIRE(one && two && one != two, "dlsym: two libraries");
    /* Threads that were joined leave /proc a moment later: until then they would be counted as the first library's. */
    CHECK_EVENTUALLY(measure().threads == 1, 60, "%d threads before anything is open", measure().threads);
    int threads_before = measure().threads;
    CHECK_IS(one->start(), 0);
    int threads_of_one = measure().threads;
    CHECK_IS(two->start(), 0);
    CHECK(measure().threads == threads_of_one, "the second library started %d more threads", measure().threads - threads_of_one);
    char *memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK_IS(one->use(memory, 4 * page), 0);
    CHECK_IS(two->knows(memory, page), -ENOENT);
    CHECK_IS(two->use(memory, 4 * page), 0);
    CHECK_IS(two->knows(memory, page), 0);
    madvise(memory, page, MADV_DONTNEED);
    CHECK_IS(one->knows(memory, page), -ENOENT);
    CHECK_IS(two->knows(memory, page), -ENOENT);
    CHECK_IS(one->use(memory, page), 0);
    CHECK_IS(two->use(memory, page), 0);
    CHECK_IS(one->stop(), 0);
    CHECK_IS(one->balance(), 0);
    CHECK_IS(two->knows(memory, page), 0);
    munmap(memory, 4 * page);
    CHECK_IS(two->knows(memory, page), -ENOENT);
    dlclose(libraries[0]);
    CHECK_IS(two->stop(), 0);
    CHECK_IS(two->balance(), 0);
    dlclose(libraries[1]);
    CHECK_EVENTUALLY(measure().threads <= threads_before, 60, "threads remain after both libraries have gone");
}

int main(int argc, char **argv)
{
    int cycles = 10000;
    const char *tenants[2] = {NULL, NULL};
    for (int i = 1, next = 0; i < argc; i++) {
        if (strcmp(argv[i], "--cycles") == 0 && i + 1 < argc)
            cycles = atoi(argv[++i]);
        else if (next < 2)
            tenants[next++] = argv[i];
    }
    check_watchdog(550);
    page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK_IS(kdreg_close(check_open(0)), 0);
    handles_are_independent(0);
    handles_are_independent(KDREG_OPEN_PRIVATE);
    caches_are_independent();
    if (tenants[1])
        tenants_share(tenants[0], tenants[1]);
    failures_leak_nothing();
    cycles_leak_nothing(cycles);
    return check_result("lifecycle");
}
