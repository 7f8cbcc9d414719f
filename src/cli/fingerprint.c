/*
 * The machine is asked in the cheapest ways, since every command does so that has a model
 * and no number of threads: no hwloc, which takes milliseconds, and more on big machines.
 * All that hwloc would tell is settled by processor, CPUs switched on, and nodes.
 */
#include "cli/fingerprint.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli/benchprint.h"
#include "experts/cpulist.h"
#include "experts/quota.h"
#include "experts/topology.h"
#include "loader/pack.h"
#include "tensor/dtype.h"

#define LIST_BYTES 96

/* One line of the system; "?" if it does not tell. */
static void read_line(char *line, int bytes, const char *path)
{
    FILE *file = fopen(path, "re");

    if (!file || !fgets(line, bytes, file))
        (void)strcpy(line, "?");
    if (file)
        (void)fclose(file); /* read only: nothing to lose */
    line[strcspn(line, "\n")] = '\0';
    sl_text_clean(line);
}

static void list_allowed(char *list, size_t bytes)
{
    cpu_set_t allowed[SL_TOPOLOGY_CPUS_MAX / CPU_SETSIZE];
    int32_t cpus[SL_TOPOLOGY_CPUS_MAX];
    uint32_t n = 0;

    if (sched_getaffinity(0, sizeof(allowed), allowed) == 0)
        for (int32_t cpu = 0; cpu < SL_TOPOLOGY_CPUS_MAX; cpu++)
            if (CPU_ISSET_S((size_t)cpu, sizeof(allowed), allowed))
                cpus[n++] = cpu;
    (void)sl_cpulist_print(list, bytes, cpus, n);
}

void sl_fingerprint_machine(struct sl_tuned_key *key)
{
    char cpu[128], online[LIST_BYTES], nodes[LIST_BYTES], allowed[LIST_BYTES];

    sl_benchprint_cpu(cpu, sizeof(cpu));
    read_line(online, sizeof(online), "/sys/devices/system/cpu/online");
    read_line(nodes, sizeof(nodes), "/sys/devices/system/node/online");
    list_allowed(allowed, sizeof(allowed));
    (void)snprintf(key->machine, sizeof(key->machine),
                   "%s; CPUs %s, allowed %s; nodes %s; quota %g", cpu, online, allowed, nodes,
                   sl_quota_read("")); /* it fits */
}

void sl_fingerprint_model(struct sl_tuned_key *key, const struct sl_gguf *gguf,
                          const struct sl_hparams *hp)
{
    uint64_t bytes[SL_DTYPE_LIMIT] = {0};
    size_t len;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        if (t->dtype < SL_DTYPE_LIMIT)
            bytes[t->dtype] += t->bytes;
    }
    len = (size_t)snprintf(key->model, sizeof(key->model),
                           "%s; layers %" PRIu32 ", %" PRIu32 " dense, %" PRIu32
                           " attention; width %" PRIu32 "; experts %" PRIu32 ", %" PRIu32 " used",
                           hp->is_moe ? "lfm2moe" : "lfm2", hp->n_layers, hp->n_dense,
                           hp->n_attn_layers, hp->width, hp->n_experts, hp->n_experts_used);
    for (uint32_t type = 0; type < SL_DTYPE_LIMIT && len < sizeof(key->model); type++)
        if (bytes[type])
            len += (size_t)snprintf(key->model + len, sizeof(key->model) - len, "; %s %" PRIu64,
                                    sl_dtype_name(type), bytes[type]); /* cut is good enough */
}

int sl_fingerprint_file(struct sl_tuned_key *key, const char *path, struct sl_diag *diag)
{
    struct sl_pack *pack = NULL;
    struct sl_gguf *gguf = NULL;
    struct sl_hparams hp;
    int r = sl_pack_detect(path) ? sl_pack_open(&pack, path, 0, diag)
                                 : sl_gguf_open(&gguf, path, 0, diag);

    if (r < 0)
        return r;
    if (pack)
        gguf = sl_pack_gguf(pack);
    r = sl_hparams_read(&hp, gguf, diag);
    if (r == 0)
        sl_fingerprint_model(key, gguf, &hp);
    if (pack)
        sl_pack_close(pack);
    else
        sl_gguf_close(gguf);
    return r;
}
