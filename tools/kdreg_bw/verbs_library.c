/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#if __has_include(<infiniband/verbs.h>)
#include "verbs_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define FUNCTION(name) { "ibv_" #name, offsetof(struct verbs_library, name) }
    FUNCTION(get_device_list), FUNCTION(free_device_list), FUNCTION(get_device_name), FUNCTION(open_device),
    FUNCTION(close_device),    FUNCTION(query_port),       FUNCTION(query_gid),       FUNCTION(alloc_pd),
    FUNCTION(dealloc_pd),      FUNCTION(reg_mr),           FUNCTION(dereg_mr),        FUNCTION(create_cq),
    FUNCTION(destroy_cq),      FUNCTION(create_qp),        FUNCTION(modify_qp),       FUNCTION(destroy_qp),
    FUNCTION(wc_status_str),
#undef FUNCTION
};

int verbs_library_open(struct verbs_library *library)
{
    void *handle = dlopen("libibverbs.so.1", RTLD_NOW);

    if (!handle) {
        fprintf(stderr,
                "kdreg_bw: libibverbs cannot be opened: %s; install it (Debian: libibverbs1 ibverbs-providers), or "
                "measure io_uring, without --listen and --connect\n",
                dlerror());
        return -ELIBACC;
    }
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        void *function = dlsym(handle, functions[i].name);
        if (!function) {
            fprintf(stderr, "kdreg_bw: libibverbs has no %s: install a newer one\n", functions[i].name);
            return -ELIBACC;
        }
        memcpy((char *)library + functions[i].offset, &function, sizeof(function));
    }
    return 0;
}
#else
typedef int no_verbs_headers;
#endif
