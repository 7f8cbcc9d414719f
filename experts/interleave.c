/*
 * Spreading memory over NUMA nodes, by the bare system calls: with and without hwloc.
 * interleave and prefer are for one range of memory; spread is for what is loaded by ways
 * that choose their memory themselves: pages of a file, buffers that the kernel fills.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "experts/topology.h"

/* The kernel takes one away from the number of bits. */
#define N_BITS (SL_TOPOLOGY_NODES_MAX + 1)

int sl_topology_interleave(const struct sl_topology_nodes *nodes, void *base, uint64_t bytes)
{
    if (nodes->n < 2)
        return 0;
    if (syscall(SYS_mbind, base, bytes, MPOL_INTERLEAVE, nodes->bits, N_BITS, 0) < 0)
        return -errno;
    return 0;
}

int sl_topology_prefer(int32_t node_id, void *base, uint64_t bytes)
{
    struct sl_topology_nodes nodes = { .n = 1 };

    if (node_id < 0 || node_id >= SL_TOPOLOGY_NODES_MAX)
        return -EINVAL;
    nodes.bits[node_id / 64] = 1ull << (node_id % 64);
    if (syscall(SYS_mbind, base, bytes, MPOL_PREFERRED, nodes.bits, N_BITS, 0) < 0)
        return -errno;
    return 0;
}

int sl_topology_spread(const struct sl_topology_nodes *nodes,
                       struct sl_topology_policy *ret_before)
{
    struct sl_topology_policy before = { .is_changed = true };

    *ret_before = (struct sl_topology_policy){ .is_changed = false };
    if (nodes->n < 2)
        return 0;
    if (syscall(SYS_get_mempolicy, &before.mode, before.bits, sizeof(before.bits) * 8, NULL,
                0) < 0 ||
        syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, nodes->bits, N_BITS) < 0)
        return -errno;
    *ret_before = before;
    return 0;
}

void sl_topology_unspread(const struct sl_topology_policy *before)
{
    if (!before->is_changed)
        return;
    /* cannot fail: it was so before; if it does, new memory stays spread */
    (void)syscall(SYS_set_mempolicy, before->mode, before->bits, N_BITS);
}
