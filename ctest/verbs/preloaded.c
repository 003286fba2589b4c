/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program like any other, which knows nothing of libkdreg: run with libkdreg-verbs.so in LD_PRELOAD, over the stand-in (which counts) and over
 * a real device. What it checks is what verbs promises its callers, and over the stand-in, that registrations were saved. */
#include "device.h"
#include "fake.h"

#include <pthread.h>

#define SIZE ((size_t)64 * 1024)
enum { LOCAL = IBV_ACCESS_LOCAL_WRITE };

static unsigned made(void)
{
    return fake_registrations ? fake_registrations() : 0;
}

/* Over the stand-in: so many registrations were made since `before`. */
static void made_since(unsigned before, unsigned expected, const char *what)
{
    if (fake_registrations)
        CHECK(made() - before == expected, "%s: %u registrations, expected %u", what, made() - before, expected);
}

static struct ibv_mr *reg(struct ibv_pd *pd, void *addr, size_t length, int access)
{
    struct ibv_mr *mr = ibv_reg_mr(pd, addr, length, access);
    REQUIRE(mr, "ibv_reg_mr of %zu bytes with access %#x: %s", length, access, strerror(errno));
    CHECK(mr->addr == addr && mr->length == length, "the region has the range that was asked for");
    CHECK(mr->pd == pd && mr->context == pd->context, "and the domain");
    return mr;
}

static void users(struct ibv_pd *pd)
{
    check_says("several users of one registration, each with an ibv_mr of its own");
    unsigned before = made();
    char *buffer = fresh(NULL, SIZE);
    struct ibv_mr *one = reg(pd, buffer, SIZE, 0), *two = reg(pd, buffer + 10, 100, 0);
    CHECK(one != two, "two ibv_mr");
    CHECK_IS(one->lkey, two->lkey);
    made_since(before, 1, "two users");
    CHECK_IS(ibv_dereg_mr(one), 0);
    CHECK(two->addr == buffer + 10, "the other is still there");
    CHECK_IS(ibv_dereg_mr(two), 0);
    for (int i = 0; i < 100; i++)
        CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, 0)), 0);
    made_since(before, 1, "a hundred more");
    check_says("what the device may write is one user's at a time, and found again as well");
    before = made();
    one = reg(pd, buffer, SIZE, LOCAL);
    two = reg(pd, buffer + 10, 100, LOCAL);
    CHECK(one->lkey != two->lkey, "a key of its own");
    made_since(before, 2, "two users");
    CHECK_IS(ibv_dereg_mr(one), 0);
    CHECK_IS(ibv_dereg_mr(two), 0);
    for (int i = 0; i < 100; i++)
        CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, LOCAL)), 0);
    made_since(before, 2, "a hundred more");
    check_says("nor does whoever has the buffer all the time take that from others");
    before = made();
    one = reg(pd, buffer, SIZE, LOCAL);
    for (int i = 0; i < 100; i++) {
        two = reg(pd, buffer, SIZE, LOCAL);
        CHECK(two->lkey != one->lkey, "a key of its own");
        CHECK_IS(ibv_dereg_mr(two), 0);
    }
    made_since(before, 1, "a second user, a hundred times");
    CHECK_IS(ibv_dereg_mr(one), 0);
    check_says("so many users of one buffer, and those beyond");
    enum { USERS = 64, MORE = 3 };
    struct ibv_mr *all[USERS + MORE];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < USERS + MORE; i++) {
            all[i] = reg(pd, buffer, SIZE, LOCAL);
            for (int j = 0; j < i; j++)
                CHECK(all[j]->lkey != all[i]->lkey, "a key of its own");
        }
        for (int i = 0; i < USERS + MORE; i++)
            CHECK_IS(ibv_dereg_mr(all[i]), 0);
    }
    /* Two that cover it were there. */
    made_since(before, 1 + USERS - 2 + 3 * MORE, "users at the same time");
    check_says("other rights are another registration, and so is memory that was mapped anew");
    before = made() - 1;
    struct ibv_mr *remote = reg(pd, buffer, SIZE, LOCAL | IBV_ACCESS_REMOTE_WRITE);
    uint32_t remote_key = remote->lkey;
    CHECK_IS(ibv_dereg_mr(remote), 0);
    made_since(before, 2, "remote rights");
    struct ibv_mr *local = reg(pd, buffer, SIZE, LOCAL);
    made_since(before, 2, "local rights again");
    CHECK(local->lkey != remote_key, "no wider rights than asked for");
    CHECK_IS(ibv_dereg_mr(local), 0);
    fresh(buffer, SIZE);
    CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, LOCAL)), 0);
    made_since(before, 3, "mapped anew");
    munmap(buffer, SIZE);
}

static void not_shared(struct ibv_pd *pd)
{
    check_says("what must not be shared goes through as it is");
    static const int kinds[] = {IBV_ACCESS_REMOTE_ATOMIC | LOCAL, IBV_ACCESS_REMOTE_WRITE | LOCAL, IBV_ACCESS_MW_BIND | LOCAL, IBV_ACCESS_ZERO_BASED | LOCAL,
                                IBV_ACCESS_ON_DEMAND | LOCAL};
    char *buffer = fresh(NULL, SIZE);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (int again = 0; again < 2; again++) {
            unsigned before = made();
            /* Not every device knows every kind: then it is the device's error that the program sees. */
            struct ibv_mr *mr = ibv_reg_mr(pd, buffer + 1, 100, kinds[i]);
            if (!mr) {
                CHECK(!fake_registrations && errno, "access %#x: %s", kinds[i], strerror(errno));
                continue;
            }
            made_since(before, 1, "not shared");
            if (fake_last) {
                void *addr;
                size_t length;
                uint64_t iova;
                unsigned access;
                fake_last(&addr, &length, &iova, &access);
                CHECK(addr == buffer + 1 && length == 100 && access == (unsigned)kinds[i], "as it was asked for");
            }
            CHECK_IS(ibv_dereg_mr(mr), 0);
        }
    }
    munmap(buffer, SIZE);
}

static void other_addresses(struct ibv_pd *pd)
{
    check_says("registrations that peers see at other addresses are shared with their like only");
    char *buffer = fresh(NULL, SIZE);
    unsigned before = made();
    uint64_t base = 0x100000;
    for (int i = 0; i < 3; i++) {
        struct ibv_mr *mr = ibv_reg_mr_iova(pd, buffer, SIZE, base, LOCAL);
        REQUIRE(mr, "ibv_reg_mr_iova: %s", strerror(errno));
        CHECK_IS(ibv_dereg_mr(mr), 0);
        unsigned access = LOCAL;
        mr = ibv_reg_mr_iova2(pd, buffer, SIZE, (uintptr_t)buffer, access);
        REQUIRE(mr, "ibv_reg_mr_iova2: %s", strerror(errno));
        CHECK_IS(ibv_dereg_mr(mr), 0);
    }
    made_since(before, 2, "two distances");
    munmap(buffer, SIZE);
}

/* What ibv_rereg_mr() answers without the preload: 0 where the driver has it. */
static int rereg_without(struct ibv_pd *pd, char *buffer)
{
    /* Nothing of a cache's. */
    struct ibv_mr *mr = reg(pd, buffer, SIZE, LOCAL | IBV_ACCESS_REMOTE_READ);
    errno = 0;
    int result = ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, LOCAL);
    int error = errno;
    CHECK_IS(ibv_dereg_mr(mr), 0);
    errno = error;
    return result;
}

static void rereg_refused(struct ibv_pd *pd, char *buffer, int expected, int error)
{
    check_says("a driver without ibv_rereg_mr: the same error, and nothing changed");
    for (int access = 0; access <= LOCAL; access += LOCAL) {
        struct ibv_mr *mr = reg(pd, buffer, SIZE, access), before = *mr;
        errno = 0;
        CHECK_IS(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, buffer + SIZE, SIZE, 0), expected);
        CHECK_IS(errno, error);
        CHECK(!memcmp(&before, mr, sizeof before), "the region is as it was, keys and all");
        if (fake_reach)
            CHECK(fake_reach(mr->lkey, buffer, SIZE, (unsigned)access), "and good for what it was");
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, access)), 0);
    }
}

static void rereg_done(struct ibv_pd *pd, char *buffer)
{
    check_says("a driver with ibv_rereg_mr changes a registration of its user's own");
    struct ibv_mr *mr = reg(pd, buffer, SIZE, LOCAL);
    uint32_t key = mr->lkey;
    CHECK_IS(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, buffer + SIZE, SIZE, 0), 0);
    CHECK(mr->addr == buffer + SIZE && mr->length == SIZE, "it has the new range");
    if (fake_reach) {
        CHECK(fake_reach(mr->lkey, buffer + SIZE, SIZE, LOCAL), "which its key is good for");
        CHECK(!fake_reach(key, buffer, SIZE, 0) && !fake_reach(mr->lkey, buffer, SIZE, 0), "and nothing of the old one is left");
    }
    CHECK_IS(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, LOCAL | IBV_ACCESS_REMOTE_READ), 0);
    CHECK_IS(ibv_rereg_mr(mr, 1 << 10, NULL, NULL, 0, 0), IBV_REREG_MR_ERR_INPUT);
    key = mr->lkey;
    CHECK_IS(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0), 0);
    if (fake_reach)
        CHECK(!fake_reach(key, buffer + SIZE, SIZE, LOCAL) && !fake_reach(key, buffer + SIZE, SIZE, IBV_ACCESS_REMOTE_READ),
              "rights that are revoked are gone");
    struct ibv_pd *other = alloc_pd(pd->context);
    CHECK_IS(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, other, NULL, 0, 0), 0);
    CHECK(mr->pd == other, "it is in the other domain");
    CHECK_IS(ibv_dealloc_pd(other), EBUSY);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(ibv_dealloc_pd(other), 0);
    check_says("and what others have too stays theirs");
    struct ibv_mr *one = reg(pd, buffer, SIZE, 0), *two = reg(pd, buffer, SIZE, 0);
    CHECK_IS(one->lkey, two->lkey);
    CHECK_IS(ibv_rereg_mr(one, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, LOCAL), 0);
    CHECK(one->lkey != two->lkey && two->addr == buffer, "the other user's is as it was");
    if (fake_reach)
        CHECK(!fake_reach(two->lkey, buffer, SIZE, LOCAL) && fake_reach(one->lkey, buffer, SIZE, LOCAL), "in its rights too");
    CHECK_IS(ibv_dereg_mr(one), 0);
    CHECK_IS(ibv_dereg_mr(two), 0);
}

static void rereg(struct ibv_pd *pd)
{
    char *buffer = fresh(NULL, 2 * SIZE);
    if (fake_has_rereg)
        rereg_done(pd, buffer), fake_has_rereg(0);
    int without = fake_has_rereg ? IBV_REREG_MR_ERR_CMD : rereg_without(pd, buffer);
    int error = fake_has_rereg ? EOPNOTSUPP : errno;
    if (without)
        rereg_refused(pd, buffer, without, error);
    else
        rereg_done(pd, buffer);
    if (fake_has_rereg)
        fake_has_rereg(1);
    munmap(buffer, 2 * SIZE);
}

static void domains(struct ibv_context *context)
{
    check_says("a domain can go when its last region was deregistered, and not before");
    char *buffer = fresh(NULL, SIZE);
    for (int i = 0; i < 3; i++) {
        struct ibv_pd *pd = alloc_pd(context);
        struct ibv_mr *mr = reg(pd, buffer, SIZE, LOCAL);
        CHECK_IS(ibv_dealloc_pd(pd), EBUSY);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        unsigned before = made();
        CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, LOCAL)), 0);
        made_since(before, 1, "what was idle went when the domain was to go");
        CHECK_IS(ibv_dealloc_pd(pd), 0);
    }
    munmap(buffer, SIZE);
}

static void no_memory(struct ibv_pd *pd)
{
    if (!fake_limit)
        return;
    check_says("the caches give up what is idle for a registration that needs the room");
    char *buffer = fresh(NULL, 8 * SIZE);
    CHECK_IS(ibv_dereg_mr(reg(pd, buffer, 3 * SIZE, LOCAL)), 0);
    fake_limit(4 * SIZE);
    struct ibv_mr *other = reg(pd, buffer + 4 * SIZE, 3 * SIZE, LOCAL | IBV_ACCESS_REMOTE_READ);
    CHECK_IS(ibv_dereg_mr(other), 0);
    struct ibv_mr *passed = reg(pd, buffer, 4 * SIZE, LOCAL | IBV_ACCESS_REMOTE_ATOMIC);
    errno = 0;
    CHECK(!ibv_reg_mr(pd, buffer, SIZE, LOCAL) && errno == ENOMEM, "what is in use is not given up");
    CHECK_IS(ibv_dereg_mr(passed), 0);
    fake_limit(0);
    munmap(buffer, 8 * SIZE);
}

static void twice(struct ibv_pd *pd)
{
    check_says("deregistering twice is an error, not a crash; so is a child's that its parent's registrations do not suffer by");
    char *buffer = fresh(NULL, SIZE);
    struct ibv_mr *mr = reg(pd, buffer, SIZE, LOCAL);
    pid_t child = fork();
    if (child == 0) {
        int err = ibv_dereg_mr(mr);
        /* Its own registrations are nobody else's. */
        unsigned before = made();
        if (!err && fake_registrations)
            err = !(mr = ibv_reg_mr(pd, buffer, SIZE, LOCAL)) || made() != before + 1 || ibv_dereg_mr(mr);
        _exit(err);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    if (fake_live)
        CHECK(fake_live() > 0, "the registration is still there");
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(ibv_dereg_mr(mr), EINVAL);
    munmap(buffer, SIZE);
}

static atomic_uint unchanged, reused;

/* One thread's buffer, mapped anew now and then. A lookup that cannot be proven in time, since other threads' changes are under way, is served
 * by a registration of its own: the memory is always the right one, and seldom registered without need. */
static void *in_a_thread(void *of)
{
    struct ibv_pd *pd = of;
    /* No neighbour of another thread's, with which it would be registered as one. */
    char *around = fresh(NULL, 3 * SIZE), *buffer = around + SIZE;
    uint32_t key = 0, parts = 0;
    for (int i = 0; i < 400; i++) {
        bool changed = i % 8 == 0;
        if (changed)
            fresh(buffer, SIZE);
        struct ibv_mr *mr = reg(pd, buffer, SIZE, LOCAL), *other = reg(pd, buffer + 4096, 4096, 0);
        uint32_t part = other->lkey;
        if (fake_registrations && changed)
            CHECK(mr->lkey != key && part != parts, "transfer %d: keys %#x and %#x after %#x, of memory that is gone", i, mr->lkey, part, key);
        atomic_fetch_add(&unchanged, 2 * !changed);
        atomic_fetch_add(&reused, (unsigned)(!changed && part == parts) + (!changed && mr->lkey == key));
        key = mr->lkey;
        parts = part;
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK_IS(ibv_dereg_mr(other), 0);
    }
    munmap(around, 3 * SIZE);
    return NULL;
}

static void threads(struct ibv_pd *pd)
{
    check_says("threads that register, deregister and map anew at the same time");
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, in_a_thread, pd) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    printf("    %u of %u registrations of unchanged memory were those before\n", atomic_load(&reused), atomic_load(&unchanged));
    if (fake_registrations)
        CHECK(atomic_load(&reused) >= atomic_load(&unchanged) / 2, "that is less than half");
}

int main(int argc, char **argv)
{
    check_watchdog(240);
    struct ibv_context *context = open_device();
    struct ibv_pd *pd = alloc_pd(context);
    char *buffer = fresh(NULL, SIZE);
    if (argc > 1 && strcmp(argv[1], "uncached") == 0) {
        /* No monitor, or switched off: as without the preload. */
        unsigned before = made();
        for (int i = 0; i < 10; i++)
            CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, LOCAL)), 0);
        made_since(before, 10, "uncached");
    } else {
        users(pd);
        not_shared(pd);
        other_addresses(pd);
        rereg(pd);
        domains(context);
        no_memory(pd);
        twice(pd);
        threads(pd);
        check_says("a device can be closed with registrations idle in it");
        CHECK_IS(ibv_dereg_mr(reg(pd, buffer, SIZE, LOCAL)), 0);
    }
    if (argc > 1 && strcmp(argv[1], "unclean") == 0)
        pd = NULL; /* Programs end without deallocating, too. */
    else
        CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    if (fake_live)
        CHECK_IS(fake_live(), 0);
    munmap(buffer, SIZE);
    return check_result("preloaded");
}
