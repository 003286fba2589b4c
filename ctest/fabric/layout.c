/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The structures of libfabric that the adaptor declares for itself (src/adaptors/fabric/abi.rs), against the headers. */
#include <rdma/fabric.h>
#include <rdma/fi_ext.h>
#include <stddef.h>
#include <stdio.h>

_Static_assert(FI_CLASS_MEM_MONITOR == 23, "FI_CLASS_MEM_MONITOR");
_Static_assert(FI_VERSION(1, 13) == (1 << 16 | 13), "FI_VERSION");
_Static_assert(offsetof(struct fid, fclass) == 0 && offsetof(struct fid, context) == 8 &&
               offsetof(struct fid, ops) == 16 && sizeof(struct fid) == 24, "struct fid");
_Static_assert(offsetof(struct fi_ops, close) == 8 && offsetof(struct fi_ops, bind) == 16, "struct fi_ops");
_Static_assert(offsetof(struct fi_ops_mem_monitor, start) == 8 && offsetof(struct fi_ops_mem_monitor, stop) == 16 &&
               offsetof(struct fi_ops_mem_monitor, subscribe) == 24 &&
               offsetof(struct fi_ops_mem_monitor, unsubscribe) == 32 &&
               offsetof(struct fi_ops_mem_monitor, valid) == 40 && sizeof(struct fi_ops_mem_monitor) == 48,
               "struct fi_ops_mem_monitor");
_Static_assert(offsetof(struct fi_ops_mem_notify, notify) == 8, "struct fi_ops_mem_notify");
_Static_assert(offsetof(struct fid_mem_monitor, export_ops) == 24 && offsetof(struct fid_mem_monitor, import_ops) == 32 &&
               sizeof(struct fid_mem_monitor) == 40, "struct fid_mem_monitor");

int main(void)
{
    puts("libfabric's structures are what the adaptor takes them for");
    return 0;
}
