/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A stand-in for libibverbs with one device that registers anything: what is checked is who calls it, when, and with what. Its
 * functions have the real ones' versions, and its structures the real ones' public members. */
#define _GNU_SOURCE
#include "fake.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned live, made, next_key = 1;
static size_t bytes, limit;
static struct {
    void *addr;
    size_t length;
    uint64_t iova;
    unsigned access;
} last;

/* A protection domain that counts what is registered in it. */
struct domain {
    struct ibv_pd pd;
    unsigned users;
};

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

struct ibv_context *ibv_open_device(struct ibv_device *of)
{
    struct ibv_context *context = calloc(1, sizeof *context);
    if (context)
        context->device = of;
    return context;
}

int ibv_close_device(struct ibv_context *context)
{
    free(context);
    return 0;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
    struct domain *domain = calloc(1, sizeof *domain);
    if (!domain)
        return NULL;
    domain->pd.context = context;
    return &domain->pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
    struct domain *domain = (struct domain *)pd;
    pthread_mutex_lock(&lock);
    int busy = domain->users > 0;
    pthread_mutex_unlock(&lock);
    if (busy)
        return EBUSY;
    free(domain);
    return 0;
}

void ibv_unimport_pd(struct ibv_pd *pd)
{
    free(pd);
}

static struct ibv_mr *make(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, unsigned access)
{
    struct ibv_mr *mr = NULL;
    pthread_mutex_lock(&lock);
    if (access & IBV_ACCESS_REMOTE_WRITE && !(access & IBV_ACCESS_LOCAL_WRITE)) {
        errno = EINVAL;
    } else if (limit && bytes + length > limit) {
        errno = ENOMEM;
    } else if ((mr = calloc(1, sizeof *mr))) {
        *mr = (struct ibv_mr){
            .context = pd->context, .pd = pd, .addr = addr, .length = length,
            .handle = next_key, .lkey = next_key << 8, .rkey = next_key << 8 | 1,
        };
        next_key++;
        made++;
        live++;
        bytes += length;
        ((struct domain *)pd)->users++;
        last.addr = addr;
        last.length = length;
        last.iova = iova;
        last.access = access;
    }
    pthread_mutex_unlock(&lock);
    return mr;
}

/* By its public name, as the real one calls it. */
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
    return ibv_reg_mr_iova2(pd, addr, length, (uintptr_t)addr, (unsigned)access);
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, int access)
{
    return ibv_reg_mr_iova2(pd, addr, length, iova, (unsigned)access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, unsigned access)
{
    return make(pd, addr, length, iova, access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
    pthread_mutex_lock(&lock);
    live--;
    bytes -= mr->length;
    ((struct domain *)mr->pd)->users--;
    pthread_mutex_unlock(&lock);
    /* What is used after this reads nonsense. */
    memset(mr, 0xdb, sizeof *mr);
    free(mr);
    return 0;
}

int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t length, int access)
{
    (void)pd;
    (void)access;
    if (flags != IBV_REREG_MR_CHANGE_TRANSLATION)
        return IBV_REREG_MR_ERR_INPUT;
    pthread_mutex_lock(&lock);
    bytes += length - mr->length;
    mr->addr = addr;
    mr->length = length;
    pthread_mutex_unlock(&lock);
    return 0;
}

unsigned fake_registrations(void)
{
    return made;
}

unsigned fake_live(void)
{
    pthread_mutex_lock(&lock);
    unsigned now = live;
    pthread_mutex_unlock(&lock);
    return now;
}

void fake_limit(size_t to)
{
    limit = to;
}

void fake_last(void **addr, size_t *length, uint64_t *iova, unsigned *access)
{
    *addr = last.addr;
    *length = last.length;
    *iova = last.iova;
    *access = last.access;
}
