/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* phases [--rounds N]
 * Clients of kdregd that end, are killed, or say what is no sense, in every phase of their lives. Meanwhile others work, for whom nothing may
 * change; and afterwards nothing is left of them in kdregd. */
#include <getopt.h>

#include "../check.h"
#include "wire.h"
#include "worker.h"

enum { WORKERS = 2, ENTRIES = 64 };

/* How far a client gets before it is killed by itself. */
enum phase { CONNECTED, HALF, HELLO, CHALLENGED, PROVEN, GRANTED, MAPPED, CHANGING, PHASES };
static const char *const names[PHASES] = {"connected", "in the middle of a message", "has asked", "was challenged", "has answered", "was granted", "has mapped its log",
                                          "changes what is logged"};

static void die(void)
{
    raise(SIGKILL);
}

static void until(enum phase phase)
{
    static struct wire_received received;
    int connection = wire_connect();
    if (connection < 0)
        _exit(1);
    if (phase == CONNECTED)
        die();
    struct wire_hello hello = wire_hello(ENTRIES);
    if (wire_send(connection, &hello, phase == HALF ? sizeof hello / 2 : sizeof hello))
        _exit(1);
    if (phase == HALF || phase == HELLO)
        die();
    wire_receive(connection, &received);
    if (received.length < (long)sizeof received.challenge || received.header.kind != WIRE_CHALLENGE)
        _exit(1);
    uint32_t mode = received.challenge.modes & 1 << WIRE_FLUSH ? WIRE_FLUSH : WIRE_NOTIFIER;
    if (mode == WIRE_NOTIFIER)
        wire_subscribe();
    if (phase == CHALLENGED)
        die();
    struct wire_proof proof = wire_proof(received.challenge.nonce, mode);
    if (wire_send(connection, &proof, sizeof proof))
        _exit(1);
    if (phase == PROVEN)
        die();
    wire_receive(connection, &received);
    if (received.length < (long)sizeof received.grant || received.header.kind != WIRE_GRANT || received.fd_count < 3)
        _exit(1);
    if (phase == GRANTED)
        die();
    const volatile uint64_t *log = mmap(NULL, (received.grant.log_bytes + 4095) & ~4095ull, PROT_READ, MAP_SHARED, received.fds[0], 0);
    if (log == MAP_FAILED)
        _exit(1);
    if (phase == MAPPED)
        die();
    uint64_t tail = log[0];
    for (int i = 0; i < 3; i++) {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *(volatile char *)page = 1;
        munmap(page, 4096);
    }
    if (log[0] == tail)
        _exit(1);
    die();
}

static bool was_killed(pid_t child)
{
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void killed_by_phase(unsigned rounds)
{
    check_says("a client is killed once it is %s, ... %s", names[0], names[PHASES - 1]);
    for (unsigned i = 0; i < rounds * PHASES; i++) {
        pid_t child = check_fork();
        if (child == 0) {
            until((enum phase)(i % PHASES));
            _exit(1);
        }
        CHECK(was_killed(child), "a client that %s did not get so far", names[i % PHASES]);
    }
}

/* Anywhere at all: the library's own enrolment, its lookups, its end. */
static void killed_at_random(const struct plan *plan, unsigned rounds)
{
    check_says("a client of the library's is killed at any moment, %u times", rounds);
    for (unsigned i = 0; i < rounds; i++) {
        struct plan doomed = *plan;
        doomed.seed = 5000 + i;
        doomed.threads = 1 + i % 2;
        pid_t child = worker_start(&doomed);
        struct timespec pause = {0, (long)(i * 7919 % 40000) * 1000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        CHECK(was_killed(child), "it ended otherwise");
    }
}

/* Sends something instead of a message, or of a proof. It is refused, or the connection is closed; nothing is granted. */
static void nonsense(const char *what, const void *bytes, size_t length, bool as_proof)
{
    static struct wire_received received;
    int connection = wire_connect();
    CHECK(connection >= 0, "connect: %s", strerror(-connection));
    if (as_proof) {
        struct wire_hello hello = wire_hello(ENTRIES);
        wire_send(connection, &hello, sizeof hello);
        wire_receive(connection, &received);
        CHECK(received.length > 0 && received.header.kind == WIRE_CHALLENGE, "no challenge, but %ld", received.length);
    }
    wire_send(connection, bytes, length);
    wire_receive(connection, &received);
    bool refused = received.length >= (long)sizeof received.refused && received.header.kind == WIRE_REFUSED && received.refused.status < 0;
    CHECK(received.length == 0 || received.length == -ECONNRESET || refused, "%s is answered by message %u of %ld bytes", what, received.header.kind, received.length);
    CHECK_IS(received.fd_count, 0);
    wire_close(&received);
    close(connection);
}

static void senseless(void)
{
    check_says("what is no sense is refused");
    struct wire_hello hello = wire_hello(ENTRIES);
    nonsense("an empty word", "\0\0\0\0", 4, false);
    nonsense("half a message", &hello, 12, false);
    hello.header.size = sizeof hello + 8;
    nonsense("a message that says it is longer", &hello, sizeof hello, false);
    hello = wire_hello(ENTRIES);
    hello.header.kind = 99;
    nonsense("an unknown message", &hello, sizeof hello, false);
    hello = wire_hello(ENTRIES);
    hello.version = 99;
    nonsense("another version", &hello, sizeof hello, false);
    struct wire_proof proof = wire_proof(0, WIRE_FLUSH);
    nonsense("no number", &proof, sizeof proof, true);
    proof = wire_proof(1, WIRE_FLUSH);
    nonsense("the wrong number", &proof, sizeof proof, true);
    proof = wire_proof(1, 77);
    nonsense("an unknown mode", &proof, sizeof proof, true);
    hello = wire_hello(ENTRIES);
    nonsense("the question again", &hello, sizeof hello, true);
}

/* The memory of another process than the one that connected. */
static void somebody_else(void)
{
    check_says("nobody is given the log of another's memory");
    static struct wire_received received;
    int connection = wire_connect();
    REQUIRE(connection >= 0, "connect: %s", strerror(-connection));
    pid_t child = check_fork();
    if (child == 0) {
        struct wire_hello hello = wire_hello(ENTRIES);
        wire_send(connection, &hello, sizeof hello);
        wire_receive(connection, &received);
        struct wire_proof proof = wire_proof(received.challenge.nonce, WIRE_FLUSH);
        wire_send(connection, &proof, sizeof proof);
        wire_receive(connection, &received);
        CHECK(received.length <= 0 || received.header.kind == WIRE_REFUSED, "it is answered by message %u", received.header.kind);
        CHECK_IS(received.fd_count, 0);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "a child gets its parent's log");
    close(connection);
}

/* A number that was told, and what comes when it is sent back: nothing is granted but to the process that connected, while it is what it was. */
static int challenged(uint64_t *nonce)
{
    static struct wire_received received;
    int connection = wire_connect();
    struct wire_hello hello = wire_hello(ENTRIES);
    wire_send(connection, &hello, sizeof hello);
    wire_receive(connection, &received);
    if (received.length < (long)sizeof received.challenge || received.header.kind != WIRE_CHALLENGE)
        return -1;
    *nonce = received.challenge.nonce;
    return connection;
}

static bool is_refused(int connection, uint64_t nonce)
{
    static struct wire_received received;
    struct wire_proof proof = wire_proof(nonce, WIRE_FLUSH);
    wire_send(connection, &proof, sizeof proof);
    wire_receive(connection, &received);
    bool refused = received.length >= (long)sizeof received.refused && received.header.kind == WIRE_REFUSED && received.fd_count == 0;
    /* For who it is and what it was, not for the mode. */
    return refused && (received.refused.status == -EACCES || received.refused.status == -ESRCH);
}

static void answered_by_another(void)
{
    check_says("a child that knows the number cannot answer for its parent, nor a program for what the process was before");
    uint64_t nonce = 0;
    int connection = challenged(&nonce);
    REQUIRE(connection >= 0, "no challenge");
    pid_t child = check_fork();
    if (child == 0)
        _exit(!is_refused(connection, nonce));
    CHECK(check_child_succeeded(child), "a child answers for its parent");
    close(connection);
    child = check_fork();
    if (child == 0) {
        char fd[16], number[32];
        connection = challenged(&nonce);
        fcntl(connection, F_SETFD, 0);
        snprintf(fd, sizeof fd, "%d", connection);
        snprintf(number, sizeof number, "%llu", (unsigned long long)nonce);
        execl("/proc/self/exe", "phases", "--answer", fd, number, (char *)NULL);
        _exit(1);
    }
    CHECK(check_child_succeeded(child), "a program is given the log of what was asked for before it was executed");
}

static void once_each(void)
{
    check_says("an address space has one log; another follows when the connection was closed, and it ends with exec");
    static struct wire_received first, second;
    int one = wire_enrol(ENTRIES, &first), two = wire_enrol(ENTRIES, &second);
    CHECK(one >= 0 && first.length > 0 && first.header.kind == WIRE_GRANT, "not granted: %s", one < 0 ? strerror(-one) : first.refused.text);
    CHECK(two >= 0 && second.header.kind == WIRE_REFUSED && second.refused.status == -EBUSY, "the second is answered by message %u", second.header.kind);
    close(two);
    close(one);
    wire_close(&first);
    bool again = false;
    for (int i = 0; i < 2000 && !again; i++) {
        one = wire_enrol(ENTRIES, &first);
        again = first.header.kind == WIRE_GRANT;
        wire_close(&first);
        close(one);
        check_sleep_ms(again ? 0 : 5);
    }
    CHECK(again, "it is not granted again");
    pid_t child = check_fork();
    if (child == 0) {
        one = wire_enrol(ENTRIES, &first);
        fcntl(one, F_SETFD, 0); /* the connection lives on, and the memory does not */
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK(check_child_succeeded(child), "exec");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"rounds", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
    unsigned rounds = 5;
    if (argc == 4 && !strcmp(argv[1], "--answer"))
        return !is_refused(atoi(argv[2]), strtoull(argv[3], NULL, 10));
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'r' || (rounds = (unsigned)atoi(optarg)) == 0)
            return 2;
    }
    check_watchdog(600 + rounds * 30);
    int connection = wire_connect();
    if (connection < 0) {
        printf("skipped: no kdregd: %s\n", strerror(-connection));
        return CHECK_SKIPPED;
    }
    close(connection);
    atomic_bool *stop;
    struct plan plan = {.threads = 1, .cpu = -1};
    plan.counts = counts_make(&stop);
    plan.stop = stop;
    pid_t workers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        plan.seed = i;
        workers[i] = worker_start(&plan);
    }
    CHECK_EVENTUALLY(atomic_load(&plan.counts->ready) == WORKERS, 120, "those who work do not begin");
    struct counts ours;
    killed_by_phase(rounds);
    senseless();
    somebody_else();
    answered_by_another();
    once_each();
    counts_copy(&ours, plan.counts);
    counts_say("meanwhile", plan.counts, NULL);
    CHECK(atomic_load(&ours.certain) > 0, "nothing was certain for those who work");
    killed_at_random(&plan, 4 * rounds);
    CHECK_EVENTUALLY(wire_status("client_count") == WORKERS, 60, "kdregd says there are %ld clients, not %d", wire_status("client_count"), WORKERS);
    atomic_store(stop, true);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK(check_child_succeeded(workers[i]), "one of those who work failed");
    counts_say("in all", plan.counts, NULL);
    CHECK_IS(atomic_load(&plan.counts->undetected), 0);
    CHECK_IS(atomic_load(&plan.counts->failed), 0);
    CHECK_EVENTUALLY(wire_status("client_count") == 0, 60, "kdregd says there are %ld clients still", wire_status("client_count"));
    return check_result("phases");
}
