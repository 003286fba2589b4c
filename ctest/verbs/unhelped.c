/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program under the preload that is out of memory, or whose threads are cancelled: no call ends the process. What could not be cached is passed
 * through; a thread that is cancelled in a call leaves it first. */
#include "device.h"
#include "fake.h"

#include "../refusing.h"

#include <pthread.h>

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *, void *, size_t, int);

static struct ibv_device *first;
static struct ibv_context *context, *opened;
static struct ibv_pd *pd, *made;
static char *memory;
static size_t next_page;

static int result(const void *made_one)
{
    return made_one ? 0 : errno ? -errno : -EIO;
}

static int opens(void) { return result(opened = ibv_open_device(first)); }
static void closes(void) { CHECK_IS(ibv_close_device(opened), 0); }
static int allocates(void) { return result(made = ibv_alloc_pd(context)); }
static void deallocates(void) { CHECK_IS(ibv_dealloc_pd(made), 0); }
static int registers_in(struct ibv_pd *domain, char *at, int access)
{
    struct ibv_mr *mr = ibv_reg_mr(domain, at, 4096, access);
    return mr ? ibv_dereg_mr(mr) : -errno;
}
static int registers(void) { return registers_in(pd, memory + next_page++ % 1024 * 65536, 0); }
static int registers_sole(void) { return registers_in(pd, memory + next_page++ % 1024 * 65536, IBV_ACCESS_LOCAL_WRITE); }
static int registers_again(void) { return registers_in(pd, memory, 0); }
static int registers_much(void)
{
    /* Until something has to grow. */
    static struct ibv_mr *all[200];
    int error = 0;
    for (int i = 0; i < 200; i++)
        if (!(all[i] = ibv_reg_mr(pd, memory + next_page++ % 1024 * 65536, 4096, 0)))
            error = -errno;
    for (int i = 0; i < 200; i++)
        if (all[i])
            CHECK_IS(ibv_dereg_mr(all[i]), 0);
    return error;
}
static int registers_in_fresh(void)
{
    int error = allocates();
    if (error)
        return error;
    error = registers_in(made, memory, 0);
    /* Whatever there was no memory for, nothing is left registered in it. */
    CHECK_IS(ibv_dealloc_pd(made), 0);
    return error;
}

static const struct call calls[] = {
    {"ibv_open_device", opens, closes},
    {"ibv_alloc_pd", allocates, deallocates},
    {"ibv_reg_mr", registers, nothing},
    {"ibv_reg_mr to write", registers_sole, nothing},
    {"ibv_reg_mr, again", registers_again, nothing},
    {"ibv_reg_mr, many", registers_much, nothing},
    {"ibv_reg_mr in a fresh domain", registers_in_fresh, nothing},
};

static atomic_int reached;

static void *cancel_first(void *unused)
{
    pthread_cancel(pthread_self());
    CHECK_IS(opens(), 0);
    closes();
    CHECK_IS(registers(), 0);
    CHECK_IS(registers_sole(), 0);
    CHECK_IS(registers_in(pd, memory, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE), 0);
    CHECK_IS(registers_in_fresh(), 0);
    atomic_fetch_add(&reached, 1);
    pthread_testcancel();
    return unused;
}

int main(void)
{
    check_watchdog(250);
    int count;
    struct ibv_device **list = ibv_get_device_list(&count);
    REQUIRE(list && count > 0, "the stand-in has a device");
    first = list[0];
    ibv_free_device_list(list);
    memory = check_space(1024 * 65536);
    context = ibv_open_device(first);
    pd = alloc_pd(context);
    check_says("each allocation of a call refused in turn");
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++)
        refuse_each(&calls[index], "");
    check_says("no call is a cancellation point, whatever the driver does");
    pthread_t thread;
    void *ended;
    REQUIRE(pthread_create(&thread, NULL, cancel_first, NULL) == 0, "pthread_create");
    pthread_join(thread, &ended);
    CHECK(reached == 1, "a call was a cancellation point");
    CHECK(ended == PTHREAD_CANCELED, "the thread was not cancelled when it could be");
    CHECK_IS(ibv_dealloc_pd(pd), 0);
    CHECK_IS(ibv_close_device(context), 0);
    CHECK_IS(fake_live(), 0);
    return check_result("verbs_unhelped");
}
