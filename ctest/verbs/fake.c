/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A stand-in for libibverbs with one device that registers anything: what is checked is who calls it, when, and with what. Its
 * functions have the real ones' versions, and its structures the real ones' public members. */
#define _GNU_SOURCE
#include "fake_odp.h"
#include "fake_queues.h"

#include <dlfcn.h>
#include <stdlib.h>

static struct ibv_device device = {.name = "fake0"};

struct ibv_device **ibv_get_device_list(int *count)
{
    int devices = getenv("FAKE_NO_DEVICE") ? 0 : 1;
    struct ibv_device **list = calloc(2, sizeof *list);
    if (list && devices)
        list[0] = &device;
    if (count)
        *count = devices;
    return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
    free(list);
}

const char *ibv_get_device_name(struct ibv_device *of)
{
    return of->name;
}

/* A driver that is a library of its own, as libibverbs loads it. */
static void direct(struct ibv_context_ops *ops)
{
    void *driver = dlopen("libfakedirect.so.1", RTLD_NOW);
    void (*function)(struct ibv_context_ops *) = driver ? (void (*)(struct ibv_context_ops *))dlsym(driver, "direct_ops") : NULL;
    if (!function)
        abort();
    function(ops);
}

struct ibv_context *ibv_open_device(struct ibv_device *of)
{
    struct ibv_context *context = fake_context();
    if (context) {
        context->device = of;
        fake_queue_ops(&context->ops);
        if (getenv("FAKE_DIRECT"))
            direct(&context->ops);
    }
    return context;
}

/* Another's, of which this one is a copy: with functions to post of its own. */
struct ibv_context *ibv_import_device(int fd)
{
    (void)fd;
    return ibv_open_device(&device);
}

int ibv_close_device(struct ibv_context *context)
{
    fake_free_context(context);
    return 0;
}
