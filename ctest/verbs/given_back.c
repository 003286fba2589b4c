/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Programs that post beside what is usual, under libkdreg-verbs.so: more than a queue takes, by keys that they have given back, to queues
 * whose numbers others had. What comes then must come where it would have come without it. Over the stand-in, where the test is the card. */
#include "posting.h"

#include <pthread.h>
#include <stdatomic.h>

static void read_until_refused_in_pieces(struct ibv_qp *qp, struct ibv_mr *mr)
{
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp);
    int error = 0;
    while (!error) {
        ibv_wr_start(ex);
        ex->wr_flags = IBV_SEND_SIGNALED;
        ibv_wr_rdma_read(ex, 0, 0);
        ibv_wr_set_sge(ex, mr->lkey, (uintptr_t)buffer, SIZE);
        error = ibv_wr_complete(ex);
    }
}

static void read_until_refused(struct ibv_qp *qp, struct ibv_mr *mr)
{
    struct ibv_sge sge = {.addr = (uintptr_t)buffer, .length = SIZE, .lkey = mr->lkey};
    struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED}, *bad;
    while (ibv_post_send(qp, &wr, &bad) == 0)
        ;
}

static void receive_until_refused(struct ibv_qp *qp, struct ibv_mr *mr)
{
    while (post_receive(qp, mr) == 0)
        ;
}

/* Posts until the queue is full: what was refused last is no reason to forget what was not. */
static void full(bool mute)
{
    check_says(mute ? "a queue that is full, whose driver does not say which request it refuses" : "a queue that is full");
    fake_mute(mute);
    static const struct {
        void (*post)(struct ibv_qp *, struct ibv_mr *);
        int (*done)(struct ibv_qp *);
    } fill[] = {{receive_until_refused, arrive}, {read_until_refused, answer}, {read_until_refused_in_pieces, answer}};
    for (size_t way = 0; way < sizeof fill / sizeof *fill; way++)
        for (int done = 0; done < 3; done++) {
            struct ibv_qp *qp = make_qp(false, false);
            struct ibv_mr *mr = reg(LOCAL);
            uint32_t key = mr->lkey;
            fill[way].post(qp, mr);
            for (int i = 0; i < done; i++) {
                CHECK_IS(fill[way].done(qp), IBV_WC_SUCCESS);
                CHECK_IS(polled(), IBV_WC_SUCCESS);
            }
            CHECK_IS(ibv_dereg_mr(mr), 0);
            CHECK(is_gone(key), "way %zu, %d of 16 done: the rest is outstanding", way, done);
            comes_nowhere(qp, fill[way].done);
            CHECK_IS(ibv_destroy_qp(qp), 0);
        }
    fake_mute(false);
}

/* Completions of a queue pair that is gone, for which nothing was posted but to a shared queue, and another that has its number. */
static void numbers(void)
{
    check_says("a queue pair with the number of one that left a completion behind");
    for (int seen = 0; seen < 2; seen++) {
        struct ibv_qp *old = make_qp(true, false);
        struct ibv_mr *mr = reg(LOCAL);
        CHECK_IS(post_receive(old, mr), 0);
        if (seen)
            post_read(old, mr, false);
        CHECK_IS(fake_arrive(old, 'x'), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        fake_next_number(old->qp_num);
        CHECK_IS(ibv_destroy_qp(old), 0);
        struct ibv_qp *qp = make_qp(false, false);
        mr = reg(LOCAL);
        uint32_t key = mr->lkey;
        CHECK_IS(post_receive(qp, mr), 0);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(is_gone(key), "its receive is outstanding, whatever came for the other");
        CHECK_IS(ibv_destroy_qp(qp), 0);
    }
}

/* Queues beyond those that can be known, and then others in their place: FILL of them leave none free. */
static void crowded(void)
{
    check_says("queues beyond those that can be known");
    enum { FILL = 40000, FIRST = 1 << 20 };
    struct ibv_mr *other = reg(LOCAL);
    struct ibv_qp *many = make_qp(false, false);
    /* One that the driver has, under each number in turn. */
    for (unsigned i = 0; i < FILL; i++) {
        many->qp_num = FIRST + i;
        CHECK_IS(post_receive(many, other), 0);
        CHECK_IS(fake_arrive(many, 'x'), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
    }
    struct ibv_qp *same = make_qp(false, false), *old = make_qp(false, false), *crowded[] = {same, old};
    for (int i = 0; i < 2; i++) {
        CHECK_IS(post_receive(crowded[i], other), 0);
        post_read(crowded[i], other, true);
        CHECK_IS(fake_arrive(crowded[i], 'x'), IBV_WC_SUCCESS);
        CHECK_IS(fake_answer(crowded[i], 'x'), IBV_WC_SUCCESS);
    }
    CHECK_IS(ibv_dereg_mr(other), 0);
    fake_next_number(old->qp_num);
    CHECK_IS(ibv_destroy_qp(old), 0);
    old = make_qp(false, false);
    many->qp_num = FIRST;
    CHECK_IS(ibv_destroy_qp(many), 0);
    for (unsigned i = 1; i < FILL; i++) {
        fake_next_number(FIRST + i);
        CHECK_IS(ibv_destroy_qp(make_qp(false, false)), 0);
    }
    /* For which there is a place now, and of which four completions are there that were not for this. */
    struct ibv_qp *now[] = {same, old};
    for (int i = 0; i < 2; i++) {
        struct ibv_mr *received = reg(LOCAL), *read = reg(LOCAL);
        uint32_t keys[] = {received->lkey, read->lkey};
        CHECK_IS(post_receive(now[i], received), 0);
        post_read(now[i], read, true);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        CHECK_IS(ibv_dereg_mr(received), 0);
        CHECK_IS(ibv_dereg_mr(read), 0);
        CHECK(is_gone(keys[0]), "%d: its receive is outstanding, whatever came before", i);
        CHECK(is_gone(keys[1]), "%d: its read is outstanding, whatever came before", i);
        CHECK_IS(ibv_destroy_qp(now[i]), 0);
    }
}

/* Posted by a registration that no cache had, whose key the driver gives the next one: what comes by it comes by the next one's rights. */
static void again(bool shared)
{
    check_says(shared ? "a key that the driver gives again, in a shared queue" : "a key that the driver gives again");
    for (int way = 0; way < (shared ? 1 : WAYS); way++) {
        struct ibv_qp *qp = make_qp(shared, false);
        struct ibv_mr *mr = reg(REMOTE);
        uint32_t key = mr->lkey;
        ways[way].post(qp, mr, true);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(is_gone(key), "what peers may do ends");
        /* Memory that no cache has, so that the next is made by the driver. */
        munmap(buffer, SIZE);
        buffer = fresh(NULL, SIZE);
        fake_next_key(key);
        mr = reg(LOCAL);
        CHECK_IS(mr->lkey, key);
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(is_gone(key), "%s: by this key work is outstanding", ways[way].name);
        comes_nowhere(qp, ways[way].done);
        CHECK_IS(ibv_destroy_qp(qp), 0);
    }
}

/* Posted after it was given back: refused by the card, as nobody has the key. */
static void late(bool shared)
{
    check_says(shared ? "a key that was given back, in a shared queue" : "a key that was given back");
    for (int way = 0; way < (shared ? 1 : WAYS); way++) {
        struct ibv_qp *qp = make_qp(shared, false);
        struct ibv_mr *mr = reg(LOCAL), copy = *mr;
        /* Any other is done, so it stays. */
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(shared || !is_gone(copy.lkey), "it stays");
        ways[way].post(qp, &copy, true);
        CHECK(is_gone(copy.lkey), "the key is good for nothing");
        comes_nowhere(qp, ways[way].done);
        /* And the memory can be registered again. */
        mr = reg(LOCAL);
        CHECK(!is_gone(mr->lkey), "a registration of its own");
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK_IS(ibv_destroy_qp(qp), 0);
    }
}

enum { ROUNDS = 4000 };
static pthread_barrier_t meet;
static struct ibv_mr *_Atomic given;
static struct ibv_qp *racing;

static void *post_meanwhile(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&meet);
        struct ibv_mr copy = *atomic_load(&given);
        pthread_barrier_wait(&meet);
        CHECK_IS(post_receive(racing, &copy), 0);
        pthread_barrier_wait(&meet);
    }
    return unused;
}

/* One thread posts while another gives back: whichever was first, what comes after both comes nowhere. */
static void race(void)
{
    check_says("a key that is given back while another thread posts it");
    pthread_t thread;
    pthread_barrier_init(&meet, NULL, 2);
    racing = make_qp(false, false);
    REQUIRE(pthread_create(&thread, NULL, post_meanwhile, NULL) == 0, "pthread_create");
    for (int i = 0; i < ROUNDS; i++) {
        struct ibv_mr *mr = reg(LOCAL);
        uint32_t key = mr->lkey;
        atomic_store(&given, mr);
        pthread_barrier_wait(&meet);
        pthread_barrier_wait(&meet);
        for (volatile int wait = i % 400; wait > 0; wait--)
            ;
        CHECK_IS(ibv_dereg_mr(mr), 0);
        pthread_barrier_wait(&meet);
        CHECK(is_gone(key), "round %d: the key is good for nothing", i);
        CHECK_IS(fake_arrive(racing, 'x'), IBV_WC_LOC_PROT_ERR);
        CHECK_IS(polled(), IBV_WC_LOC_PROT_ERR);
        /* An error says nothing of its queue. */
        CHECK_IS(ibv_destroy_qp(racing), 0);
        racing = make_qp(false, false);
    }
    pthread_join(thread, NULL);
    CHECK_IS(ibv_destroy_qp(racing), 0);
}

/* What is posted by another context, to which this one's domain was brought, is not seen. */
static void imported(void)
{
    check_says("a device that was imported");
    struct ibv_mr *mr = reg(LOCAL);
    uint32_t key = mr->lkey;
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(!is_gone(key), "before, it stays");
    struct ibv_context *second = ibv_import_device(context->cmd_fd);
    REQUIRE(second, "ibv_import_device: %s", strerror(errno));
    CHECK(is_gone(key), "what stayed is gone");
    mr = reg(LOCAL);
    key = mr->lkey;
    CHECK_IS(ibv_dereg_mr(mr), 0);
    CHECK(is_gone(key), "afterwards it does not");
    CHECK_IS(ibv_close_device(second), 0);
}

int main(void)
{
    check_watchdog(120);
    open_queues();
    full(false);
    full(true);
    numbers();
    again(false);
    again(true);
    late(false);
    race();
    late(true);
    crowded();
    imported();
    close_queues();
    return check_result("given_back");
}
