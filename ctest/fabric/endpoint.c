/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "endpoint.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long connecting may take. */
#define CONNECT_MS 30000

void must(const char *call, long result)
{
    if (result >= 0)
        return;
    fprintf(stderr, "%s failed: %s (%ld)\n", call, fi_strerror((int)-result), result);
    exit(1);
}

void endpoint_find(struct endpoint *it, const char *address, const char *service, int listening)
{
    struct fi_info *hints = fi_allocinfo();
    if (!hints)
        must("fi_allocinfo", -FI_ENOMEM);
    hints->ep_attr->type = FI_EP_MSG;
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->fabric_attr->prov_name = strdup("verbs");
    memset(it, 0, sizeof *it);
    pthread_mutex_init(&it->completing, NULL);
    int result = fi_getinfo(FI_VERSION(1, 13), address, service, listening ? FI_SOURCE : 0, hints, &it->info);
    fi_freeinfo(hints);
    if (result == -FI_ENODATA) {
        printf("skipped: libfabric finds no verbs device at %s. Bring a soft-RoCE device up (ctest/vm/run --rdma does), "
               "and have the host's own name in /etc/hosts\n", address);
        exit(77);
    }
    must("fi_getinfo", result);
}

static void open_domain(struct endpoint *it, struct fi_info *info)
{
    must("fi_domain", fi_domain(it->fabric, info, &it->domain, NULL));
    struct fi_cq_attr attr = { .format = FI_CQ_FORMAT_CONTEXT, .size = 256 };
    must("fi_cq_open", fi_cq_open(it->domain, &attr, &it->cq, NULL));
    must("fi_endpoint", fi_endpoint(it->domain, info, &it->ep, NULL));
    must("fi_ep_bind", fi_ep_bind(it->ep, &it->eq->fid, 0));
    must("fi_ep_bind", fi_ep_bind(it->ep, &it->cq->fid, FI_TRANSMIT | FI_RECV));
    must("fi_enable", fi_enable(it->ep));
}

void endpoint_open(struct endpoint *it)
{
    must("fi_fabric", fi_fabric(it->info->fabric_attr, &it->fabric, NULL));
    struct fi_eq_attr attr = { .wait_obj = FI_WAIT_UNSPEC };
    must("fi_eq_open", fi_eq_open(it->fabric, &attr, &it->eq, NULL));
}

void endpoint_listen(struct endpoint *it)
{
    must("fi_passive_ep", fi_passive_ep(it->fabric, it->info, &it->pep, NULL));
    must("fi_pep_bind", fi_pep_bind(it->pep, &it->eq->fid, 0));
    must("fi_listen", fi_listen(it->pep));
}

static struct fi_info *await(struct endpoint *it, uint32_t wanted)
{
    struct fi_eq_cm_entry entry;
    uint32_t event = 0;
    long got = fi_eq_sread(it->eq, &event, &entry, sizeof entry, CONNECT_MS, 0);
    if (got == -FI_EAVAIL) {
        struct fi_eq_err_entry error = { 0 };
        fi_eq_readerr(it->eq, &error, 0);
        must("connecting", -error.err);
    }
    must("fi_eq_sread", got);
    if (event != wanted) {
        fprintf(stderr, "event %u came, not %u\n", event, wanted);
        exit(1);
    }
    return entry.info;
}

void endpoint_accept(struct endpoint *it)
{
    struct fi_info *info = await(it, FI_CONNREQ);
    open_domain(it, info);
    must("fi_accept", fi_accept(it->ep, NULL, 0));
    await(it, FI_CONNECTED);
    fi_freeinfo(info);
}

void endpoint_connect(struct endpoint *it)
{
    open_domain(it, it->info);
    must("fi_connect", fi_connect(it->ep, it->info->dest_addr, NULL, 0));
    await(it, FI_CONNECTED);
}

/* Takes what has completed, for whichever thread it is. */
static void progress(struct endpoint *it)
{
    if (pthread_mutex_trylock(&it->completing))
        return;
    struct fi_cq_entry entries[8];
    long got = fi_cq_read(it->cq, entries, 8);
    if (got == -FI_EAVAIL) {
        struct fi_cq_err_entry error = { 0 };
        must("fi_cq_readerr", fi_cq_readerr(it->cq, &error, 0));
        atomic_store(&((struct transfer *)error.op_context)->state, -error.err);
    } else if (got != -FI_EAGAIN) {
        must("fi_cq_read", got);
        for (long i = 0; i < got; i++)
            atomic_store(&((struct transfer *)entries[i].op_context)->state, 1);
    }
    pthread_mutex_unlock(&it->completing);
}

void endpoint_write(struct endpoint *it, const void *from, size_t length, struct fid_mr *mr, uint64_t remote, uint64_t key)
{
    struct transfer transfer = { .state = 0 };
    long result;
    while ((result = fi_write(it->ep, from, length, fi_mr_desc(mr), 0, remote, key, &transfer)) == -FI_EAGAIN)
        progress(it);
    must("fi_write", result);
    int state;
    while (!(state = atomic_load(&transfer.state))) {
        progress(it);
        sched_yield();
    }
    must("the transfer", state);
}

struct fid_mr *endpoint_register(struct endpoint *it, void *memory, size_t length, uint64_t access)
{
    struct fid_mr *mr = NULL;
    must("fi_mr_reg (is RLIMIT_MEMLOCK, `ulimit -l`, large enough?)",
         fi_mr_reg(it->domain, memory, length, access, 0, 0, 0, &mr, NULL));
    return mr;
}

void endpoint_close(struct endpoint *it)
{
    fi_shutdown(it->ep, 0);
    must("fi_close(ep)", fi_close(&it->ep->fid));
    must("fi_close(cq)", fi_close(&it->cq->fid));
    must("fi_close(domain)", fi_close(&it->domain->fid));
    if (it->pep)
        must("fi_close(pep)", fi_close(&it->pep->fid));
    must("fi_close(eq)", fi_close(&it->eq->fid));
    must("fi_close(fabric)", fi_close(&it->fabric->fid));
    fi_freeinfo(it->info);
}
