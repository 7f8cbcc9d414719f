/* The head of a file. */
#include "cli/planshape.h"

#include "base/memory.h"
#include "experts/nodeplan.h"
#include "experts/placement.h"

/* Bytes beside the tensors, of all parts of a GGUF file that may be cut: as the engine
 * finds them in whole ones. */
static uint64_t metadata_bytes(const struct sl_gguf *gguf)
{
    uint64_t total = 0;

    for (uint32_t split = 0; split < sl_gguf_n_splits(gguf); split++) {
        uint64_t end = 0, tensors = 0;

        for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
            const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

            if (t->split != split)
                continue;
            tensors += t->bytes;
            if (t->file_off + t->bytes > end)
                end = t->file_off + t->bytes;
        }
        total += end > tensors ? end - tensors : 0; /* they may overlap in a bad file */
    }
    return total;
}

static bool is_cut(const struct sl_gguf *gguf)
{
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        if (t->file_off + t->bytes > sl_mapping_bytes(sl_gguf_mapping(gguf, t->split)))
            return true;
    }
    return false;
}

/* What experts take in the file, and whether all of them are there. */
static uint64_t stored_bytes(const struct sl_pack *pack, bool *ret_is_cut)
{
    uint64_t file_bytes = sl_mapping_bytes(sl_pack_mapping(pack));
    uint64_t total = 0;

    for (uint32_t i = 0; i < sl_pack_n_layers(pack); i++) {
        const struct sl_pack_layer *l = sl_pack_layer_at(pack, i);

        for (uint32_t j = 0; j < l->n_experts * SL_PACK_PARTS; j++) {
            total += l->parts[j].bytes;
            *ret_is_cut |= l->parts[j].off + l->parts[j].bytes > file_bytes;
        }
    }
    return total;
}

static int open_file(struct sl_planshape *shape, const char *path,
                     struct sl_diag *diag)
{
    int r;

    if (!sl_pack_detect(path)) {
        r = sl_gguf_open(&shape->gguf, path, SL_GGUF_HEADLESS, diag);
        if (r < 0)
            return r;
        shape->is_head_only = is_cut(shape->gguf);
        shape->in.metadata_bytes = metadata_bytes(shape->gguf);
        return 0;
    }
    r = sl_pack_open(&shape->pack, path, SL_PACK_HEADLESS, diag);
    if (r < 0)
        return r;
    shape->gguf = sl_pack_gguf(shape->pack);
    shape->in.metadata_bytes = sl_pack_meta_bytes(shape->pack);
    shape->stored_bytes = stored_bytes(shape->pack, &shape->is_head_only);
    return 0;
}

int sl_planshape_open(struct sl_planshape *shape, const char *path, struct sl_diag *diag)
{
    int r = open_file(shape, path, diag);

    if (r < 0)
        return r;
    r = sl_hparams_read(&shape->hp, shape->gguf, diag);
    if (r == 0)
        r = sl_weights_init(&shape->weights, &shape->hp, shape->gguf, diag);
    if (r < 0)
        return sl_diag_prefix(diag, r, "%s", path);
    shape->in.hp = &shape->hp;
    shape->in.weights = &shape->weights;
    shape->in.available_bytes = sl_memory_available("");
    shape->in.is_pack = shape->pack != NULL;
    for (uint32_t i = 0; i < sl_gguf_n_tensors(shape->gguf); i++)
        shape->in.weight_bytes += sl_gguf_tensor_at(shape->gguf, i)->bytes;
    return 0;
}

void sl_planshape_done(struct sl_planshape *shape)
{
    sl_weights_done(&shape->weights);
    if (shape->pack)
        sl_pack_close(shape->pack);
    else
        sl_gguf_close(shape->gguf);
    *shape = (struct sl_planshape){0};
}

int sl_planshape_count_threads(struct sl_plan_in *in, const struct sluice_model_opts *opts,
                               struct sl_diag *diag)
{
    struct sl_placement placement = {0};
    struct sl_nodeplan nodes = {0};
    struct sl_topology *topo;
    int r = sl_topology_open(&topo, diag);

    if (r < 0)
        return r;
    if (opts->cpus)
        r = sl_placement_exact(&placement, topo, opts->cpus, opts->n_threads, diag);
    else
        r = sl_placement_plan(&placement, topo, opts->n_threads, diag);
    if (opts->numa == SLUICE_NUMA_OFF)
        topo->memory = (struct sl_topology_nodes){.n = 0};
    if (r == 0)
        r = sl_nodeplan_make(&nodes, topo, &placement, &topo->memory);
    in->n_workers = placement.n_threads;
    in->n_nodes = nodes.n;
    sl_nodeplan_done(&nodes);
    sl_placement_done(&placement);
    sl_topology_close(topo);
    return r;
}
