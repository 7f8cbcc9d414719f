/* What a topology is asked for, with and without hwloc. */
#include <stdlib.h>

#include "experts/topology.h"

void sl_topology_close(struct sl_topology *topo)
{
    if (!topo)
        return;
    free(topo->cores);
    free(topo);
}

const struct sl_topology_core *sl_topology_find(const struct sl_topology *topo, int32_t cpu)
{
    for (uint32_t i = 0; i < topo->n_cores; i++)
        for (uint32_t k = 0; k < topo->cores[i].n_cpus; k++)
            if (topo->cores[i].cpus[k] == cpu)
                return &topo->cores[i];
    return NULL;
}

void sl_topology_cpus_add(struct sl_topology_cpus *cpus, int32_t cpu)
{
    if (cpu < 0 || cpu >= SL_TOPOLOGY_CPUS_MAX || sl_topology_cpus_has(cpus, cpu))
        return;
    cpus->bits[cpu / 64] |= 1ull << (cpu % 64);
    cpus->n++;
}
