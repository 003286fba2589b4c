# SPDX-License-Identifier: MIT OR Apache-2.0
# libfabric 2.6 takes the node of a new registration from its tree's list of free
# ones before it takes the lock that protects the list; earlier versions did after.
# Two threads that register at once can get the same node. The tree then has a
# circle in which one of them runs for good, holding the lock, or the process dies
# in it, whatever the monitor is. Here the list is looked at under the lock, and
# memory is allocated without it, as 2.6 wants to have it.
s/^\t\(struct ofi_rbnode \*rbnode\) = \(ofi_rbnode_alloc(&cache->tree);\)$/\t\1 = NULL;\
\tpthread_mutex_lock(\&mm_lock);\
\tif (cache->tree.free_list)\
\t\trbnode = \2\
\tpthread_mutex_unlock(\&mm_lock);\
\tif (!rbnode)\
\t\trbnode = malloc(sizeof(*rbnode));/
