/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that is not there, in the calls of the io_uring adaptor; what memory.c says holds of them, too. A ring that got no buffers has no table
 * either: the next who makes some does not find it in the way. */
#include "refusing.h"
#include "uring.h"

#include <kdreg/uring.h>
#include <sys/uio.h>

static int ring, shared_ring; /* the latter with a table of the program's own */
static kdreg_uring_t *uring, *made;
static char *memory;
static size_t next_page;

static int makes(void) { return kdreg_uring_create(NULL, ring, NULL, &made); }
static int makes_in_window(void)
{
    struct kdreg_uring_attr attr = {.size = sizeof attr, .slots = 16, .first = 8, .flags = KDREG_URING_WINDOW};
    return kdreg_uring_create(NULL, shared_ring, &attr, &made);
}
static void destroys(void) { CHECK_IS(kdreg_uring_destroy(made), 0); }
static int gets_at(char *at)
{
    int index = kdreg_uring_get(uring, at, 4096);
    return index < 0 ? index : kdreg_uring_put(uring, index);
}
static int gets(void) { return gets_at(memory + next_page++ % 1024 * 65536); }
static int gets_much(void)
{
    /* Until something has to grow. */
    for (int index = 0; index < 300; index++) {
        int error = gets();
        if (error)
            return error;
    }
    return 0;
}
static int hits(void) { return gets_at(memory); }
static int gets_what_is_not_there(void)
{
    int error = gets_at((char *)65536);
    return error == -EFAULT ? 0 : error;
}
static int asks(void)
{
    int index = kdreg_uring_get(uring, memory, 4096);
    if (index < 0)
        return index;
    kdreg_uring_valid(uring, index);
    return kdreg_uring_put(uring, index);
}
static int invalidates(void) { return kdreg_uring_invalidate(uring, memory + 65536, 65536) < 0; }
static int flushes(void) { return kdreg_uring_flush(uring) < 0; }
static int reaps(void) { return kdreg_uring_reap(uring) < 0; }
static int counts(void)
{
    struct kdreg_cache_stats stats = {.size = sizeof stats};
    return kdreg_uring_stats(uring, &stats);
}
static int nowhere;
static int dumps(void) { return kdreg_uring_dump(uring, nowhere); }

static const struct call calls[] = {
    {"kdreg_uring_create", makes, destroys},
    {"kdreg_uring_create in a window", makes_in_window, destroys},
    {"kdreg_uring_get that registers", gets, nothing},
    {"kdreg_uring_get, many", gets_much, nothing},
    {"kdreg_uring_get that hits", hits, nothing},
    {"kdreg_uring_get of nothing", gets_what_is_not_there, nothing},
    {"kdreg_uring_valid", asks, nothing},
    {"kdreg_uring_invalidate", invalidates, nothing},
    {"kdreg_uring_stats", counts, nothing},
    {"kdreg_uring_dump", dumps, nothing},
    {"kdreg_uring_flush", flushes, nothing},
    {"kdreg_uring_reap", reaps, nothing},
};

static int ring_of(int with_table)
{
    int made_ring = open_ring();
    static struct iovec empty[32];
    struct io_uring_rsrc_register table = {.nr = 32, .data = (uintptr_t)empty};
    if (with_table)
        REQUIRE(syscall(SYS_io_uring_register, made_ring, IORING_REGISTER_BUFFERS2, &table, sizeof table) == 0, "a table: %s", strerror(errno));
    return made_ring;
}

static void hears(void *context, int level, const char *message) { (void)context, (void)level, (void)message; }

int main(void)
{
    check_watchdog(500);
    ring = ring_of(0);
    shared_ring = ring_of(1);
    memory = check_space(1024 * 65536);
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    check_says("each allocation refused in turn, in a process that has not used the library");
    refuse_first(&calls[0]);
    refuse_first(&calls[1]);
    int ring_in_use = ring_of(0);
    REQUIRE(kdreg_uring_create(NULL, ring_in_use, NULL, &uring) == 0, "kdreg_uring_create");
    REQUIRE(hits() == 0, "kdreg_uring_get");
    check_says("each allocation of a call refused in turn");
    CHECK_IS(kdreg_set_log(hears, NULL, KDREG_LOG_ERROR), 0);
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++)
        refuse_each(&calls[index], "");
    check_says("and with all there is to be said");
    CHECK_IS(kdreg_set_log(hears, NULL, KDREG_LOG_DEBUG), 0);
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++)
        refuse_each(&calls[index], ", heard");
    CHECK_IS(kdreg_uring_destroy(uring), 0);
    return check_result("memory_uring");
}
