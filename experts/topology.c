/*
 * The topology as hwloc sees it.
 *
 * A pass over the CORE objects in hwloc's logical order, which keeps together what
 * shares caches; each allowed PU below gives a logical CPU. Where a machine shows no
 * cores (some virtual ones), each PU counts as a core. The L3 domain is the nearest
 * L3 above; without one, the package; without that, the machine. L3 domains and
 * nodes are numbered as they are first met, so those that are not allowed at all
 * leave no gaps.
 *
 * Kinds are hwloc's cpukinds, ranked by it with the most efficient (slowest) first. A
 * kind is of another design than the fastest if both name a core type and the names
 * differ ("IntelAtom" beside "IntelCore"); kinds that differ in frequency alone are
 * not small.
 */
#include "experts/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "experts/online.h"
#include "experts/quota.h"

/* Ids of hwloc to small numbers in order of first use. */
struct numbering {
    uint64_t *ids;
    uint32_t n;
};

static uint32_t number_of(struct numbering *numbering, uint64_t id)
{
    /* Backwards: neighbours share their domain. */
    for (uint32_t i = numbering->n; i > 0; i--)
        if (numbering->ids[i - 1] == id)
            return i - 1;
    numbering->ids[numbering->n] = id;
    return numbering->n++;
}

/* The object whose identity stands for the L3 domain of obj, and its size. */
static hwloc_obj_t l3_of(hwloc_topology_t hw, hwloc_obj_t obj, uint64_t *ret_bytes)
{
    hwloc_obj_t l3 = hwloc_get_ancestor_obj_by_type(hw, HWLOC_OBJ_L3CACHE, obj);

    *ret_bytes = l3 ? l3->attr->cache.size : 0;
    if (!l3)
        l3 = hwloc_get_ancestor_obj_by_type(hw, HWLOC_OBJ_PACKAGE, obj);
    return l3 ? l3 : hwloc_get_root_obj(hw);
}

static const char *core_type(const struct hwloc_info_s *infos, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(infos[i].name, "CoreType") == 0)
            return infos[i].value;
    return NULL;
}

/* kind and is_small of a core. Machines with one kind have none in hwloc. */
static void find_kind(hwloc_topology_t hw, hwloc_const_cpuset_t cpuset, int n_kinds,
                      struct sl_topology_core *core)
{
    int kind = hwloc_cpukinds_get_by_cpuset(hw, cpuset, 0);
    struct hwloc_info_s *own, *fastest;
    const char *own_type, *fastest_type;
    unsigned n_own, n_fastest;
    int rank; /* -1: hwloc cannot order the kinds */

    if (kind < 0 || n_kinds < 2 ||
        hwloc_cpukinds_get_info(hw, (unsigned)kind, NULL, &rank, &n_own, &own, 0) < 0 ||
        hwloc_cpukinds_get_info(hw, (unsigned)n_kinds - 1, NULL, NULL, &n_fastest, &fastest, 0) <
            0 ||
        rank < 0)
        return;
    own_type = core_type(own, n_own);
    fastest_type = core_type(fastest, n_fastest);
    core->kind = (uint32_t)kind;
    core->is_small = own_type && fastest_type && strcmp(own_type, fastest_type) != 0;
}

static void add_node(struct sl_topology_nodes *nodes, int node)
{
    uint64_t bit = 1ull << ((unsigned)node % 64);

    if (node < 0 || node >= SL_TOPOLOGY_NODES_MAX || nodes->bits[node / 64] & bit)
        return;
    nodes->bits[node / 64] |= bit;
    nodes->n++;
}

/* Whether numactl or the like has said where memory is to come from. */
static bool has_policy(hwloc_topology_t hw)
{
    hwloc_nodeset_t set = hwloc_bitmap_alloc();
    hwloc_membind_policy_t policy;
    bool r = set && hwloc_get_membind(hw, set, &policy, HWLOC_MEMBIND_THREAD |
                                                            HWLOC_MEMBIND_BYNODESET) == 0 &&
             policy != HWLOC_MEMBIND_DEFAULT && policy != HWLOC_MEMBIND_FIRSTTOUCH;

    hwloc_bitmap_free(set);
    return r;
}

/* Add the core at obj with its allowed CPUs; none of them: add nothing. */
static void add_core(struct sl_topology *topo, hwloc_topology_t hw, hwloc_obj_t obj,
                     hwloc_const_cpuset_t allowed, struct numbering *l3s,
                     struct numbering *nodes)
{
    struct sl_topology_core core = { 0 };
    int cpu;

    for (cpu = hwloc_bitmap_first(obj->cpuset);
         cpu >= 0 && core.n_cpus < SL_TOPOLOGY_CORE_CPUS_MAX;
         cpu = hwloc_bitmap_next(obj->cpuset, cpu))
        if (hwloc_bitmap_isset(allowed, (unsigned)cpu))
            core.cpus[core.n_cpus++] = cpu;
    if (core.n_cpus == 0 || topo->n_cores == SL_TOPOLOGY_CORES_MAX)
        return;
    core.l3 = number_of(l3s, l3_of(hw, obj, &core.l3_bytes)->gp_index);
    core.node = number_of(nodes, (uint64_t)hwloc_bitmap_first(obj->nodeset));
    core.node_id = hwloc_bitmap_first(obj->nodeset);
    add_node(&topo->memory, hwloc_bitmap_first(obj->nodeset));
    find_kind(hw, obj->cpuset, (int)topo->n_kinds, &core);
    topo->cores[topo->n_cores++] = core;
    topo->n_cpus += core.n_cpus;
}

/* Everything from a loaded hwloc topology. */
static int build(struct sl_topology **ret_topo, hwloc_topology_t hw,
                 hwloc_const_cpuset_t allowed, struct sl_diag *diag)
{
    hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(hw, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE
                                                                              : HWLOC_OBJ_PU;
    int n_objs = hwloc_get_nbobjs_by_type(hw, type);
    size_t n = n_objs > 0 ? (size_t)n_objs : 1;
    int n_kinds = hwloc_cpukinds_get_nr(hw, 0);
    struct sl_topology *topo = calloc(1, sizeof(*topo));
    struct numbering l3s = { .ids = calloc(n, sizeof(uint64_t)) };
    struct numbering nodes = { .ids = calloc(n, sizeof(uint64_t)) };
    int r = 0;

    if (topo)
        topo->cores = calloc(n, sizeof(topo->cores[0]));
    if (!topo || !topo->cores || !l3s.ids || !nodes.ids) {
        r = sl_diag_set(diag, -ENOMEM, "not enough memory to describe the processors");
        goto done;
    }
    topo->source = "hwloc";
    topo->n_kinds = n_kinds > 0 ? (uint32_t)n_kinds : 1;
    for (int i = 0; i < n_objs; i++)
        add_core(topo, hw, hwloc_get_obj_by_type(hw, type, (unsigned)i), allowed, &l3s, &nodes);
    topo->n_l3 = l3s.n;
    topo->n_nodes = nodes.n;
    if (topo->n_cores == 0)
        r = sl_diag_set(diag, -ERANGE, "no CPU of this machine may be used");

done:
    free(l3s.ids);
    free(nodes.ids);
    if (r < 0)
        sl_topology_close(topo);
    else
        *ret_topo = topo;
    return r;
}

int sl_topology_open(struct sl_topology **ret_topo, struct sl_diag *diag)
{
    hwloc_topology_t hw = NULL;
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
    int r = -ENOMEM;

    if (!allowed || hwloc_topology_init(&hw) < 0)
        goto fail;
    r = -EIO;
    if (hwloc_topology_load(hw) < 0)
        goto fail;
    /* The cpuset of the cgroup is in the topology, the affinity of the thread is not. */
    if (hwloc_get_cpubind(hw, allowed, HWLOC_CPUBIND_THREAD) < 0)
        hwloc_bitmap_fill(allowed);
    r = build(ret_topo, hw, allowed, diag);
    if (r < 0)
        goto done;
    (*ret_topo)->quota_cpus = sl_quota_read("");
    sl_online_read("", &(*ret_topo)->online);
    if (has_policy(hw))
        (*ret_topo)->memory = (struct sl_topology_nodes){ .n = 0 };
    goto done;

fail:
    sl_diag_set(diag, r, r == -ENOMEM ? "not enough memory to describe the processors"
                                      : "the system does not describe its processors");
done:
    if (hw)
        hwloc_topology_destroy(hw);
    hwloc_bitmap_free(allowed);
    return r;
}

static int load_text(hwloc_topology_t hw, const char *text)
{
    size_t len = strlen(text);
    bool is_xml = len > 4 && strcmp(text + len - 4, ".xml") == 0;

    if (is_xml ? hwloc_topology_set_xml(hw, text) : hwloc_topology_set_synthetic(hw, text))
        return -EBADMSG;
    return hwloc_topology_load(hw) < 0 ? -EBADMSG : 0;
}

static void add_online(struct sl_topology *topo, hwloc_topology_t hw)
{
    hwloc_const_cpuset_t set = hwloc_topology_get_topology_cpuset(hw);

    for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu))
        sl_topology_cpus_add(&topo->online, cpu);
}

int sl_topology_from_text(struct sl_topology **ret_topo, const char *text,
                          const char *allowed_list, struct sl_diag *diag)
{
    hwloc_topology_t hw = NULL;
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc_full();
    int r = -ENOMEM;

    if (!allowed || hwloc_topology_init(&hw) < 0) {
        sl_diag_set(diag, r, "not enough memory to describe the processors");
        goto done;
    }
    r = load_text(hw, text);
    if (r >= 0 && allowed_list && hwloc_bitmap_list_sscanf(allowed, allowed_list) < 0)
        r = -EBADMSG;
    if (r < 0)
        sl_diag_set(diag, r, "not a topology, or not a list of CPUs: %s", text);
    else
        r = build(ret_topo, hw, allowed, diag);
    if (r >= 0) {
        (*ret_topo)->source = "given";
        add_online(*ret_topo, hw);
    }

done:
    if (hw)
        hwloc_topology_destroy(hw);
    hwloc_bitmap_free(allowed);
    return r;
}
