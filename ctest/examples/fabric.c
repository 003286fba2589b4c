/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libfabric: libkdreg as the monitor of its registration caches. One call, after fi_getinfo() and before the first domain;
 * the rest is the program that it was. The argument, if any, is the address of the interface to use. */
#include <errno.h>
#include <inttypes.h>
#include <kdreg.h>
#include <kdreg/fabric.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { LENGTH = 64 << 10 };

/* The program's own: registers, as if for a transfer. */
static int use(struct fid_domain *domain, const void *buffer)
{
    struct fid_mr *mr;
    int error = fi_mr_reg(domain, buffer, LENGTH, FI_SEND | FI_RECV, 0, 0, 0, &mr, NULL);
    if (error) {
        fprintf(stderr, "fi_mr_reg: %s\n", fi_strerror(-error));
        return error;
    }
    /* ... fi_send() with fi_mr_desc(mr) ... */
    return fi_close(&mr->fid);
}

int main(int argc, char **argv)
{
    struct fi_info *hints = fi_allocinfo(), *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    kdreg_fabric_t *import;
    if (!hints)
        return 1;
    hints->ep_attr->type = FI_EP_MSG;
    hints->caps = FI_MSG;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->fabric_attr->prov_name = strdup("verbs"); /* one that caches registrations */
    int error = fi_getinfo(FI_VERSION(1, 13), argc > 1 ? argv[1] : NULL, NULL, argc > 1 ? FI_SOURCE : 0, hints, &info);
    fi_freeinfo(hints);
    if (error == -FI_ENODATA) {
        puts("skipped: libfabric finds no verbs device here, and its other providers cache nothing");
        return 77;
    }
    if (error) {
        fprintf(stderr, "fi_getinfo: %s\n", fi_strerror(-error));
        return 1;
    }
    error = kdreg_fabric_import(NULL, &import);
    if (error) {
        fprintf(stderr, "kdreg_fabric_import: %s\n", kdreg_strerror(error));
        return error == -ECANCELED || error == -EPROTONOSUPPORT ? 77 : 1;
    }
    if ((error = fi_fabric(info->fabric_attr, &fabric, NULL)) || (error = fi_domain(fabric, info, &domain, NULL))) {
        fprintf(stderr, "opening a domain of %s: %s\n", info->domain_attr->name, fi_strerror(-error));
        return 1;
    }
    void *buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED || use(domain, buffer) || use(domain, buffer))
        return 1;
    puts("other memory takes the buffer's place");
    if (mmap(buffer, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != buffer)
        return 1;
    if (use(domain, buffer))
        return 1;
    struct kdreg_fabric_stats stats = {.size = sizeof stats};
    if (kdreg_fabric_stats(import, &stats))
        return 1;
    printf("registrations %" PRIu64 ", hits %" PRIu64 ", stale ones not used %" PRIu64 "\n", stats.subscriptions, stats.hits,
           stats.stale + stats.notifications);
    /* The second use is a hit; the third is not, although the address is the same. */
    if (stats.starts != 1 || (!stats.unwatched && (stats.hits != 1 || stats.subscriptions != 2)))
        return 1;
    if (fi_close(&domain->fid) || fi_close(&fabric->fid))
        return 1;
    fi_freeinfo(info);
    return kdreg_fabric_release(import) ? 1 : 0;
}
