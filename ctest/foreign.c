/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Changes that come from outside of the process that has the cache: a debugger's, and process_madvise by other processes. Where the backend
 * claims to see them, the next lookup finds nothing, and kdreg_cache_get registers anew.
 *
 * The kernel, too, moves these pages when it likes, and a backend may see that: so nothing here says that a registration stays, only that it
 * does not where pages were seen to go, and that it is made anew for no other reason than that it went. */
#include <linux/mman.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "caches.h"
#include "inject.h"
#include "plain.h"

enum { HUGE = 2 << 20 };
static size_t page;

/* What both processes see. The numbers count steps; they only grow. */
static struct shared {
    char *memory;
    size_t length;
    atomic_uint ready;   /* the process has registered its memory for this step */
    atomic_uint changed; /* the outside has made its change */
    atomic_uint answer;  /* the process has looked: step << 1 | whether its registration was gone */
    atomic_bool huge_wanted, huge_allowed; /* the outside wants huge pages there; the process has allowed them */
} *shared;

static bool wait_for(atomic_uint *word, unsigned wanted)
{
    double until = check_now() + 60;
    while (atomic_load(word) < wanted && check_now() < until)
        check_sleep_ms(1);
    return atomic_load(word) >= wanted;
}

static kdreg_cache_t *open_cache(void)
{
    static const struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    kdreg_cache_t *cache;
    REQUIRE(kdreg_cache_create(check_open(0), &attr, &cache) == 0, "kdreg_cache_create");
    return cache;
}

static void use(kdreg_cache_t *cache, const char *what)
{
    kdreg_entry_t *entry;
    CHECK(kdreg_cache_get(cache, shared->memory, shared->length, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0, "%s", what);
}

/* Says whether the registration is still found after the change. Either way the memory is in use once more by kdreg_cache_get, which asks the
 * device when the lookup found nothing, and otherwise only when the kernel took pages away between the two, which counts as an invalidation. */
static bool registered_anew(kdreg_cache_t *cache)
{
    kdreg_entry_t *entry;
    struct kdreg_cache_stats before = stats_of(cache);
    int found = kdreg_cache_find(cache, shared->memory, shared->length, KDREG_ACCESS_READ, &entry);
    if (found == 0)
        kdreg_cache_put(cache, entry);
    CHECK(found == 0 || found == -ENOENT, "kdreg_cache_find is %d", found);
    /* Where a debugger unmapped it, the process needs memory there again. */
    if (msync(shared->memory, shared->length, MS_ASYNC) != 0)
        REQUIRE(mmap(shared->memory, shared->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == shared->memory, "mmap");
    memset(shared->memory, 1, shared->length);
    use(cache, "kdreg_cache_get after the change");
    struct kdreg_cache_stats after = stats_of(cache);
    uint64_t made = after.registrations - before.registrations, dropped = after.invalidations - before.invalidations;
    CHECK(found != 0 ? made > 0 : made == 0 || dropped > 0, "find was %d, and %d registrations and %d invalidations followed", found, (int)made,
          (int)dropped);
    return found != 0;
}

/* Of small pages, which khugepaged leaves alone. */
static void make_memory(size_t length)
{
    char *space = mmap(NULL, length + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(space != MAP_FAILED, "mmap");
    shared->length = length;
    shared->memory = (char *)(((uintptr_t)space + HUGE - 1) / HUGE * HUGE);
    REQUIRE(mprotect(shared->memory, length, PROT_READ | PROT_WRITE) == 0, "mprotect");
    madvise(shared->memory, length, MADV_NOHUGEPAGE);
    memset(shared->memory, 1, length);
}

enum { COLD, PAGEOUT, COLLAPSE, DONTNEED, STEPS };

static void victim(unsigned steps)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    kdreg_cache_t *cache = open_cache();
    make_memory(HUGE);
    for (unsigned step = 1; step <= steps; step++) {
        use(cache, "kdreg_cache_get");
        atomic_store(&shared->ready, step);
        if (step == COLLAPSE + 1) {
            CHECK_EVENTUALLY(atomic_load(&shared->huge_wanted), 60, "the wish for huge pages, in time");
            madvise(shared->memory, shared->length, MADV_HUGEPAGE);
            atomic_store(&shared->huge_allowed, true);
        }
        REQUIRE(wait_for(&shared->changed, step), "the change, in time");
        bool anew = registered_anew(cache);
        atomic_store(&shared->answer, step << 1 | anew);
    }
}

/* What /proc says of the first page: bit 63, that it is there; below, its frame (0 to those who may not know). */
static uint64_t first_page(pid_t process)
{
    char name[64];
    uint64_t entry = 0;
    snprintf(name, sizeof name, "/proc/%d/pagemap", (int)process);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    bool read_it = file >= 0 && pread(file, &entry, sizeof entry, (off_t)((uintptr_t)shared->memory / page * sizeof entry)) == sizeof entry;
    CHECK(read_it, "%s: %m", name);
    if (file >= 0)
        close(file);
    return entry;
}

static bool is_there(uint64_t entry)
{
    return entry >> 63;
}

static bool has_moved(uint64_t from, uint64_t to)
{
    const uint64_t frame = (1ull << 55) - 1;
    return is_there(from) && (!is_there(to) || (from & frame) != (to & frame));
}

static bool advise(pid_t process, size_t length, int advice)
{
    int handle = (int)syscall(SYS_pidfd_open, process, 0);
    struct iovec range = {shared->memory, length};
    errno = 0;
    bool done = handle >= 0 && syscall(SYS_process_madvise, handle, &range, 1, advice, 0) == (long)length;
    int error = errno;
    if (handle >= 0)
        close(handle);
    errno = error;
    return done;
}

/* In the victim's memory, but a process of its own: what it may do to it, it may do to any part. */
static int discard_for_parent(void *parent)
{
    return advise(*(pid_t *)parent, shared->length, MADV_DONTNEED) ? 0 : errno;
}

static void compact(void)
{
    /* Pages that have only just been added cannot be paged out until every processor has handed in its list of them. */
    int file = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        if (write(file, "1", 1) != 1)
            perror("compact_memory");
        close(file);
    }
}

static const char *const names[] = {"process_madvise(MADV_COLD)", "process_madvise(MADV_PAGEOUT)", "process_madvise(MADV_COLLAPSE)",
                                    "process_madvise(MADV_DONTNEED)"};

/* Makes the change of a step in the victim's memory. Returns whether it has taken pages away, by looking where it is not certain: khugepaged
 * may be first, and leave MADV_COLLAPSE nothing to do. */
static bool change(int step, pid_t child)
{
    bool done = false, away = false;
    uint64_t before;
    switch (step) {
    case COLD:
        done = advise(child, shared->length, MADV_COLD);
        break;
    case PAGEOUT:
        for (int i = 0; i < 50 && !away; i++) {
            compact();
            done = advise(child, shared->length, MADV_PAGEOUT);
            away = done && !is_there(first_page(child));
        }
        break;
    case COLLAPSE:
        before = first_page(child);
        atomic_store(&shared->huge_wanted, true);
        CHECK_EVENTUALLY(atomic_load(&shared->huge_allowed), 60, "huge pages, in time");
        /* EAGAIN: pages are on their way elsewhere. */
        for (int i = 0; i < 100 && !(done = advise(child, shared->length, MADV_COLLAPSE)) && errno == EAGAIN; i++)
            check_sleep_ms(10);
        away = has_moved(before, first_page(child));
        break;
    default:
        away = done = advise(child, shared->length, MADV_DONTNEED);
    }
    int error = errno;
    printf("%s by another process: %s", names[step], away ? "pages replaced" : done ? "done" : "refused by this kernel");
    if (!done)
        printf(" (%s)", strerror(error));
    return away;
}

static void by_madvise(bool sees)
{
    pid_t child = check_fork();
    if (child == 0) {
        victim(STEPS);
        check_leave();
    }
    for (unsigned step = 1; step <= STEPS; step++) {
        REQUIRE(wait_for(&shared->ready, step), "the process registers its memory");
        bool away = change((int)step - 1, child);
        atomic_store(&shared->changed, step);
        REQUIRE(wait_for(&shared->answer, step << 1), "an answer to step %u", step);
        bool anew = atomic_load(&shared->answer) & 1;
        printf(", %s\n", anew ? "registered anew" : "still registered");
        CHECK(!away || !sees || anew, "%s by another process left the registration valid", names[step - 1]);
    }
    CHECK(check_child_succeeded(child), "the process with the cache fails");
}

/* A process of its own in the same memory (CLONE_VM without CLONE_THREAD) discards it. */
static void by_sharer(bool sees)
{
    static char stack[65536] __attribute__((aligned(16)));
    pid_t child = check_fork();
    if (child == 0) {
        kdreg_cache_t *cache = open_cache();
        pid_t self = getpid();
        make_memory(HUGE);
        use(cache, "kdreg_cache_get");
        pid_t sharer = clone(discard_for_parent, stack + sizeof stack, CLONE_VM | SIGCHLD, &self);
        int status = -1;
        REQUIRE(sharer > 0 && waitpid(sharer, &status, 0) == sharer && WIFEXITED(status), "clone");
        bool anew = registered_anew(cache);
        printf("process_madvise(MADV_DONTNEED) by a process that shares the memory: %s, %s\n",
               WEXITSTATUS(status) ? strerror(WEXITSTATUS(status)) : "done", anew ? "registered anew" : "still registered");
        CHECK(WEXITSTATUS(status) != 0 || !sees || anew, "a discard by a process that shares the memory left the registration valid");
        check_leave();
    }
    CHECK(check_child_succeeded(child), "the process with the cache fails");
}

/* A debugger has the process call munmap, mprotect and madvise: its own calls, as far as the kernel is concerned. */
static void by_debugger(uint64_t caps)
{
#ifdef INJECT_IS_THERE
    struct {
        const char *name;
        unsigned long number, last;
        uint64_t cap;
    } calls[] = {{"munmap", SYS_munmap, 0, KDREG_CAP_UNMAP},
                 {"madvise(MADV_DONTNEED)", SYS_madvise, MADV_DONTNEED, KDREG_CAP_DISCARD},
                 {"mprotect(PROT_NONE)", SYS_mprotect, PROT_NONE, KDREG_CAP_PROTECT}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        pid_t child = check_fork();
        if (child == 0) {
            kdreg_cache_t *cache = open_cache();
            make_memory(16 * page);
            use(cache, "kdreg_cache_get");
            raise(SIGSTOP);
            if (calls[i].number == SYS_mprotect) {
                kdreg_entry_t *entry;
                CHECK_IS(kdreg_cache_find(cache, shared->memory, shared->length, KDREG_ACCESS_READ, &entry), (calls[i].cap & caps) ? -ENOENT : 0);
                mprotect(shared->memory, shared->length, PROT_READ | PROT_WRITE);
                use(cache, "kdreg_cache_get after mprotect");
            } else {
                CHECK(registered_anew(cache) || !(calls[i].cap & caps), "%s by a debugger left the registration valid", calls[i].name);
            }
            check_leave();
        }
        long result = -1;
        siginfo_t stopped;
        REQUIRE(waitid(P_PID, (id_t)child, &stopped, WSTOPPED | WEXITED | WNOWAIT) == 0, "waitid");
        bool made = inject(child, calls[i].number, (unsigned long)shared->memory, shared->length, calls[i].last, &result);
        CHECK(made && result == 0, "%s in another process: %ld", calls[i].name, result);
        if (!made)
            kill(child, SIGKILL);
        CHECK(check_child_succeeded(child), "%s by a debugger", calls[i].name);
        printf("%s by a debugger: %s\n", calls[i].name, (calls[i].cap & caps) ? "registered anew" : "not claimed");
    }
#else
    (void)caps;
    printf("skipped: no injection of calls on this architecture\n");
#endif
}

int main(void)
{
    check_watchdog(580);
    check_says("changes made from outside of the process are seen where the backend says so");
    page = (size_t)sysconf(_SC_PAGESIZE);
    shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED, "mmap");
    kdreg_t *monitor = check_open(0);
    uint64_t caps = kdreg_caps(monitor);
    REQUIRE(kdreg_close(monitor) == 0, "kdreg_close");
    bool sees = caps & KDREG_CAP_FOREIGN;
    by_madvise(sees);
    by_sharer(sees);
    by_debugger(caps);
    return check_result("foreign");
}
