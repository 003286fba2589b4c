/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the library goes by when it refuses on-demand paging over soft-RoCE, and when it takes it where each packet is a page: the kernel
 * copies a packet from and to the beginning of its page, wherever in it the packet's bytes should be (__rxe_odp_mr_copy). And it does not mark
 * dirty what it wrote (ib_umem_odp_unmap_dma_pages does that for what a device has mapped for DMA, which soft-RoCE never has), so that what
 * comes into a clean page that is on a swap disk is lost when the page goes there again. Plain ibv_reg_mr(), nothing of kdreg. */
#include "loopback.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

enum { PAGE = 4096, SIZE = 4 * PAGE };

static unsigned differing(const unsigned char *one, const unsigned char *other)
{
    unsigned count = 0;
    for (size_t i = 0; i < SIZE; i++)
        count += one[i] != other[i];
    return count;
}

/* What a transfer in packets makes of a target that held zeros. */
static void predict(unsigned char *target, const unsigned char *source, size_t packet, bool sent, bool received)
{
    memset(target, 0, SIZE);
    for (size_t at = 0; at < SIZE; at += packet) {
        size_t page = at / PAGE * PAGE;
        memcpy(target + (received ? page : at), source + (sent ? page : at), packet);
    }
}

/* A transfer with the source, the target, or both on demand; whether it was right. */
static bool transfer(struct loopback *loopback, size_t packet, bool sent, bool received)
{
    unsigned char *source = fresh(NULL, SIZE), *target = fresh(NULL, SIZE), *predicted = fresh(NULL, SIZE);
    fill(source, SIZE, 1);
    memset(target, 0, SIZE);
    predict(predicted, source, packet, sent, received);
    struct ibv_mr *from = ibv_reg_mr(loopback->pd, source, SIZE, sent ? IBV_ACCESS_ON_DEMAND : 0);
    struct ibv_mr *to = ibv_reg_mr(loopback->pd, target, SIZE,
                                   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | (received ? IBV_ACCESS_ON_DEMAND : 0));
    REQUIRE(from && to, "ibv_reg_mr: %s", strerror(errno));
    rdma_write(loopback, source, from->lkey, target, to->rkey, SIZE);
    CHECK_IS(ibv_dereg_mr(from), 0);
    CHECK_IS(ibv_dereg_mr(to), 0);
    unsigned wrong = differing(source, target), unexpected = differing(predicted, target);
    printf("%4zu bytes a packet, source %s, target %s: %u of %d bytes wrong, %u where none or others were expected to be\n", packet,
           sent ? "on demand" : "pinned", received ? "on demand" : "pinned", wrong, SIZE, unexpected);
    CHECK(!wrong || !unexpected, "right, or wrong as expected");
    munmap(source, SIZE), munmap(target, SIZE), munmap(predicted, SIZE);
    return !wrong;
}

static void swap_out(unsigned char *memory)
{
    unsigned away = 0;
    /* A page that is being written back is not taken: a disk may be slow. */
    for (int attempt = 0; attempt < 60000 && away < SIZE / PAGE; attempt++) {
        REQUIRE(madvise(memory, SIZE, MADV_PAGEOUT) == 0, "MADV_PAGEOUT: %s", strerror(errno));
        away = pages_swapped(memory, SIZE);
        if (away < SIZE / PAGE)
            check_sleep_ms(1);
    }
    CHECK_IS(away, SIZE / PAGE);
}

/* A target that was swapped out and read since is written to by the device, and swapped out again; whether it kept what was written. */
static bool kept(struct loopback *loopback, bool touched)
{
    unsigned char *source = fresh(NULL, SIZE), *target = fresh(NULL, SIZE), *before = fresh(NULL, SIZE);
    fill(source, SIZE, 1);
    memset(target, 1, SIZE);
    memset(before, 1, SIZE);
    swap_out(target);
    CHECK(differing(target, before) == 0, "it comes back as it was");
    if (touched)
        memset(target, 1, SIZE);
    struct ibv_mr *from = ibv_reg_mr(loopback->pd, source, SIZE, 0);
    struct ibv_mr *to = ibv_reg_mr(loopback->pd, target, SIZE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_ON_DEMAND);
    REQUIRE(from && to, "ibv_reg_mr: %s", strerror(errno));
    rdma_write(loopback, source, from->lkey, target, to->rkey, SIZE);
    CHECK_IS(differing(source, target), 0);
    swap_out(target);
    unsigned lost = differing(source, target);
    printf("written by the device into pages that are %s, and swapped out: %u of %d bytes lost\n", touched ? "dirty" : "clean", lost, SIZE);
    CHECK_IS(ibv_dereg_mr(from), 0);
    CHECK_IS(ibv_dereg_mr(to), 0);
    munmap(source, SIZE), munmap(target, SIZE), munmap(before, SIZE);
    return !lost;
}

static void swapped(void)
{
    /* A page that another processor has not put on the kernel's lists yet is not swapped out. */
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    REQUIRE(sched_setaffinity(0, sizeof here, &here) == 0, "staying on a processor: %s", strerror(errno));
    struct loopback loopback = open_loopback();
    CHECK(kept(&loopback, true), "what comes into a dirty page is kept");
    if (kept(&loopback, false))
        printf("| this kernel keeps what soft-RoCE writes on demand into clean pages: docs/verbs.md says that it does not\n");
    close_loopback(&loopback);
}

/* Of the three with something on demand, how many are right. */
static unsigned right(const char *mtu, size_t packet)
{
    char command[64];
    snprintf(command, sizeof command, "ip link set dummy0 mtu %s", mtu);
    REQUIRE(system(command) == 0, "%s", command);
    struct loopback loopback = open_loopback();
    CHECK(transfer(&loopback, packet, false, false), "pinned, it is right");
    unsigned count = 0;
    for (int which = 1; which < 4; which++)
        count += transfer(&loopback, packet, which & 1, which & 2);
    close_loopback(&loopback);
    return count;
}

int main(void)
{
    check_watchdog(350);
    struct ibv_context *context = open_device();
    struct ibv_device_attr_ex attr;
    bool can = !ibv_query_device_ex(context, NULL, &attr) && attr.odp_caps.general_caps & IBV_ODP_SUPPORT;
    CHECK_IS(ibv_close_device(context), 0);
    if (!can || attr.orig_attr.vendor_id != 0xffffff) {
        printf("skipped: this is no soft-RoCE with on-demand paging\n");
        return CHECK_SKIPPED;
    }
    CHECK_IS(right("9000", PAGE), 3);
    swapped();
    unsigned parts = right("1500", PAGE / 4);
    if (parts)
        printf("| this kernel's soft-RoCE is right in %u of 3 transfers on demand whose packets are parts of pages: docs/verbs.md says none is\n",
               parts);
    return check_result("soft_roce");
}
