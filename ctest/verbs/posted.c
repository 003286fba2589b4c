/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Work that is posted when its registration is given back, under libkdreg-verbs.so: what comes then must come nowhere. And programs that
 * wait for their work before they give back, whose registrations must stay. Over the stand-in, where the test is the card.
 *
 *   posted           with the rights of peers gone when they are given back
 *   posted keep      with KDREG_VERBS_KEEP_REMOTE */
#include "posting.h"

#include <pthread.h>
#include <stdatomic.h>

static void ordinary(void)
{
    check_says("register, transfer, wait, deregister, and again: one registration");
    struct ibv_qp *qp = make_qp(false, false), *all = make_qp(false, true);
    unsigned before = fake_registrations();
    for (int i = 0; i < 50; i++) {
        struct ibv_mr *mr = reg(LOCAL);
        CHECK_IS(post_receive(qp, mr), 0);
        CHECK_IS(fake_arrive(qp, i), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        mr = reg(LOCAL);
        post_read(qp, mr, true);
        CHECK_IS(fake_answer(qp, i), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        mr = reg(LOCAL);
        post_read_in_pieces(qp, mr, true);
        CHECK_IS(fake_answer(qp, i), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        mr = reg(LOCAL);
        post_read(all, mr, false);
        CHECK_IS(fake_answer(all, i), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(mr), 0);
    }
    CHECK_IS(fake_registrations() - before, 1);
    CHECK_IS(ibv_destroy_qp(qp), 0);
    CHECK_IS(ibv_destroy_qp(all), 0);
}

/* Given back with a receive posted: what comes is stopped, and the memory is its next owner's. */
static void receives(bool shared)
{
    check_says(shared ? "a receive in a shared queue" : "a receive");
    struct ibv_qp *qp = make_qp(shared, false);
    struct ibv_mr *mr = reg(LOCAL);
    uint32_t key = mr->lkey;
    CHECK_IS(post_receive(qp, mr), 0);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "the key is good for nothing");
    comes_nowhere(qp, arrive);
    check_says("  and the second of two, of which one has completed");
    mr = reg(LOCAL);
    key = mr->lkey;
    CHECK_IS(post_receive(qp, mr), 0);
    CHECK_IS(post_receive(qp, mr), 0);
    CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_SUCCESS);
    CHECK_IS(polled(), IBV_WC_SUCCESS);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "one is outstanding");
    check_says("  and one that has completed, but nobody has polled that");
    mr = reg(LOCAL);
    key = mr->lkey;
    CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_LOC_PROT_ERR);
    CHECK_IS(post_receive(qp, mr), 0);
    CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_SUCCESS);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "a completion that was not polled is not known");
    CHECK_IS(polled(), IBV_WC_LOC_PROT_ERR);
    CHECK_IS(polled(), IBV_WC_SUCCESS);
    CHECK_IS(ibv_destroy_qp(qp), 0);
}

static void reads(void)
{
    check_says("a read, in both ways of posting it");
    struct ibv_qp *qp = make_qp(false, false);
    void (*const ways[])(struct ibv_qp *, struct ibv_mr *, bool) = {post_read, post_read_in_pieces};
    for (int way = 0; way < 2; way++) {
        struct ibv_mr *mr = reg(LOCAL);
        uint32_t key = mr->lkey;
        ways[way](qp, mr, true);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(is_gone(key), "an answer is outstanding");
        CHECK_IS(fake_answer(qp, 'x'), IBV_WC_LOC_PROT_ERR);
        CHECK_IS(polled(), IBV_WC_LOC_PROT_ERR);
    }
    check_says("  and without a completion of its own");
    for (int way = 0; way < 2; way++) {
        struct ibv_mr *mr = reg(LOCAL);
        uint32_t key = mr->lkey;
        ways[way](qp, mr, false);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(is_gone(key), "nobody knows when it is done");
    }
    CHECK_IS(ibv_destroy_qp(qp), 0);
    check_says("  one, and one with a completion before it");
    qp = make_qp(false, false);
    struct ibv_mr *mr = reg(LOCAL);
    uint32_t key = mr->lkey;
    post_read(qp, mr, true);
    post_read(qp, mr, false);
    CHECK_IS(fake_answer(qp, 'x'), IBV_WC_SUCCESS);
    CHECK_IS(polled(), IBV_WC_SUCCESS);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "the second is outstanding");
    CHECK_IS(ibv_destroy_qp(qp), 0);
    check_says("  one without, and then one with: when that has completed nobody knows of which it was");
    qp = make_qp(false, false);
    mr = reg(LOCAL);
    key = mr->lkey;
    post_read(qp, mr, false);
    post_read(qp, mr, true);
    post_read(qp, mr, true);
    CHECK_IS(fake_answer(qp, 'x'), IBV_WC_SUCCESS);
    CHECK_IS(fake_answer(qp, 'x'), IBV_WC_SUCCESS);
    CHECK_IS(polled(), IBV_WC_SUCCESS);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "the third is outstanding");
    CHECK_IS(ibv_destroy_qp(qp), 0);
}

static void errors(void)
{
    check_says("an error, of which nobody knows what it was, is not what a receive waits for");
    struct ibv_qp *qp = make_qp(false, false);
    struct ibv_mr *mr = reg(LOCAL), *other = reg(LOCAL);
    uint32_t key = mr->lkey;
    CHECK_IS(post_receive(qp, mr), 0);
    post_read(qp, other, true);
    CHECK_IS(ibv_dereg_mr(other), 0);
    CHECK_IS(fake_answer(qp, 'x'), IBV_WC_LOC_PROT_ERR);
    CHECK_IS(polled(), IBV_WC_LOC_PROT_ERR);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "the receive is outstanding");
    CHECK_IS(ibv_destroy_qp(qp), 0);
}

static void refused(void)
{
    check_says("what the driver refused was not posted");
    struct ibv_qp *qp = make_qp(false, false);
    unsigned before = fake_registrations();
    for (int round = 0; round < 3; round++) {
        struct ibv_mr *mr = reg(LOCAL);
        int number = 0;
        while (post_receive(qp, mr) == 0)
            number++;
        CHECK(number == 16, "%d receives fit", number);
        while (number--) {
            CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_SUCCESS);
            CHECK_IS(polled(), IBV_WC_SUCCESS);
        }
        CHECK_IS(ibv_dereg_mr(mr), 0);
    }
    CHECK(fake_registrations() - before <= 1, "all were done, and it stayed");
    check_says("nor was what a program gave up");
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp);
    struct ibv_mr *mr = reg(LOCAL);
    before = fake_registrations();
    ibv_wr_start(ex);
    ex->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_rdma_read(ex, 0, 0);
    ibv_wr_set_sge(ex, mr->lkey, (uintptr_t)buffer, SIZE);
    ibv_wr_abort(ex);
    post_read(qp, mr, true);
    CHECK_IS(fake_answer(qp, 'x'), IBV_WC_SUCCESS);
    CHECK_IS(polled(), IBV_WC_SUCCESS);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK_IS(ibv_dereg_mr(reg(LOCAL)), 0);
    CHECK_IS(fake_registrations() - before, 0);
    CHECK_IS(ibv_destroy_qp(qp), 0);
}

static void destroyed(void)
{
    check_says("with its queue goes what was posted to it");
    for (int i = 0; i < 3; i++) {
        struct ibv_qp *qp = make_qp(false, false);
        struct ibv_mr *mr = reg(LOCAL);
        uint32_t key = mr->lkey;
        CHECK_IS(post_receive(qp, mr), 0);
        CHECK_IS(ibv_destroy_qp(qp), 0);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(!is_gone(key), "nothing is outstanding: it stays");
    }
}

static void users(void)
{
    check_says("what the card may write is one user's at a time");
    struct ibv_qp *qp = make_qp(false, false);
    struct ibv_mr *one = reg(LOCAL), *two = reg(LOCAL);
    uint32_t key = one->lkey;
    CHECK(one->lkey != two->lkey, "a key of its own");
    CHECK_IS(post_receive(qp, one), 0);
    CHECK_IS(ibv_dereg_mr(one), 0);
    CHECK(is_gone(key), "the other user is no reason to keep it");
    CHECK(!is_gone(two->lkey), "and the other's is there");
    CHECK_IS(ibv_dereg_mr(two), 0);
    CHECK_IS(ibv_destroy_qp(qp), 0);
    struct ibv_mr *first = reg(0), *second = reg(0);
    CHECK_IS(first->lkey, second->lkey);
    CHECK_IS(ibv_dereg_mr(first), 0);
    CHECK_IS(ibv_dereg_mr(second), 0);
}

static void peers(bool keep)
{
    check_says(keep ? "what peers may do stays, as KDREG_VERBS_KEEP_REMOTE says" : "what peers may do ends");
    static const int kinds[] = {REMOTE, LOCAL | IBV_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_READ, REMOTE | IBV_ACCESS_REMOTE_ATOMIC};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned before = fake_registrations();
        for (int again = 0; again < 3; again++) {
            struct ibv_mr *mr = reg(kinds[i]);
            uint32_t key = mr->rkey;
            CHECK(fake_reach(key, buffer, SIZE, (unsigned)kinds[i]), "peers have what they were given");
            CHECK_IS(ibv_dereg_mr(mr), 0);
            CHECK_IS(fake_reach(key, buffer, SIZE, (unsigned)kinds[i]), keep);
        }
        CHECK_IS(fake_registrations() - before, keep ? 1 : 3);
    }
    if (keep) {
        check_says("  but not while work is outstanding");
        struct ibv_qp *qp = make_qp(false, false);
        struct ibv_mr *mr = reg(REMOTE);
        uint32_t key = mr->lkey;
        CHECK_IS(post_receive(qp, mr), 0);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(is_gone(key), "a receive is posted");
        CHECK_IS(ibv_destroy_qp(qp), 0);
    }
}

enum { THREADS = 4, ROUNDS = 1500 };
static atomic_uint done[THREADS], saved;

/* Whose completions come is not known: all are in one queue, and each thread polls it. */
static void poll_any(void)
{
    struct ibv_wc wc;
    if (ibv_poll_cq(cq, 1, &wc) == 1)
        atomic_fetch_add(&done[wc.wr_id], 1);
}

static void *in_a_thread(void *of)
{
    unsigned self = (unsigned)(uintptr_t)of, seed = self + 1, expected = 0;
    char *mine = fresh(NULL, SIZE);
    uint32_t last = 0;
    struct ibv_qp *qp = make_qp(false, false);
    for (int i = 0; i < ROUNDS; i++) {
        struct ibv_mr *mr = ibv_reg_mr(pd, mine, SIZE, LOCAL);
        REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
        uint32_t key = mr->lkey;
        struct ibv_sge sge = {.addr = (uintptr_t)mine, .length = 64, .lkey = key};
        struct ibv_recv_wr wr = {.wr_id = self, .sg_list = &sge, .num_sge = 1}, *bad;
        CHECK_IS(ibv_post_recv(qp, &wr, &bad), 0);
        bool early = rand_r(&seed) % 8 == 0;
        if (!early) {
            CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_SUCCESS);
            for (expected++; atomic_load(&done[self]) < expected;)
                poll_any();
            atomic_fetch_add(&saved, key == last);
        }
        CHECK_IS(ibv_dereg_mr(mr), 0);
        last = key;
        if (early) {
            memset(mine, '.', 64);
            CHECK_IS(fake_arrive(qp, 'x'), IBV_WC_LOC_PROT_ERR);
            CHECK(mine[0] == '.' && mine[63] == '.', "round %d: the next owner's memory was written to", i);
            for (expected++; atomic_load(&done[self]) < expected;)
                poll_any();
            CHECK_IS(ibv_destroy_qp(qp), 0);
            qp = make_qp(false, false);
        }
    }
    CHECK_IS(ibv_destroy_qp(qp), 0);
    munmap(mine, SIZE);
    return NULL;
}

static void threads(void)
{
    check_says("threads that poll each other's completions");
    pthread_t thread[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, in_a_thread, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("    %u of %u registrations were the one before\n", atomic_load(&saved), THREADS * ROUNDS);
    CHECK(atomic_load(&saved) > THREADS * ROUNDS / 2, "most are");
}

int main(int argc, char **argv)
{
    check_watchdog(120);
    bool keep = argc > 1 && strcmp(argv[1], "keep") == 0;
    open_queues();
    ordinary();
    receives(false);
    receives(true);
    reads();
    errors();
    refused();
    destroyed();
    users();
    peers(keep);
    threads();
    close_queues();
    return check_result("posted");
}
