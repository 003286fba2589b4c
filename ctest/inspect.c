/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * kdreg_info --pid: this process, seen by another.
 *
 *   inspect KDREG_INFO       the path of the command
 */
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "caches.h"

static const char *kdreg_info;
static size_t page;

static int pin(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    (void)context, (void)length, (void)access;
    *handle = addr;
    return 0;
}

static int unpin(void *context, void *addr, size_t length, void *handle)
{
    (void)context, (void)addr, (void)length, (void)handle;
    return 0;
}

static kdreg_cache_t *create(kdreg_t *monitor, size_t max_bytes)
{
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = pin, .dereg = unpin, .flags = KDREG_CACHE_NO_MERGE, .max_entries = 1000,
                                    .max_bytes = max_bytes};
    return new_cache(monitor, &attr);
}

static char *buffer(size_t pages)
{
    char *memory = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    REQUIRE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    return memory;
}

static void use(kdreg_cache_t *cache, const char *memory, size_t pages, int times)
{
    while (times--) {
        kdreg_entry_t *entry;
        int error = kdreg_cache_get(cache, memory, pages * page, 0, &entry);
        REQUIRE(error == 0, "kdreg_cache_get: %s", kdreg_strerror(error));
        CHECK_IS(kdreg_cache_put(cache, entry), 0);
    }
}

static char said[128 * 1024];

static bool says(const char *text)
{
    return strstr(said, text) != NULL;
}

/* The process to be killed once the command has shown rates; 0: none. */
static pid_t kill_at_rates;

/* Runs the command on a process, as a user, and keeps what it says; its exit status. */
static int look_once(pid_t pid, const char *options, uid_t user)
{
    int out[2];
    REQUIRE(pipe(out) == 0, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        char number[24];
        snprintf(number, sizeof number, "%d", (int)pid);
        dup2(out[1], 1);
        dup2(out[1], 2);
        close(out[0]);
        if (user && setuid(user))
            _exit(126);
        /* In a build directory that others may not enter the command is not to be found. */
        execl(kdreg_info, "kdreg_info", "--pid", number, options, (char *)NULL);
        _exit(126);
    }
    close(out[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(out[0], said + length, sizeof said - 1 - length)) > 0) {
        length += (size_t)got;
        said[length] = 0;
        if (kill_at_rates && says("a second:")) {
            kill(kill_at_rates, SIGKILL);
            kill_at_rates = 0;
        }
    }
    said[length] = 0;
    close(out[0]);
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* As look_once, of a process that runs. The command gives it two seconds to answer: too few where the processor is wanted by many. */
static int look(pid_t pid, const char *options, uid_t user)
{
    int status = look_once(pid, options, user);
    for (int again = 0; again < 10 && says("did not answer"); again++)
        status = look_once(pid, options, user);
    return status;
}

#define CHECK_SAYS(text) CHECK(says(text), "\"%s\" is not in:\n%.400s", text, said)

static void nothing_to_see(void)
{
    check_says("a process without a monitor, and one that is not there");
    CHECK_IS(look(getpid(), NULL, 0), 1);
    CHECK_SAYS("nothing of libkdreg's to show");
    CHECK_IS(look(0x3fffffff, NULL, 0), 1);
    CHECK_SAYS("there is no process");
}

static void counts(kdreg_t *monitor)
{
    check_says("the counts, the lists, the reasons; as a table and as JSON");
    kdreg_cache_t *one = create(monitor, 0), *two = create(monitor, 1 << 30);
    char *small = buffer(1), *large = buffer(8);
    char text[256];
    use(one, small, 1, 5);
    use(one, large, 8, 3);
    use(two, small, 1, 2);
    CHECK_IS(look(getpid(), "--json", 0), 0);
    CHECK_SAYS("\"hits\": 6, \"misses\": 2");
    CHECK_SAYS("\"hits\": 1, \"misses\": 1");
    const char *limit = strstr(said, "\"max_bytes\": 1073741824");
    CHECK(limit && strstr(said, "\"max_bytes\"") == limit && !strstr(limit + 1, "\"max_bytes\""), "one has a limit on bytes: %.600s", said);
    snprintf(text, sizeof text, "\"backend\": \"%s\", \"regions\": 3", kdreg_backend_name(monitor));
    CHECK_SAYS(text);
    snprintf(text, sizeof text, "\"largest\": [{\"base\": \"%p\", \"bytes\": %zu", (void *)large, 8 * page);
    CHECK_SAYS(text);
    snprintf(text, sizeof text, "\"hottest\": [{\"base\": \"%p\", \"bytes\": %zu", (void *)large, 8 * page);
    CHECK_SAYS(text);
    use(one, small, 1, 100);
    CHECK_IS(look(getpid(), "--json", 0), 0);
    snprintf(text, sizeof text, "\"hottest\": [{\"base\": \"%p\", \"bytes\": %zu", (void *)small, page);
    CHECK_SAYS(text);

    munmap(small, page);
    CHECK_EVENTUALLY(look(getpid(), "--json", 0) == 0 && says("\"unmap\": 2") && says("\"regions\": 1"), 60,
                     "two regions were unmapped, but:\n%s", said);
    use(one, large, 8, 1);
    CHECK_IS(look(getpid(), NULL, 0), 0);
    CHECK_SAYS("changes seen: unmap 2");
    CHECK_SAYS("hit rate 98.17 %");
    CHECK_IS(kdreg_cache_destroy(one), 0);
    CHECK_IS(look(getpid(), NULL, 0), 0);
    CHECK_IS(kdreg_cache_destroy(two), 0);
    /* Here, a monitor without a cache; on other backends, nothing. */
    if (strcmp(kdreg_backend_name(monitor), "userfaultfd") == 0) {
        struct kdreg_region region;
        CHECK_IS(look(getpid(), "--json", 0), 0);
        CHECK_SAYS("\"regions\": 0");
        CHECK_SAYS("\"caches\": []");
        CHECK_IS(kdreg_monitor(monitor, large, page, 1, &region), 0);
        CHECK_IS(look(getpid(), NULL, 0), 0);
        CHECK_SAYS("monitor userfaultfd: 1 regions watched");
        munmap(large, 8 * page);
        CHECK_EVENTUALLY(look(getpid(), NULL, 0) == 0 && says("0 regions watched; changes seen: unmap 3"), 60, "%s", said);
    } else {
        munmap(large, 8 * page);
    }
}

static sem_t inside, go_on;

static int pin_slowly(void *context, void *addr, size_t length, uint32_t access, void **handle)
{
    sem_post(&inside);
    while (sem_wait(&go_on))
        ;
    return pin(context, addr, length, access, handle);
}

static void ahead(kdreg_t *monitor)
{
    check_says("a cache's name, and what waits to be registered ahead");
    struct kdreg_cache_attr attr = {.size = sizeof attr, .reg = pin_slowly, .dereg = unpin, .flags = KDREG_CACHE_NO_MERGE, .name = "domain0"};
    kdreg_cache_t *cache = new_cache(monitor, &attr);
    sem_init(&inside, 0, 0);
    sem_init(&go_on, 0, 0);
    CHECK_IS(look(getpid(), NULL, 0), 0);
    CHECK_SAYS("(domain0) on ");
    CHECK(!says("ahead:"), "of what was never asked for:\n%s", said);
    char *memory = buffer(8);
    struct kdreg_get_attr asked = {.size = sizeof asked, .access = KDREG_ACCESS_READ};
    for (size_t i = 0; i < 3; i++)
        CHECK_IS(kdreg_cache_prefetch(cache, memory + 2 * i * page, page, &asked, NULL, NULL), 0);
    while (sem_wait(&inside))
        ;
    CHECK_IS(look(getpid(), NULL, 0), 0);
    CHECK_SAYS("ahead: 2 waiting, 1 being registered");
    CHECK_IS(look(getpid(), "--json", 0), 0);
    CHECK_SAYS("\"name\": \"domain0\"");
    CHECK_SAYS("\"ahead_waiting\": 2, \"ahead_registering\": 1");
    FILE *file = tmpfile();
    REQUIRE(file, "tmpfile");
    CHECK_IS(kdreg_cache_dump(cache, fileno(file)), 0);
    REQUIRE(pread(fileno(file), said, sizeof said - 1, 0) > 0, "an empty dump");
    CHECK_SAYS("ahead: 2 waiting, 1 being registered");
    fclose(file);
    for (int i = 0; i < 3; i++)
        sem_post(&go_on);
    CHECK_EVENTUALLY(look(getpid(), NULL, 0) == 0 && says("ahead: 0 waiting, 0 being registered"), 60, "%s", said);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
    munmap(memory, 8 * page);
}

static atomic_bool stop;

static void *churn(void *cache)
{
    while (!atomic_load(&stop)) {
        char *memory = buffer(2);
        use(cache, memory, 2, 3);
        munmap(memory, 2 * page);
    }
    return NULL;
}

static void while_it_works(kdreg_t *monitor)
{
    check_says("a process that is busy changing what is shown");
    kdreg_cache_t *cache = create(monitor, 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, cache) == 0, "pthread_create");
    for (int i = 0; i < 20; i++) {
        CHECK_IS(look(getpid(), "--json", 0), 0);
        CHECK(strncmp(said, "{\n", 2) == 0 && strcmp(said + strlen(said) - 2, "}\n") == 0, "cut off:\n%s", said);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

static void children_and_strangers(kdreg_t *monitor)
{
    check_says("a forked child shows nothing of its parent's; strangers are refused; a stopped process is not waited for");
    kdreg_cache_t *cache = create(monitor, 0);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    CHECK_IS(look(child, NULL, 0), 1);
    CHECK_SAYS("was forked by");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);

    if (geteuid() == 0 && look(getpid(), NULL, 65534) != 126) {
        CHECK_IS(look(getpid(), NULL, 65534), 1);
        CHECK_SAYS("another user's");
    } else {
        printf("  not tried as another user: not root, or the command is where others may not go\n");
    }

    int ready[2];
    REQUIRE(pipe(ready) == 0, "pipe");
    child = fork();
    if (child == 0) {
        kdreg_t *own = check_open(0);
        create(own, 0);
        (void)!write(ready[1], "!", 1);
        for (;;)
            pause();
    }
    char byte;
    REQUIRE(read(ready[0], &byte, 1) == 1, "the child did not start");
    CHECK_IS(look(child, NULL, 0), 0);
    kill(child, SIGSTOP);
    waitpid(child, NULL, WUNTRACED);
    CHECK_IS(look_once(child, NULL, 0), 1);
    CHECK_SAYS("did not answer");
    kill(child, SIGCONT);
    CHECK_IS(look(child, NULL, 0), 0);

    /* --watch ends with the process. */
    kill_at_rates = child;
    CHECK_IS(look_once(child, "--watch=0.1", 0), 0);
    CHECK_SAYS("a second:");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_IS(kdreg_cache_destroy(cache), 0);
}

int main(int argc, char **argv)
{
    REQUIRE(argc == 2, "usage: inspect KDREG_INFO");
    check_watchdog(280);
    kdreg_info = argv[1];
    page = (size_t)sysconf(_SC_PAGESIZE);
    nothing_to_see();
    kdreg_t *monitor = check_open(0);
    counts(monitor);
    ahead(monitor);
    while_it_works(monitor);
    children_and_strangers(monitor);
    CHECK_IS(kdreg_close(monitor), 0);
    return check_result("inspect");
}
