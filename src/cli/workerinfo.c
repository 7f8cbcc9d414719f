/* L3 caches are listed in the order of their domains: "96 + 32 MiB", "8 x 32 MiB". */
#include "cli/workerinfo.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "experts/cpulist.h"
#include "model/engine.h"

#define LIST_BYTES 96
#define L3_LISTED 8u /* more of unequal sizes are only counted */

const char *sl_workerinfo_text(char *buf, const struct sluice_model_info *info)
{
    char list[LIST_BYTES];
    uint32_t n = info->n_threads;

    (void)snprintf(buf, SL_WORKERINFO_BYTES, "%" PRIu32 " thread%s on CPU%s %s (%s)", n,
                   n == 1 ? "" : "s", n == 1 ? "" : "s",
                   sl_cpulist_print(list, sizeof(list), info->thread_cpus, n),
                   info->threads_why); /* it fits */
    return buf;
}

const char *sl_workerinfo_copies_text(char *buf, const struct sluice_model_info *info)
{
    buf[0] = '\0';
    if (info->n_node_copies)
        (void)snprintf(buf, SL_WORKERINFO_BYTES, "shared weights on each of %" PRIu32
                       " NUMA nodes", info->n_node_copies);
    else if (info->node_copies_why[0])
        (void)snprintf(buf, SL_WORKERINFO_BYTES, "shared weights once for all NUMA nodes: %s",
                       info->node_copies_why); /* it fits */
    return buf;
}

void sl_workerinfo_write(struct sl_jsonwriter *w, const struct sluice_model_info *info)
{
    sl_jsonwriter_member_u64(w, "threads", info->n_threads);
    sl_jsonwriter_member_array(w, "thread_cpus");
    for (uint32_t i = 0; i < info->n_threads; i++)
        sl_jsonwriter_i64(w, info->thread_cpus[i]);
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_member_string(w, "threads_why", info->threads_why);
    sl_jsonwriter_member_u64(w, "spread_nodes", info->n_spread_nodes);
    sl_jsonwriter_member_u64(w, "node_copies", info->n_node_copies);
    sl_jsonwriter_member_string(w, "node_copies_why", info->node_copies_why);
}

/* Bytes of the L3 of a domain; 0: it has none. */
static uint64_t l3_bytes(const struct sl_topology *topo, uint32_t l3)
{
    for (uint32_t i = 0; i < topo->n_cores; i++)
        if (topo->cores[i].l3 == l3)
            return topo->cores[i].l3_bytes;
    return 0;
}

static void print_l3(const struct sl_topology *topo)
{
    uint64_t first = l3_bytes(topo, 0);
    bool is_even = true;

    for (uint32_t i = 1; i < topo->n_l3; i++)
        is_even &= l3_bytes(topo, i) == first;
    if (is_even && first == 0)
        return;
    if (topo->n_l3 == 1) {
        printf(", L3 %" PRIu64 " MiB", first >> 20);
    } else if (is_even) {
        printf(", L3 %" PRIu32 " x %" PRIu64 " MiB", topo->n_l3, first >> 20);
    } else if (topo->n_l3 > L3_LISTED) {
        printf(", %" PRIu32 " L3 domains", topo->n_l3);
    } else {
        for (uint32_t i = 0; i < topo->n_l3; i++)
            printf("%s%" PRIu64, i ? " + " : ", L3 ", l3_bytes(topo, i) >> 20);
        printf(" MiB");
    }
}

void sl_workerinfo_print_machine(const struct sluice_model *model)
{
    const struct sl_topology *topo = model->topology;
    struct sluice_model_info info;
    char list[LIST_BYTES], copies[SL_WORKERINFO_BYTES];

    sluice_model_get_info(model, &info);
    printf("threads       %" PRIu32 " on logical CPU%s %s: %s\n", info.n_threads,
           info.n_threads == 1 ? "" : "s",
           sl_cpulist_print(list, sizeof(list), info.thread_cpus, info.n_threads),
           info.threads_why);
    printf("              of %" PRIu32 " core%s, %" PRIu32 " logical CPUs", topo->n_cores,
           topo->n_cores == 1 ? "" : "s", topo->n_cpus);
    print_l3(topo);
    printf(", %" PRIu32 " NUMA node%s", topo->n_nodes, topo->n_nodes == 1 ? "" : "s");
    if (info.n_spread_nodes)
        printf(", memory spread over %" PRIu32, info.n_spread_nodes);
    if (topo->quota_cpus > 0)
        printf(", quota of %g CPUs", topo->quota_cpus);
    printf(" (%s)\n", topo->source);
    if (sl_workerinfo_copies_text(copies, &info)[0])
        printf("              %s\n", copies);
}

void sl_workerinfo_write_machine(struct sl_jsonwriter *w, const struct sluice_model *model)
{
    const struct sl_topology *topo = model->topology;
    struct sluice_model_info info;

    sluice_model_get_info(model, &info);
    sl_workerinfo_write(w, &info);
    sl_jsonwriter_member_object(w, "topology");
    sl_jsonwriter_member_u64(w, "cores", topo->n_cores);
    sl_jsonwriter_member_u64(w, "cpus", topo->n_cpus);
    sl_jsonwriter_member_array(w, "l3_bytes");
    for (uint32_t i = 0; i < topo->n_l3; i++)
        sl_jsonwriter_u64(w, l3_bytes(topo, i));
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_member_u64(w, "nodes", topo->n_nodes);
    sl_jsonwriter_member_u64(w, "kinds", topo->n_kinds);
    sl_jsonwriter_member_f64(w, "quota_cpus", topo->quota_cpus);
    sl_jsonwriter_member_string(w, "source", topo->source);
    sl_jsonwriter_end_object(w);
}
