/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The status mapping: read-only for ever, and no trap for anybody. */
#include "kt.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/uio.h>

static sigjmp_buf landing;

static void on_fault(int signal)
{
    siglongjmp(landing, signal);
}

/* The signal that the access raises, or 0. */
static int access_signal(volatile char *address, bool write)
{
    int raised = sigsetjmp(landing, 1);

    if (raised == 0) {
        if (write)
            *address = 1;
        else
            (void)*address;
    }
    return raised;
}

/* Where the mapping ends, from /proc/self/maps. */
static char *mapping_end(const void *start)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    char *end = NULL, protection[8], line[512];

    CHECK(maps, "%m");
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, protection) == 3 &&
            from == (uintptr_t)start) {
            CHECK(strcmp(protection, "r--s") == 0, "%s", line);
            end = (char *)to;
        }
    fclose(maps);
    CHECK(end != NULL);
    return end;
}

static void is_read_only(int fd, const struct kdreg2_status_data *status)
{
    char *base = (char *)status, *end = mapping_end(status);
    size_t length = (size_t)(end - base), page = kt_page();
    uint32_t word = status->monitoring_state_base[0].u.raw, evil = 3;
    int memory = open("/proc/self/mem", O_RDWR);

    CHECK(access_signal(base, true) == SIGSEGV);
    CHECK(access_signal(end - 1, true) == SIGSEGV);
    CHECK(access_signal(end - 1, false) == 0);
    CHECK_ERRNO(mprotect(base, page, PROT_READ | PROT_WRITE), EACCES);
    CHECK_ERRNO(mprotect(base, length, PROT_WRITE), EACCES);
    CHECK_ERRNO(mprotect(base, length, PROT_READ | PROT_EXEC), EACCES);
    /* Not even as a debugger would. */
    CHECK(memory >= 0, "%m");
    CHECK(pwrite(memory, &evil, sizeof evil, (off_t)(uintptr_t)status->monitoring_state_base) < 0);
    CHECK(pwrite(memory, &evil, sizeof evil, (off_t)(uintptr_t)status) < 0);
    close(memory);
    struct iovec local = {&evil, sizeof evil}, remote = {base + page, sizeof evil};
    CHECK_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT);
    CHECK(status->monitoring_state_base[0].u.raw == word);
    /* Nothing to grow into. */
    CHECK(mremap(base, length, length + page, MREMAP_MAYMOVE) == MAP_FAILED);
    /* A second view of it. */
    CHECK(mremap(base, 0, length, MREMAP_MAYMOVE) == MAP_FAILED);
    (void)fd;
}

/* Advice, locks and fault handlers of the client's own making. */
static void survives(int fd, const struct kdreg2_status_data *status)
{
    static const int advice[] = {
        MADV_NORMAL,    MADV_RANDOM,      MADV_SEQUENTIAL, MADV_WILLNEED,   MADV_DONTNEED,
        MADV_REMOVE,    MADV_DOFORK,      MADV_MERGEABLE,  MADV_HUGEPAGE,   MADV_NOHUGEPAGE,
        MADV_DODUMP,    MADV_WIPEONFORK,  MADV_KEEPONFORK, MADV_COLD,       MADV_PAGEOUT,
        MADV_FREE,      MADV_POPULATE_READ, MADV_POPULATE_WRITE, 24, 25, 102, 103,
    };
    char *base = (char *)status;
    size_t page = kt_page(), length = (size_t)(mapping_end(status) - base);
    struct kdreg2_monitoring_params p = kt_monitor(fd, kt_space(page), 64, 1);

    for (unsigned i = 0; i < sizeof advice / sizeof *advice; i++) {
        int r = madvise(base, length, advice[i]);

        /* With guard pages fork() would copy the page tables. */
        CHECK(!(advice[i] == 102 && r == 0), "MADV_GUARD_INSTALL worked");
        CHECK(!kt_changed(status, p) && status->version == 1, "after advice %d", advice[i]);
    }
    (void)!mlock(base, length);
    CHECK(!kt_changed(status, p));
    (void)!munlock(base, length);
    CHECK(msync(base, length, MS_SYNC) == 0, "%m");

    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
    if (uffd >= 0) {
        struct uffdio_api api = {.api = UFFD_API, .features = 1 << 15};
        struct uffdio_register reg = {.range = {(uintptr_t)base, length},
                                      .mode = UFFDIO_REGISTER_MODE_WP};

        if (ioctl(uffd, UFFDIO_API, &api) == 0)
            CHECK(ioctl(uffd, UFFDIO_REGISTER, &reg) == -1, "userfaultfd took it");
        close(uffd);
    }
    /* A hole in it, and the rest moved. */
    char *elsewhere = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(elsewhere != MAP_FAILED, "%m");
    const struct kdreg2_status_data *other = kt_config(kt_open(), 100000);
    size_t other_length = (size_t)(mapping_end(other) - (char *)other);
    CHECK(munmap((char *)other + 5 * page, page) == 0, "%m");
    CHECK(mremap((char *)other + 6 * page, other_length - 6 * page, other_length - 6 * page,
                 MREMAP_MAYMOVE | MREMAP_FIXED,
                 mmap(NULL, other_length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) !=
              MAP_FAILED,
          "%m");
    CHECK(kt_unmonitor(fd, 1, p) == 0, "%m");
    CHECK(kt_changed(status, p));
}

/* close() ends the monitoring although the pages are still mapped. */
static void close_ends_it(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 3000);
    char *memory = kt_space(kt_page());
    struct kdreg2_monitoring_params p[3000];

    for (unsigned i = 0; i < 3000; i++)
        p[i] = kt_monitor(fd, memory, 64, i);
    CHECK(kt_active(status) == 3000);
    /* One page of words is mapped by now, the others are not. */
    CHECK(!kt_changed(status, p[0]));
    CHECK(close(fd) == 0, "%m");
    CHECK(kt_active(status) == 0);
    for (unsigned i = 0; i < 3000; i++)
        CHECK(kt_changed(status, p[i]));
    CHECK(munmap((char *)status, kt_page()) == 0, "%m");
}

enum { MANY = 100000, BATCH = 1000 };

static bool closed;

static void *close_it(void *fd)
{
    CHECK(close(*(int *)fd) == 0, "%m");
    __atomic_store_n(&closed, true, __ATOMIC_RELEASE);
    return NULL;
}

/* While one thread closes a descriptor, which takes a while with so many regions,
 * another changes mappings: at no moment is there a change that is no longer
 * marked and a word that is still valid. */
static void close_beside_changes(void)
{
    static struct kdreg2_monitoring_params p[MANY];
    static struct kdreg_monitor_entry entries[BATCH];
    size_t page = kt_page();
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, MANY);
    char *memory = kt_space(MANY * page);
    pthread_t thread;

    for (unsigned from = 0; from < MANY; from += BATCH) {
        struct kdreg_batch batch = {.entries = (uintptr_t)entries, .count = BATCH};

        for (unsigned i = 0; i < BATCH; i++)
            entries[i] = (struct kdreg_monitor_entry){
                .addr = (uintptr_t)(memory + (from + i) * page), .length = page, .cookie = from + i};
        CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        for (unsigned i = 0; i < BATCH; i++) {
            struct kdreg2_monitoring_params *q = &p[from + i];

            CHECK(entries[i].status == 0, "%d", entries[i].status);
            q->location = entries[i].location;
            q->generation = entries[i].generation;
            /* Its page of words is mapped. */
            CHECK(!kt_changed(status, *q));
        }
    }
    unsigned i = MANY;
    CHECK(pthread_create(&thread, NULL, close_it, &fd) == 0);
    while (i > 0 && !__atomic_load_n(&closed, __ATOMIC_ACQUIRE)) {
        i--;
        CHECK(munmap(memory + i * page, page) == 0, "%m");
        CHECK(kt_changed(status, p[i]), "after %u changes beside close", MANY - i);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    printf("%u changes beside close\n", MANY - i);
    while (i > 0) {
        i--;
        CHECK(kt_changed(status, p[i]));
    }
    CHECK(munmap((char *)status, (size_t)(mapping_end(status) - (char *)status)) == 0, "%m");
}

/* A descriptor whose status pages are unmapped still works. */
static void unmapped(void)
{
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 10);
    char *memory = kt_space(kt_page());

    CHECK(munmap((char *)status, (size_t)(mapping_end(status) - (char *)status)) == 0, "%m");
    kt_monitor(fd, memory, kt_page(), 1);
    munmap(memory, kt_page());
    CHECK(kt_event(fd).u.mapping_change.cookie == 1);
    close(fd);
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    int fd = kt_open();
    const struct kdreg2_status_data *status = kt_config(fd, 5000);

    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0, "%m");
    is_read_only(fd, status);
    survives(fd, status);
    is_read_only(fd, status);
    close_ends_it();
    close_beside_changes();
    unmapped();
    return 0;
}
