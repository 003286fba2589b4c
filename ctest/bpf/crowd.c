/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* crowd [--clients N] [--rounds N] | --refused UID
 * So many clients at once, each of which makes changes and sees them; and they are gone when they have ended.
 * --refused: one user takes all that kdregd gives to one, and others are served all the same. */
#include <getopt.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "../check.h"
#include "wire.h"
#include "worker.h"

enum { ENTRIES = 64, MOST = 70000, LONGEST_PAUSE = 5000 };

/* Steps that all of them take together: each waits for the next to be allowed. */
static struct gate {
    atomic_uint allowed, arrived, granted, refused, certain, uncertain, stale, blind;
    char why[160]; /* the first refusal's words */
} *gate;

/* Asleep: thousands that look every now and then leave no time for those who still come. */
static void wait_until(unsigned step)
{
    for (unsigned now; (now = atomic_load(&gate->allowed)) < step;)
        syscall(SYS_futex, &gate->allowed, FUTEX_WAIT, now, NULL, NULL, 0);
}

static void allow(unsigned step)
{
    atomic_store(&gate->allowed, step);
    syscall(SYS_futex, &gate->allowed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* A client with as little as can be: changes to a page of its own, and its own log. */
static void client(unsigned rounds)
{
    static struct wire_received received;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int connection;
    long pause = 20;
    /* All at once are too many for a moment: who is told so lets the others come first. */
    while ((connection = wire_enrol(ENTRIES, &received)) >= 0 && wire_asks_again(&received)) {
        close(connection);
        check_sleep_ms(pause);
        pause = pause < LONGEST_PAUSE ? 2 * pause : pause;
    }
    bool granted = connection >= 0 && received.length > 0 && received.header.kind == WIRE_GRANT;
    if (atomic_fetch_add(granted ? &gate->granted : &gate->refused, 1) == 0 && !granted)
        snprintf(gate->why, sizeof gate->why, "%s",
                 connection < 0           ? strerror(-connection)
                 : received.length > 0    ? received.refused.text
                 : received.length == 0   ? "the connection was closed"
                                          : strerror((int)-received.length));
    const uint64_t *log = granted ? mmap(NULL, (received.grant.log_bytes + page - 1) & -page, PROT_READ, MAP_SHARED, received.fds[0], 0) : NULL;
    const uint64_t *guard = granted ? mmap(NULL, page, PROT_READ, MAP_SHARED, received.fds[1], 0) : NULL;
    REQUIRE(log != MAP_FAILED && guard != MAP_FAILED, "mmap: %s", strerror(errno));
    atomic_fetch_add(&gate->arrived, 1);
    wait_until(1);
    for (unsigned i = 0; granted && i < rounds; i++) {
        char *memory = check_space(page);
        *(volatile char *)memory = 1;
        uint64_t before = __atomic_load_n(log, __ATOMIC_ACQUIRE), losses = __atomic_load_n(guard, __ATOMIC_ACQUIRE);
        munmap(memory, page);
        uint64_t after = __atomic_load_n(log, __ATOMIC_ACQUIRE);
        if (after >> 63 || losses >> 63)
            atomic_fetch_add(&gate->blind, 1);
        else if (losses & WIRE_UNCERTAIN || __atomic_load_n(guard, __ATOMIC_ACQUIRE) != losses)
            atomic_fetch_add(&gate->uncertain, 1); /* it need not be in the log, and nobody would take it for valid */
        else
            atomic_fetch_add(after == before ? &gate->stale : &gate->certain, 1);
    }
    atomic_fetch_add(&gate->arrived, 1);
    wait_until(2);
    _exit(0);
}

static unsigned start(unsigned clients, unsigned rounds, uid_t uid, pid_t *ids)
{
    unsigned started = 0;
    for (; started < clients; started++) {
        pid_t parent = getpid();
        ids[started] = fork();
        if (ids[started] < 0)
            break;
        if (ids[started] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (uid && (setgid(uid) || setuid(uid)))
                _exit(1);
            /* Who changes its credentials is not one whose memory others may look at; as after the exec that usually follows. */
            prctl(PR_SET_DUMPABLE, 1);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            client(rounds);
        }
    }
    return started;
}

static void end(unsigned started, const pid_t *ids)
{
    allow(2);
    for (unsigned i = 0; i < started; i++)
        CHECK(check_child_succeeded(ids[i]), "a client failed");
    CHECK_EVENTUALLY(wire_status("client_count") == 0, 120, "kdregd says there are %ld clients still", wire_status("client_count"));
}

/* Waits for a number to be reached, as long as it grows. */
static bool reached(const atomic_uint *number, unsigned wanted)
{
    unsigned last = 0;
    double since = check_now();
    for (unsigned now; (now = atomic_load((atomic_uint *)(uintptr_t)number)) < wanted; check_sleep_ms(20)) {
        if (now != last)
            last = now, since = check_now();
        if (check_now() > since + 120)
            return false;
    }
    return true;
}

static void crowd(unsigned clients, unsigned rounds, pid_t *ids)
{
    check_says("%u clients at once, %u changes each", clients, rounds);
    double began = check_now();
    unsigned started = start(clients, rounds, 0, ids);
    CHECK_IS(started, clients);
    CHECK(reached(&gate->arrived, started), "%u of %u have arrived", atomic_load(&gate->arrived), started);
    printf("  %u granted, %u refused, after %.1f s; kdregd counts %ld\n", atomic_load(&gate->granted), atomic_load(&gate->refused), check_now() - began,
           wire_status("client_count"));
    CHECK(atomic_load(&gate->refused) == 0, "%u are refused: %s", atomic_load(&gate->refused), gate->why);
    printf("  before: %ld losses, %ld processors uncertain\n", wire_status("losses"), wire_status("uncertain_processors"));
    allow(1);
    CHECK(reached(&gate->arrived, 2 * started), "%u of %u have gone on", atomic_load(&gate->arrived) - started, started);
    printf("  %u changes were logged, and %u made while programs may have been passed over\n", atomic_load(&gate->certain), atomic_load(&gate->uncertain));
    printf("  after: %ld losses, %ld processors uncertain\n", wire_status("losses"), wire_status("uncertain_processors"));
    CHECK(atomic_load(&gate->certain) > 0, "nothing was certain ever");
    CHECK(atomic_load(&gate->stale) == 0, "%u changes were not logged when their call returned", atomic_load(&gate->stale));
    CHECK(atomic_load(&gate->blind) == 0, "the logs of %u were dead", atomic_load(&gate->blind));
    end(started, ids);
}

static void refused(uid_t uid, unsigned most, pid_t *ids)
{
    check_says("a user is refused at last, and another one is not");
    unsigned started = start(most, 1, uid, ids);
    CHECK(reached(&gate->arrived, started), "%u of %u have arrived", atomic_load(&gate->arrived), started);
    printf("  user %u: %u granted, %u refused\n", (unsigned)uid, atomic_load(&gate->granted), atomic_load(&gate->refused));
    CHECK(atomic_load(&gate->refused) > 0, "a user may have as many as it likes");
    CHECK(atomic_load(&gate->granted) > 0, "a user gets none");
    pid_t other = check_fork();
    if (other == 0) {
        static struct wire_received received;
        if (setuid(uid + 1))
            _exit(1);
        prctl(PR_SET_DUMPABLE, 1);
        int connection = wire_enrol(ENTRIES, &received);
        CHECK(connection >= 0 && received.header.kind == WIRE_GRANT, "another user is refused: %s", received.refused.text);
        check_leave();
    }
    CHECK(check_child_succeeded(other), "another user");
    allow(1);
    end(started, ids);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"clients", required_argument, NULL, 'c'}, {"rounds", required_argument, NULL, 'r'},
                                            {"refused", required_argument, NULL, 'u'}, {NULL, 0, NULL, 0}};
    unsigned clients = 256, rounds = 20, uid = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'c': clients = (unsigned)atoi(optarg); break;
        case 'r': rounds = (unsigned)atoi(optarg); break;
        case 'u': uid = (unsigned)atoi(optarg); break;
        default: return 2;
        }
    if (clients == 0 || clients > MOST)
        return 2;
    check_watchdog(900 + clients / 2);
    int connection = wire_connect();
    if (connection < 0) {
        printf("skipped: no kdregd: %s\n", strerror(-connection));
        return CHECK_SKIPPED;
    }
    close(connection);
    gate = mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(gate != MAP_FAILED, "mmap: %s", strerror(errno));
    pid_t *ids = calloc(clients, sizeof *ids);
    if (uid)
        refused(uid, clients, ids);
    else
        crowd(clients, rounds, ids);
    free(ids);
    return check_result("crowd");
}
