/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Programs that give something up after they have started: their user, their root directory, descriptors that they did not open, memory that
 * may not be locked. The library works, or says at warn why it does less. */
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"
#include "plain.h"

enum { REGION = 65536 };

static char said[4096];

static void listens(void *context, int level, const char *message)
{
    (void)context;
    if (level > KDREG_LOG_WARN)
        return;
    strncat(said, message, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}

static kdreg_cache_t *make_cache(void)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = plain_register, .dereg = plain_deregister};
    kdreg_cache_t *cache = NULL;
    int error = kdreg_cache_create(NULL, &attr, &cache);
    CHECK(error == 0, "kdreg_cache_create: %s (%s)", kdreg_strerror(error), said);
    if (error)
        check_leave();
    return cache;
}

static int use(kdreg_cache_t *cache, void *memory)
{
    kdreg_entry_t *entry;
    int error = kdreg_cache_get(cache, memory, REGION, KDREG_ACCESS_READ, &entry);
    return error ? error : kdreg_cache_put(cache, entry);
}

static bool finds(kdreg_cache_t *cache, void *memory)
{
    kdreg_entry_t *entry;
    return kdreg_cache_find(cache, memory, REGION, KDREG_ACCESS_READ, &entry) == 0 && kdreg_cache_put(cache, entry) == 0;
}

/* Caches, notices changes, and has them released without being asked; or it has said why it does not cache. */
static void works_or_has_said_why(const char *reason)
{
    kdreg_cache_t *cache = make_cache();
    char *memory = check_space(REGION);
    CHECK_IS(use(cache, memory), 0);
    if (!finds(cache, memory)) {
        CHECK(strstr(said, reason), "nothing is cached, and said was only: %s", said);
    } else {
        struct kdreg_cache_stats stats = {.size = sizeof stats};
        munmap(memory, REGION);
        CHECK(!finds(cache, memory), "a registration of memory that is gone");
        CHECK_EVENTUALLY(kdreg_cache_stats(cache, &stats) == 0 && stats.deregistrations == stats.registrations, 60,
                         "what is gone is not released by itself: %llu of %llu", (unsigned long long)stats.deregistrations,
                         (unsigned long long)stats.registrations);
    }
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
}

static void drops_root(void)
{
    check_says("setuid() from root, then open");
    if (!become_nobody()) {
        printf("    skipped: that takes root\n");
        return;
    }
    works_or_has_said_why("has changed its user");
}

static void drops_root_while_open(void)
{
    check_says("setuid() from root with a cache open");
    kdreg_cache_t *cache = make_cache();
    char *memory = check_space(REGION);
    CHECK_IS(use(cache, memory), 0);
    if (!become_nobody()) {
        printf("    skipped: that takes root\n");
        return;
    }
    CHECK_IS(use(cache, memory), 0);
    munmap(memory, REGION);
    CHECK(!finds(cache, memory), "a registration of memory that is gone");
    works_or_has_said_why("has changed its user");
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void leaves_the_root(void)
{
    char empty[] = "/tmp/kdreg-rights-XXXXXX";
    check_says("chroot() to where there is no /proc");
    if (!mkdtemp(empty) || chroot(empty) != 0 || chdir("/") != 0) {
        printf("    skipped: chroot: %s\n", strerror(errno));
        rmdir(empty);
        return;
    }
    works_or_has_said_why("/proc");
}

static void locks_all(void)
{
    struct rlimit limit = {8 << 20, 8 << 20};
    check_says("mlockall(MCL_FUTURE) with 8 MiB that may be locked");
    /* Root may lock what it likes. */
    bool limited = setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && (geteuid() != 0 || become_nobody());
    if (!limited || mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        printf("    skipped: mlockall: %s\n", strerror(errno));
        return;
    }
    kdreg_cache_t *cache = make_cache();
    CHECK_IS(use(cache, check_space(REGION)), 0);
    void *own = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(own != MAP_FAILED, "the library leaves no 2 MiB of 8 that the application may lock: %s", strerror(errno));
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

/* Those of a stranger, as a program finds them that closes what it did not open. */
static void close_all(void)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
}

static void closes_descriptors(void)
{
    check_says("all descriptors closed behind the library's back");
    kdreg_cache_t *former = make_cache();
    char *memory = check_space(REGION);
    CHECK_IS(use(former, memory), 0);
    close_all();
    /* Their numbers are now the application's. */
    char path[] = "/tmp/kdreg-rights-XXXXXX";
    int files[64], count = 0;
    for (; count < 32; count++)
        files[count] = count ? dup(files[0]) : mkstemp(path);
    unlink(path);
    CHECK(!finds(former, memory), "a registration that nobody watches any more");
    munmap(memory, REGION);
    for (int round = 0; round < 3; round++)
        works_or_has_said_why("cannot");
    CHECK_IS(kdreg_cache_destroy(former), 0);
    works_or_has_said_why("cannot");
    struct stat stat;
    for (int index = 0; index < count; index++)
        CHECK(fcntl(files[index], F_GETFD) >= 0, "the library has closed a descriptor of the application's");
    CHECK(fstat(files[0], &stat) == 0 && stat.st_size == 0, "the library has written %lld bytes into a file of the application's",
          (long long)stat.st_size);
}

static void closes_descriptors_and_opens(void)
{
    check_says("the same, and the numbers are the library's again");
    kdreg_cache_t *former = make_cache();
    CHECK_IS(use(former, check_space(REGION)), 0);
    close_all();
    kdreg_cache_t *later = make_cache();
    char *memory = check_space(REGION);
    CHECK_IS(use(later, memory), 0);
    CHECK(finds(later, memory), "a later cache does not work");
    CHECK_IS(kdreg_cache_destroy(former), 0);
    CHECK(finds(later, memory), "a later cache does not work once the former is gone");
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    munmap(memory, REGION);
    CHECK_EVENTUALLY(kdreg_cache_stats(later, &stats) == 0 && stats.deregistrations == 1, 60, "what is gone is not released by itself");
    CHECK_IS(kdreg_cache_destroy(later), 0);
    works_or_has_said_why("cannot");
}

int main(void)
{
    static void (*const bodies[])(void) = {drops_root, drops_root_while_open, leaves_the_root, locks_all, closes_descriptors,
                                           closes_descriptors_and_opens};
    check_watchdog(500);
    for (size_t index = 0; index < sizeof bodies / sizeof *bodies; index++) {
        pid_t child = check_fork();
        if (child == 0) {
            check_watchdog(150);
            kdreg_set_log(listens, NULL, KDREG_LOG_WARN);
            bodies[index]();
            check_leave();
        }
        CHECK(check_child_succeeded(child), "part %zu", index);
    }
    return check_result("rights");
}
