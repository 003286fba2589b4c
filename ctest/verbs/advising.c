/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* For LD_PRELOAD. The kernel's soft-RoCE prefetches when it is told to (ibv_advise_mr), which its driver in rdma-core 56 has no function
 * for: the driver gets libibverbs's own one when it hands over those that it has. */
#include <dlfcn.h>
#include <infiniband/verbs.h>
#include <stdlib.h>

void verbs_set_ops(struct verbs_context *context, const void *ops);

void verbs_set_ops(struct verbs_context *context, const void *ops)
{
    void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *set = library ? dlsym(library, "verbs_set_ops") : NULL, *advise = library ? dlsym(library, "ibv_cmd_advise_mr") : NULL;
    if (!set || !advise)
        abort();
    ((void (*)(struct verbs_context *, const void *))set)(context, ops);
    context->advise_mr = (int (*)(struct ibv_pd *, enum ibv_advise_mr_advice, uint32_t, struct ibv_sge *, uint32_t))advise;
}
