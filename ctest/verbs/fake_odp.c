/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "fake_odp.h"

#include "fake.h"
#include "fake_there.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint prefetches;

static int query_device_ex(struct ibv_context *context, const struct ibv_query_device_ex_input *input, struct ibv_device_attr_ex *attr,
                           size_t size)
{
    (void)context, (void)input;
    if (size < offsetof(struct ibv_device_attr_ex, completion_timestamp_mask))
        return EINVAL;
    memset(attr, 0, size);
    attr->orig_attr.vendor_id = strcmp(fake_odp_kind(), "soft-roce") ? 0x15b3 : 0xffffff;
    attr->odp_caps.general_caps = IBV_ODP_SUPPORT | (strcmp(fake_odp_kind(), "implicit") ? 0 : IBV_ODP_SUPPORT_IMPLICIT);
    uint32_t send = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_WRITE;
    uint32_t all = strcmp(fake_odp_kind(), "send") ? send | IBV_ODP_SUPPORT_RECV | IBV_ODP_SUPPORT_SRQ_RECV | IBV_ODP_SUPPORT_READ : send;
    attr->odp_caps.per_transport_caps.rc_odp_caps = all == send ? all : all | IBV_ODP_SUPPORT_ATOMIC;
    attr->odp_caps.per_transport_caps.ud_odp_caps = all & ~(IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ);
    return 0;
}

static int advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice, uint32_t flags, struct ibv_sge *list, uint32_t count)
{
    (void)pd;
    if (advice > IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE || flags != IBV_ADVISE_MR_FLAG_FLUSH || count != 1)
        return EINVAL;
    unsigned access = advice == IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE ? IBV_ACCESS_LOCAL_WRITE : 0;
    if (!fake_reach(list->lkey, (void *)(uintptr_t)list->addr, list->length, access | IBV_ACCESS_ON_DEMAND))
        return EINVAL;
    if (!fake_is_there((void *)(uintptr_t)list->addr, list->length, 0))
        return EFAULT;
    atomic_fetch_add(&prefetches, 1);
    return 0;
}

struct ibv_context *fake_context(void)
{
    struct verbs_context *whole = calloc(1, sizeof *whole);
    if (!whole)
        return NULL;
    whole->sz = sizeof *whole;
    if (fake_odp_kind()) {
        whole->query_device_ex = query_device_ex;
        whole->advise_mr = advise_mr;
        whole->context.abi_compat = __VERBS_ABI_IS_EXTENDED;
    }
    return &whole->context;
}

void fake_free_context(struct ibv_context *context)
{
    free((char *)context - offsetof(struct verbs_context, context));
}

unsigned fake_prefetches(void)
{
    return prefetches;
}
