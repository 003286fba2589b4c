/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The stand-in's protection domains and registrations. */
#include "fake.h"
#include "fake_there.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned live, made, next_key = 1;
/* 0: the one after the last. */
static unsigned given_key;
static bool has_rereg = true;
static size_t bytes, limit;
static struct {
    void *addr;
    size_t length;
    uint64_t iova;
    unsigned access;
} last;

/* A registration, in the list of those there are. */
struct region {
    struct ibv_mr mr;
    unsigned access;
    struct region *next;
};
static struct region *regions;

/* A protection domain that counts what is registered in it. */
struct domain {
    struct ibv_pd pd;
    unsigned users;
};

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
    struct region *region = NULL;
    pthread_testcancel(); /* as where a driver writes to its device */
    pthread_mutex_lock(&lock);
    if (access & IBV_ACCESS_REMOTE_WRITE && !(access & IBV_ACCESS_LOCAL_WRITE)) {
        errno = EINVAL;
    } else if (!fake_is_there(addr, length, access)) {
        errno = EFAULT;
    } else if (fake_pinned(length, access) && !fake_may_pin()) {
        errno = EPERM;
    } else if (limit && bytes + fake_pinned(length, access) > limit) {
        errno = ENOMEM;
    } else if ((region = calloc(1, sizeof *region))) {
        unsigned key = given_key ? given_key : next_key++;
        given_key = 0;
        region->mr = (struct ibv_mr){
            .context = pd->context, .pd = pd, .addr = addr, .length = length,
            .handle = key, .lkey = key << 8, .rkey = key << 8 | 1,
        };
        region->access = access;
        region->next = regions;
        regions = region;
        made++;
        live++;
        bytes += fake_pinned(length, access);
        ((struct domain *)pd)->users++;
        last.addr = addr;
        last.length = length;
        last.iova = iova;
        last.access = access;
    }
    pthread_mutex_unlock(&lock);
    return region ? &region->mr : NULL;
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

struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access)
{
    (void)fd;
    return make(pd, (void *)(uintptr_t)offset, length, iova, (unsigned)access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
    pthread_testcancel();
    pthread_mutex_lock(&lock);
    live--;
    bytes -= fake_pinned(mr->length, ((struct region *)mr)->access);
    ((struct domain *)mr->pd)->users--;
    struct region **at = &regions;
    while (&(*at)->mr != mr)
        at = &(*at)->next;
    *at = (*at)->next;
    pthread_mutex_unlock(&lock);
    /* What is used after this reads nonsense. */
    memset(mr, 0xdb, sizeof(struct region));
    free(mr);
    return 0;
}

int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t length, int access)
{
    if (!flags || flags & ~7) {
        errno = EINVAL;
        return IBV_REREG_MR_ERR_INPUT;
    }
    if (!has_rereg) {
        errno = EOPNOTSUPP;
        return IBV_REREG_MR_ERR_CMD;
    }
    pthread_mutex_lock(&lock);
    if (flags & IBV_REREG_MR_CHANGE_TRANSLATION) {
        bytes += length - mr->length;
        mr->addr = addr;
        mr->length = length;
    }
    if (flags & IBV_REREG_MR_CHANGE_PD) {
        ((struct domain *)mr->pd)->users--;
        ((struct domain *)pd)->users++;
        mr->pd = pd;
    }
    if (flags & IBV_REREG_MR_CHANGE_ACCESS)
        ((struct region *)mr)->access = (unsigned)access;
    pthread_mutex_unlock(&lock);
    return 0;
}

void fake_has_rereg(int has)
{
    has_rereg = has;
}

int fake_reach(uint32_t key, const void *addr, size_t length, unsigned access)
{
    int found = 0;
    pthread_mutex_lock(&lock);
    for (struct region *one = regions; one; one = one->next) {
        uintptr_t at = (uintptr_t)addr - (uintptr_t)one->mr.addr;
        found |= (one->mr.lkey == key || one->mr.rkey == key) && (one->access & access) == access && at <= one->mr.length &&
                 length <= one->mr.length - at;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void fake_next_key(uint32_t lkey)
{
    pthread_mutex_lock(&lock);
    given_key = lkey >> 8;
    pthread_mutex_unlock(&lock);
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
