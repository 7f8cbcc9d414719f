/*
 * The topology without hwloc: every CPU that the calling thread may use is a core of
 * its own; one L3 domain, one node, one kind. SMT siblings are not told apart, so the
 * default is more workers than cores on machines with SMT.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "experts/online.h"
#include "experts/quota.h"
#include "experts/topology.h"

static int add_cpus(struct sl_topology *topo)
{
    cpu_set_t set[SL_TOPOLOGY_CORES_MAX / CPU_SETSIZE];

    if (sched_getaffinity(0, sizeof(set), set) < 0)
        return -EIO;
    topo->cores = calloc(SL_TOPOLOGY_CORES_MAX, sizeof(topo->cores[0]));
    if (!topo->cores)
        return -ENOMEM;
    for (int cpu = 0; cpu < SL_TOPOLOGY_CORES_MAX; cpu++)
        if (CPU_ISSET_S(cpu, sizeof(set), set))
            topo->cores[topo->n_cores++] =
                (struct sl_topology_core){ .cpus = { cpu }, .n_cpus = 1 };
    topo->n_cpus = topo->n_cores;
    return topo->n_cores > 0 ? 0 : -EIO;
}

int sl_topology_open(struct sl_topology **ret_topo, struct sl_diag *diag)
{
    struct sl_topology *topo = calloc(1, sizeof(*topo));
    int r = -ENOMEM;

    if (!topo)
        goto fail;
    *topo = (struct sl_topology){ .n_l3 = 1, .n_nodes = 1, .n_kinds = 1, .source = "flat" };
    r = add_cpus(topo);
    if (r < 0)
        goto fail;
    topo->quota_cpus = sl_quota_read("");
    sl_online_read("", &topo->online);
    *ret_topo = topo;
    return 0;

fail:
    sl_topology_close(topo);
    return sl_diag_set(diag, r, r == -ENOMEM ? "not enough memory to describe the processors"
                                             : "the system does not tell which CPUs may be used");
}

int sl_topology_from_text(struct sl_topology **ret_topo, const char *text,
                          const char *allowed, struct sl_diag *diag)
{
    (void)ret_topo;
    (void)allowed;
    return sl_diag_set(diag, -ENOTSUP, "built without hwloc, so it cannot read: %s", text);
}
