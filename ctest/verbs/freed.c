/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that is given back while something may still come, over a real device and under libkdreg-verbs.so: its next owner's memory stays
 * as it is, and whoever sends has the error that it would have had. And one whose user waits first is not registered anew.
 *
 *   freed            any rights
 *   freed benefit    and deregistering what has completed saves registrations */
#include "loopback.h"

enum { SIZE = 16384, LOCAL = IBV_ACCESS_LOCAL_WRITE };

static struct ibv_mr *reg(struct loopback *over, void *buffer, int access)
{
    struct ibv_mr *mr = ibv_reg_mr(over->pd, buffer, SIZE, access);
    REQUIRE(mr, "ibv_reg_mr: %s", strerror(errno));
    return mr;
}

static int try_to_receive(struct loopback *over, char *to, const struct ibv_mr *mr)
{
    struct ibv_sge sge = {.addr = (uintptr_t)to, .length = SIZE, .lkey = mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = 1, .sg_list = &sge, .num_sge = 1}, *bad;
    return ibv_post_recv(over->qp, &wr, &bad);
}

static void receive(struct loopback *over, char *to, const struct ibv_mr *mr)
{
    int error = try_to_receive(over, to, mr);
    REQUIRE(error == 0, "ibv_post_recv: %s", strerror(error));
}

static void send_from(struct loopback *over, char *from, struct ibv_mr *mr, uint64_t write_to, uint32_t rkey)
{
    struct ibv_sge sge = {.addr = (uintptr_t)from, .length = SIZE, .lkey = mr->lkey};
    struct ibv_send_wr wr = {
        .wr_id = 2, .sg_list = &sge, .num_sge = 1, .opcode = write_to ? IBV_WR_RDMA_WRITE : IBV_WR_SEND,
        .send_flags = IBV_SEND_SIGNALED, .wr.rdma = {.remote_addr = write_to, .rkey = rkey},
    };
    struct ibv_send_wr *bad;
    REQUIRE(ibv_post_send(over->qp, &wr, &bad) == 0, "ibv_post_send: %s", strerror(errno));
}

/* The completion of the one or the other. */
static int completion(struct loopback *over, uint64_t of)
{
    struct ibv_wc wc;
    do {
        int done;
        while ((done = ibv_poll_cq(over->cq, 1, &wc)) == 0)
            ;
        REQUIRE(done == 1, "ibv_poll_cq: %d", done);
    } while (wc.wr_id != of);
    return wc.status;
}

/* A buffer of the heap, and after free() somebody else's of the same size, who writes to it. */
static char *next_owner(char *freed)
{
    free(freed);
    char *mine = malloc(SIZE);
    REQUIRE(mine, "malloc");
    memset(mine, '.', SIZE);
    printf("    the next owner has %s memory\n", mine == freed ? "the same" : "other");
    return mine;
}

static void untouched(char *mine)
{
    for (int i = 0; i < SIZE; i++)
        if (mine[i] != '.') {
            CHECK(false, "byte %d of the next owner's is %#x", i, mine[i]);
            break;
        }
    free(mine);
}

enum when { POSTED, POSTED_UNTIL_REFUSED, POSTED_AGAIN };

/* A receive that is posted when its registration is given back, or by its key afterwards. */
static void given_back(char *source, enum when when)
{
    struct loopback over = open_loopback();
    struct ibv_mr *from = reg(&over, source, 0);
    char *heap = malloc(SIZE);
    memset(heap, 0, SIZE);
    struct ibv_mr *mr = reg(&over, heap, LOCAL), copy = *mr;
    receive(&over, heap, mr);
    if (when == POSTED_UNTIL_REFUSED)
        while (try_to_receive(&over, heap, mr) == 0)
            ;
    if (when == POSTED_AGAIN) {
        send_from(&over, source, from, 0, 0);
        CHECK_IS(completion(&over, 1), IBV_WC_SUCCESS);
        CHECK_IS(completion(&over, 2), IBV_WC_SUCCESS);
    }
    CHECK_IS(ibv_dereg_mr(mr), 0);
    heap = next_owner(heap);
    if (when == POSTED_AGAIN)
        receive(&over, heap, &copy);
    send_from(&over, source, from, 0, 0);
    int status = completion(&over, 2);
    printf("    the sender is told: %s\n", ibv_wc_status_str(status));
    CHECK(status != IBV_WC_SUCCESS, "nothing could be received");
    untouched(heap);
    CHECK_IS(ibv_dereg_mr(from), 0);
    close_loopback(&over);
}

int main(int argc, char **argv)
{
    check_watchdog(200);
    bool benefit = argc > 1 && strcmp(argv[1], "benefit") == 0;
    char *source = fresh(NULL, SIZE);
    memset(source, 'x', SIZE);

    check_says("receive, wait, deregister, and again");
    struct loopback over = open_loopback();
    struct ibv_mr *from = reg(&over, source, 0);
    char *buffer = fresh(NULL, SIZE);
    memset(buffer, 0, SIZE);
    unsigned same = 0;
    uint32_t key = 0;
    for (int i = 0; i < 30; i++) {
        struct ibv_mr *mr = reg(&over, buffer, LOCAL);
        same += mr->lkey == key;
        key = mr->lkey;
        receive(&over, buffer, mr);
        memset(buffer, 0, SIZE);
        send_from(&over, source, from, 0, 0);
        CHECK_IS(completion(&over, 1), IBV_WC_SUCCESS);
        CHECK_IS(completion(&over, 2), IBV_WC_SUCCESS);
        CHECK(!memcmp(buffer, source, SIZE), "what was sent has come");
        CHECK_IS(ibv_dereg_mr(mr), 0);
    }
    printf("    %u of 30 registrations were the one before\n", same);
    /* The kernel may move pages now and then. */
    CHECK(!benefit || same >= 20, "they are saved");

    CHECK_IS(ibv_dereg_mr(from), 0);
    close_loopback(&over);

    check_says("given back while a receive is posted");
    given_back(source, POSTED);
    check_says("given back while its queue is full");
    given_back(source, POSTED_UNTIL_REFUSED);
    check_says("posted after it was given back");
    given_back(source, POSTED_AGAIN);

    check_says("given back while a peer may still write");
    over = open_loopback();
    from = reg(&over, source, 0);
    char *heap = malloc(SIZE);
    memset(heap, 0, SIZE);
    struct ibv_mr *mr = reg(&over, heap, LOCAL | IBV_ACCESS_REMOTE_WRITE);
    uint32_t rkey = mr->rkey;
    CHECK_IS(ibv_dereg_mr(mr), 0);
    uint64_t at = (uintptr_t)heap;
    heap = next_owner(heap);
    send_from(&over, source, from, at, rkey);
    int status = completion(&over, 2);
    printf("    the writer is told: %s\n", ibv_wc_status_str(status));
    /* Both ends are one queue pair: its end as the target may come first. */
    CHECK(status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_WR_FLUSH_ERR, "the key is good for nothing");
    untouched(heap);
    CHECK_IS(ibv_dereg_mr(from), 0);
    close_loopback(&over);
    return check_result("freed");
}
