/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What an unprivileged process can make others pay, in instructions: by the
 * cookies it chooses, and by many descriptors. Only where time is made of
 * instructions, as for `cost`; skipped elsewhere.
 */
#include "kt.h"
#include "../counted.h"

#include <signal.h>
#include <sys/resource.h>

enum { REGIONS = 8192, BATCH = 64, DESCRIPTORS = 1000, KILLED = 200, KILLS = 9, REPEAT = 51, PAUSE = 7000 /* us */ };

static size_t page;
static struct kdreg_monitor_entry entries[REGIONS];

/* --- Cookies -------------------------------------------------------------- */

static uint64_t honest(uint64_t i) { return (i + 1) * 0x9e3779b97f4a7c15ULL >> 1; }
static uint64_t top(uint64_t i) { return i << 48; }
static uint64_t upper(uint64_t i) { return i << 32; }
static uint64_t high(uint64_t i) { return i << 40; }
static uint64_t spread(uint64_t i) { return i << 50 | i; }
static uint64_t even(uint64_t i) { return i << 13; }
static uint64_t counted(uint64_t i) { return i; }
static uint64_t slotted(uint64_t i) { return i << 32 | i; }
/* 64 of each in one place, for who takes the lower bits. */
static uint64_t lower(uint64_t i) { return i % 64 << 32 | i / 64; }

static const struct {
    const char *name;
    uint64_t (*cookie)(uint64_t);
} kinds[] = {
    {"honest", honest},   {"i << 48", top},  {"i << 32", upper}, {"i << 40", high},
    {"i << 50 | i", spread}, {"i << 13", even}, {"i", counted},     {"i << 32 | i", slotted},
    {"64 of each", lower},
};

/* For each region: added, found again if `times` is 2, and marked by one call. */
static void cost_of(uint64_t (*cookie)(uint64_t), unsigned times, uint64_t cost[3])
{
    int fd = kt_open();
    char *memory = kt_space(16 * page);
    uint64_t start;

    kt_config(fd, REGIONS);
    for (unsigned i = 0; i < REGIONS; i++)
        entries[i] = (struct kdreg_monitor_entry){
            .addr = (uintptr_t)memory + i % 16 * page + i / 16, .length = 1, .cookie = cookie(i)};
    for (unsigned again = 0; again < times; again++) {
        start = now();
        for (unsigned i = 0; i < REGIONS; i += BATCH) {
            struct kdreg_batch batch = {.entries = (uintptr_t)(entries + i), .count = BATCH};

            CHECK(ioctl(fd, KDREG_IOCTL_MONITOR_BATCH, &batch) == 0, "%m");
        }
        cost[again] = (now() - start) / REGIONS;
        for (unsigned i = 0; i < REGIONS; i++)
            CHECK(entries[i].status == 0, "%d", entries[i].status);
    }
    start = now();
    munmap(memory, 16 * page);
    cost[2] = (now() - start) / REGIONS;
    close(fd);
}

static void cookies(void)
{
    uint64_t base[3], cost[3];

    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        cost_of(kinds[k].cookie, 2, k ? cost : base);
        const uint64_t *c = k ? cost : base;
        printf("%-12s %4lu to monitor, %4lu to find, %4lu to mark, per region\n", kinds[k].name, c[0],
               c[1], c[2]);
        for (unsigned i = 0; k && i < 3; i++)
            CHECK(cost[i] <= 2 * base[i], "cookies %s: %lu instead of %lu", kinds[k].name, cost[i],
                  base[i]);
    }
}

/* --- Descriptors ---------------------------------------------------------- */

static uint64_t cost_discard(char *memory)
{
    uint64_t values[REPEAT];

    for (unsigned i = 0; i < REPEAT; i++) {
        memory[0] = 1;
        uint64_t start = now();
        madvise(memory, page, MADV_DONTNEED);
        values[i] = now() - start;
    }
    return median(values, REPEAT);
}

static uint64_t cost_close(int *fds, unsigned count)
{
    uint64_t start = now();

    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    return (now() - start) / count;
}

static void descriptors(void)
{
    static int fds[DESCRIPTORS];
    char *memory = kt_map(page);
    uint64_t none = cost_discard(memory), one = 0;

    for (unsigned i = 0; i < DESCRIPTORS; i++) {
        fds[i] = kt_open();
        kt_config(fds[i], 16);
        if (i == 0)
            one = cost_discard(memory);
    }
    uint64_t many = cost_discard(memory);
    printf("madvise of a page: %lu with no descriptor, %lu with one, %lu with %u\n", none, one, many,
           DESCRIPTORS);
    CHECK(many <= one + one / 10);
    /* A grace period takes milliseconds, which pass while nothing runs. */
    uint64_t each = cost_close(fds, DESCRIPTORS);
    printf("close: %lu each\n", each);
    CHECK(each < 10000);
}

/* --- Beside a victim ------------------------------------------------------ */

/* What a quarter of the calls cost at least. The attacks do not hurt all the time:
 * half of them would take most calls not to see them. */
static uint64_t upper_quartile(uint64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count - count / 4];
}

/* What another process pays: to close a descriptor, and for a munmap. It pauses
 * in between, or it would be done before anybody else has run, there being one
 * processor; and wakes up wherever others have got to by then. */
static void victim(uint64_t *closing, uint64_t *unmapping)
{
    static uint64_t closes[REPEAT], unmaps[REPEAT];

    for (unsigned i = 0; i < REPEAT; i++) {
        int fd = kt_open();
        char *memory;
        uint64_t start;

        kt_config(fd, 16);
        memory = kt_map(page);
        kt_monitor(fd, memory, page, 1);
        usleep(PAUSE);
        start = now();
        munmap(memory, page);
        unmaps[i] = now() - start;
        usleep(PAUSE);
        start = now();
        close(fd);
        closes[i] = now() - start;
    }
    *closing = upper_quartile(closes, REPEAT);
    *unmapping = upper_quartile(unmaps, REPEAT);
}

/* Regions without end, under the worst of cookies, and changes to all of them. */
__attribute__((noreturn)) static void with_cookies(void)
{
    uint64_t cost[3];

    for (;;)
        cost_of(top, 1, cost);
}

static void beside(const char *how, void (*attack)(void))
{
    uint64_t closing[2], unmapping[2];
    int begun[2];
    char c;

    victim(&closing[0], &unmapping[0]);
    CHECK(pipe(begun) == 0, "%m");
    pid_t attacker = fork();
    if (attacker == 0) {
        /* With what it starts, to be ended by one signal. */
        CHECK(setpgid(0, 0) == 0, "%m");
        kt_become_nobody();
        CHECK(write(begun[1], "", 1) == 1, "%m");
        attack();
    }
    (void)setpgid(attacker, attacker);
    CHECK(read(begun[0], &c, 1) == 1, "%m");
    victim(&closing[1], &unmapping[1]);
    CHECK(kill(-attacker, SIGKILL) == 0 && waitpid(attacker, NULL, 0) == attacker, "%m");
    close(begun[0]);
    close(begun[1]);
    printf("victim of %s: close %lu alone, %lu beside; munmap %lu alone, %lu beside\n", how, closing[0],
           closing[1], unmapping[0], unmapping[1]);
    CHECK(closing[1] <= 2 * closing[0] && closing[0] < 100000);
    CHECK(unmapping[1] <= 2 * unmapping[0]);
}

/* --- Killed --------------------------------------------------------------- */

/* What it takes until a process is gone that is killed with so many descriptors
 * open. Whoever waits for it pays; who killed it, for one. */
static uint64_t cost_kill(unsigned descriptors)
{
    uint64_t values[KILLS];

    for (unsigned i = 0; i < KILLS; i++) {
        int told[2];
        char c;

        CHECK(pipe(told) == 0, "%m");
        pid_t child = fork();
        if (child == 0) {
            for (unsigned n = 0; n < descriptors; n++)
                kt_config(kt_open(), 16);
            CHECK(write(told[1], "", 1) == 1);
            for (;;)
                pause();
        }
        CHECK(read(told[0], &c, 1) == 1, "%m");
        uint64_t start = now();
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child, "%m");
        values[i] = now() - start;
        close(told[0]);
        close(told[1]);
    }
    return median(values, KILLS);
}

static void killed(void)
{
    uint64_t one = cost_kill(1), many = cost_kill(KILLED), each = many / KILLED;

    printf("to end by a signal: %lu with one descriptor, %lu with %u, %lu each\n", one, many, KILLED,
           each);
    /* The kernel itself waits for a grace period where a process ends that has a notifier, for a
     * long one if there was another just before. That is one of the process, not of each. */
    CHECK(each < 300000);
}

static void in_child(void (*body)(void))
{
    pid_t child = fork();

    if (child == 0) {
        kt_become_nobody();
        body();
        exit(0);
    }
    CHECK(kt_wait(child) == 0);
}

/* hostile [cookies | descriptors | beside | killed] */
int main(int argc, char **argv)
{
    struct rlimit files = {2048, 2048};

    page = kt_page();
    if (!counting())
        kt_skip("time is not made of instructions here");
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0, "%m");
    close(kt_open());
    if (argc < 2 || !strcmp(argv[1], "cookies"))
        in_child(cookies);
    if (argc < 2 || !strcmp(argv[1], "descriptors"))
        in_child(descriptors);
    if (argc < 2 || !strcmp(argv[1], "beside"))
        beside("cookies", with_cookies);
    if (argc < 2 || !strcmp(argv[1], "killed"))
        in_child(killed);
    return 0;
}
