/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Children after fork(), under libkdreg-verbs.so: what they call goes to libibverbs, and takes nothing from their parent. Over the
 * stand-in, whose registrations a child has a copy of: what is called there is seen in it.
 *
 *   forked           with caches
 *   forked uncached  where there are none */
#include "posting.h"

/* Runs `body` in a child; what a child waits for longer it waits for for ever. */
static void in_a_child(void (*body)(void *), void *argument)
{
    pid_t child = check_fork();
    REQUIRE(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        alarm(60);
        body(argument);
        check_leave();
    }
    CHECK(check_child_succeeded(child), "the child");
}

struct work {
    struct ibv_qp *qp;
    struct ibv_mr mr;
    int way;
};

static void post(void *argument)
{
    struct work *work = argument;
    ways[work->way].post(work->qp, &work->mr, true);
    CHECK(!is_gone(work->mr.lkey), "nothing was deregistered");
    CHECK_IS(ways[work->way].done(work->qp), IBV_WC_SUCCESS);
    CHECK_IS(polled(), IBV_WC_SUCCESS);
}

/* A child posts by a key that its parent has given back. */
static void posts(void)
{
    for (int way = 0; way < WAYS; way++) {
        check_says("a child posts %s: what its parent has stays", ways[way].name);
        struct ibv_qp *qp = make_qp(false, false);
        struct ibv_mr *mr = reg(LOCAL);
        ways[way].post(qp, mr, true);
        CHECK_IS(ways[way].done(qp), IBV_WC_SUCCESS);
        CHECK_IS(polled(), IBV_WC_SUCCESS);
        struct work work = {qp, *mr, way};
        CHECK_IS(ibv_dereg_mr(mr), 0);
        CHECK(!is_gone(work.mr.lkey), "it stays");
        in_a_child(post, &work);
        CHECK_IS(ibv_destroy_qp(qp), 0);
    }
}

static void register_and_post(void *argument)
{
    struct ibv_mr *mr = reg(LOCAL), copy = *mr;
    CHECK_IS(ibv_dereg_mr(mr), 0);
    REQUIRE(is_gone(copy.lkey), "a registration of libibverbs's");
    /* Its parent is posting there, and will not go on in here. */
    post_read(argument, &copy, true);
    comes_nowhere(argument, answer);
}

/* MPI libraries and UCX register nothing but this: no cache has anything when they fork. */
static void uncached(void)
{
    check_says("a child of one that has registered for peers only, and is posting");
    struct ibv_qp *qp = make_qp(false, false);
    struct ibv_mr *mr = reg(REMOTE);
    CHECK_IS(ibv_dereg_mr(mr), 0);
    struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(qp);
    ibv_wr_start(ex);
    in_a_child(register_and_post, qp);
    ibv_wr_abort(ex);
    CHECK_IS(ibv_destroy_qp(qp), 0);
}

int main(int argc, char **argv)
{
    check_watchdog(120);
    open_queues();
    uncached();
    if (argc < 2 || strcmp(argv[1], "uncached") != 0)
        posts();
    close_queues();
    return check_result("forked");
}
