/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Monitoring that overlaps a change in flight ends invalid.
 *
 * One thread discards a large area, front to back; another monitors it
 * meanwhile, then looks at its last page. When that page is still there, the
 * change was in flight (or had not begun) while the region was added: the
 * region must be invalid once the change has returned.
 *
 * Looking means asking the page tables, as a registration does. A plain load
 * can still be served by this CPU's TLB, which is flushed last.
 */
#include "kt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define AREA (32UL << 20)

static int fd;
static const struct kdreg2_status_data *status;
static char *area;
static atomic_uint phase; /* odd: a change is about to start or under way */
static atomic_uint changed; /* set to the phase when the call has returned */
static unsigned rounds = 60;

static char look(char *address)
{
    char value;
    struct iovec local = {&value, 1}, remote = {address, 1};

    CHECK(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1, "%m");
    return value;
}

static void *discarder(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < rounds; i++) {
        memset(area, 1, AREA);
        atomic_fetch_add(&phase, 1);
        CHECK(madvise(area, AREA, MADV_DONTNEED) == 0, "%m");
        atomic_store(&changed, 2 * i + 1);
        while (atomic_load(&phase) == 2 * i + 1)
            sched_yield();
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    unsigned overlapped = 0, in_flight = 0;

    fd = kt_open();
    status = kt_config(fd, 4096);
    area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "%m");
    /* Small pages, so that it takes a while. */
    (void)madvise(area, AREA, MADV_NOHUGEPAGE);
    CHECK(pthread_create(&thread, NULL, discarder, NULL) == 0);
    for (unsigned i = 0; i < rounds; i++) {
        struct kdreg2_monitoring_params p[512];
        unsigned made = 0;
        while (atomic_load(&phase) != 2 * i + 1)
            ;
        while (made < 512) {
            struct kdreg2_monitoring_params q = kt_monitor(fd, area, AREA, made);

            if (look(area + AREA - 1) == 0)
                break; /* too late to say anything about this one */
            p[made++] = q;
            /* Here the change had begun for sure, and its first callback run. */
            if (look(area) == 0)
                in_flight++;
        }
        while (atomic_load(&changed) != 2 * i + 1)
            sched_yield();
        for (unsigned n = 0; n < made; n++)
            CHECK(kt_changed(status, p[n]), "round %u: region %u of %u is still valid", i, n, made);
        overlapped += made;
        CHECK(ioctl(fd, KDREG2_IOCTL_UNMONITOR_ALL) == 0, "%m");
        CHECK(ioctl(fd, KDREG2_IOCTL_FLUSH) == 0, "%m");
        atomic_fetch_add(&phase, 1);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    printf("%u regions monitored while a change was under way or about to start, "
           "%u of them after it had begun\n",
           overlapped, in_flight);
    if (in_flight == 0)
        kt_skip("no region was added in the middle of a change on this machine");
    return 0;
}
