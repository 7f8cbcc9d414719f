/*
 * Spreading memory over NUMA nodes, by the bare system call: with and without hwloc.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "experts/topology.h"

int sl_topology_interleave(const struct sl_topology_nodes *nodes, void *base, uint64_t bytes)
{
    if (nodes->n < 2)
        return 0;
    /* the kernel takes one away from the number of bits */
    if (syscall(SYS_mbind, base, bytes, MPOL_INTERLEAVE, nodes->bits, SL_TOPOLOGY_NODES_MAX + 1,
                0) < 0)
        return -errno;
    return 0;
}
