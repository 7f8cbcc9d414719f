/*
 * Opening a model: file → shape → tensors → kernels → vocabulary → threads, each step
 * checked before the next, and everything undone if one fails.
 */
#include "model/engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/workers.h"

#define MIB (1024.0 * 1024.0)
/* A file with less than this share in the page cache is read ahead when it is opened. */
#define WARM_SHARE 0.98
#define WARM_THREADS 8u

_Static_assert(sizeof(struct sluice_error) == sizeof(struct sl_diag), "one layout");

const char *sluice_version(void)
{
    return SLUICE_VERSION;
}

static int read_strings(const struct sl_gguf *gguf, const char *key, struct sl_str_view **ret_views,
                        uint32_t *ret_n, struct sl_diag *diag)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, key);
    struct sl_str_view *views;
    uint64_t cursor = 0;

    if (!kv || kv->type != SL_GGUF_ARRAY || kv->item_type != SL_GGUF_STRING)
        return sl_diag_set(diag, -EBADMSG, "metadata key %s: expected a list of strings, found %s",
                           key, kv ? sl_gguf_type_name(kv->item_type) : "nothing");
    views = calloc(kv->n_items ? kv->n_items : 1, sizeof(*views));
    if (!views)
        return -ENOMEM;
    for (uint64_t i = 0; i < kv->n_items; i++) {
        struct sl_gguf_str s;

        if (!sl_gguf_kv_str(kv, &cursor, &s)) {
            free(views);
            return sl_diag_set(diag, -EBADMSG, "metadata key %s: item %" PRIu64 " is malformed",
                               key, i);
        }
        views[i] = (struct sl_str_view){ s.ptr, s.len };
    }
    *ret_views = views;
    *ret_n = (uint32_t)kv->n_items; /* at most SL_GGUF_ARRAY_ITEMS_MAX */
    return 0;
}

static int read_types(const struct sl_gguf *gguf, uint32_t n_tokens, int32_t **ret_types,
                      struct sl_diag *diag)
{
    const char *key = "tokenizer.ggml.token_type";
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, key);
    int32_t *types;

    *ret_types = NULL;
    if (!kv)
        return 0;
    if (kv->type != SL_GGUF_ARRAY || kv->n_items != n_tokens)
        return sl_diag_set(diag, -EBADMSG, "metadata key %s: expected %" PRIu32
                           " items, found %" PRIu64, key, n_tokens, kv->n_items);
    types = malloc(n_tokens * sizeof(*types));
    if (!types)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_tokens; i++) {
        uint64_t value;

        if (!sl_gguf_kv_u64(kv, i, &value) || value > INT32_MAX) {
            free(types);
            return sl_diag_set(diag, -EBADMSG, "metadata key %s: item %" PRIu32
                               " is no token type", key, i);
        }
        types[i] = (int32_t)value;
    }
    *ret_types = types;
    return 0;
}

/* A token id, or -1 if the key is absent. */
static int read_id(const struct sl_gguf *gguf, const char *key, uint32_t n_tokens, int32_t *ret_id,
                   struct sl_diag *diag)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, key);
    uint64_t value;

    *ret_id = -1;
    if (!kv)
        return 0;
    if (!sl_gguf_kv_u64(kv, 0, &value) || value >= n_tokens)
        return sl_diag_set(diag, -EBADMSG, "metadata key %s: expected a token id below %" PRIu32,
                           key, n_tokens);
    *ret_id = (int32_t)value;
    return 0;
}

static bool read_bool(const struct sl_gguf *gguf, const char *key, bool fallback)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, key);
    uint64_t value;

    return kv && sl_gguf_kv_u64(kv, 0, &value) ? value != 0 : fallback;
}

static struct sl_gguf_str read_str(const struct sl_gguf *gguf, const char *key)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, key);
    struct sl_gguf_str s;
    uint64_t cursor = 0;

    if (kv && kv->type == SL_GGUF_STRING && sl_gguf_kv_str(kv, &cursor, &s))
        return s;
    return (struct sl_gguf_str){ "", 0 };
}

static int open_vocab(struct sluice_model *m, struct sl_diag *diag)
{
    struct sl_str_view *tokens = NULL, *merges = NULL;
    struct sl_gguf_str kind = read_str(m->gguf, "tokenizer.ggml.model");
    struct sl_gguf_str pre = read_str(m->gguf, "tokenizer.ggml.pre");
    struct sl_vocab_opts opts = { .pre = { pre.ptr, pre.len } };
    int32_t *types = NULL;
    int r;

    if (kind.len != 4 || memcmp(kind.ptr, "gpt2", 4) != 0)
        return sl_diag_set(diag, -ENOTSUP,
                           "tokenizer \"%.*s\" is not supported, only \"gpt2\" (byte-level BPE)",
                           (int)(kind.len < 64 ? kind.len : 64), kind.ptr);
    r = read_strings(m->gguf, "tokenizer.ggml.tokens", &tokens, &opts.n_tokens, diag);
    if (r < 0)
        goto done;
    if (opts.n_tokens != m->weights.n_vocab) {
        r = sl_diag_set(diag, -EBADMSG, "the vocabulary has %" PRIu32
                        " tokens, the embedding matrix %" PRIu32 " rows", opts.n_tokens,
                        m->weights.n_vocab);
        goto done;
    }
    r = read_strings(m->gguf, "tokenizer.ggml.merges", &merges, &opts.n_merges, diag);
    if (r < 0)
        goto done;
    r = read_types(m->gguf, opts.n_tokens, &types, diag);
    if (r < 0)
        goto done;
    r = read_id(m->gguf, "tokenizer.ggml.bos_token_id", opts.n_tokens, &opts.bos, diag);
    if (r < 0)
        goto done;
    r = read_id(m->gguf, "tokenizer.ggml.eos_token_id", opts.n_tokens, &opts.eos, diag);
    if (r < 0)
        goto done;
    r = read_id(m->gguf, "tokenizer.ggml.padding_token_id", opts.n_tokens, &opts.pad, diag);
    if (r < 0)
        goto done;
    opts.tokens = tokens;
    opts.merges = merges;
    opts.types = types;
    opts.add_bos = read_bool(m->gguf, "tokenizer.ggml.add_bos_token", true);
    opts.add_eos = read_bool(m->gguf, "tokenizer.ggml.add_eos_token", false);
    r = sl_vocab_new(&m->vocab, &opts, diag);
    if (r < 0)
        goto done;
    r = sl_tokenizer_new(&m->tokenizer, m->vocab, diag);
    if (r < 0)
        goto done;
    r = sl_tokentrie_share_new(&m->trie, m->vocab);
    if (r < 0)
        (void)sl_diag_set(diag, r, "not enough memory for the vocabulary");

done:
    free(tokens);
    free(merges);
    free(types);
    return r;
}

static void detect_template(struct sluice_model *m)
{
    struct sl_gguf_str text = read_str(m->gguf, "tokenizer.chat_template");

    m->chat_template = sl_chat_detect(text.ptr, text.len);
    m->is_chat_template_known = m->chat_template != SL_CHAT_CHATML;
}

/* Where the experts of a plain pack lie in its mapping: records, not stacks. */
static int find_addresses(struct sluice_model *m, struct sl_diag *diag)
{
    uint64_t n_parts = (uint64_t)m->hp.n_experts * SL_PACK_PARTS;

    m->addresses = calloc(n_parts * m->hp.n_layers, sizeof(*m->addresses));
    if (!m->addresses)
        return -ENOMEM;
    for (uint32_t i = m->hp.n_dense; i < m->hp.n_layers; i++) {
        const struct sl_pack_layer *layer = sl_pack_layer_find(m->pack, i);

        if (!layer || layer->n_experts != m->hp.n_experts)
            return sl_diag_set(diag, -EBADMSG, "layer %" PRIu32 ": the pack has no records of its "
                               "experts", i);
        for (uint32_t j = 0; j < n_parts; j++)
            m->addresses[n_parts * i + j] =
                sl_pack_part_data(m->pack, layer, j / SL_PACK_PARTS, j % SL_PACK_PARTS);
    }
    return 0;
}

static const void *const *addresses_of(const struct sluice_model *m, uint32_t layer)
{
    if (!m->addresses || layer < m->hp.n_dense)
        return NULL;
    return m->addresses + (uint64_t)m->hp.n_experts * SL_PACK_PARTS * layer;
}

/* Experts of a pack that are all in memory: where they lie, or decoded. */
static int open_resident_pack(struct sluice_model *m, const struct sluice_model_opts *opts,
                              struct sl_diag *diag)
{
    int r;

    if (!m->pack || !m->hp.is_moe)
        return 0;
    if (!sl_pack_has_encoded_experts(m->pack))
        return find_addresses(m, diag);
    r = sl_pack_load(m->pack, SL_PACK_LOAD_EXPERTS, m->pool, opts->progress, opts->progress_arg,
                     diag);
    if (r < 0)
        return r;
    sl_weights_done(&m->weights); /* the stacks have data now */
    return sl_weights_init(&m->weights, &m->hp, m->gguf, diag);
}

static int open_cache(struct sluice_model *m)
{
    struct sl_cache_layer *layers;
    int r;

    if (!m->hp.is_moe)
        return 0;
    layers = calloc(m->hp.n_layers, sizeof(*layers));
    if (!layers)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->hp.n_layers; i++)
        layers[i] = (struct sl_cache_layer){
            .mats = { m->weights.layers[i].gate, m->weights.layers[i].up,
                      m->weights.layers[i].down },
            .addresses = addresses_of(m, i),
        };
    r = sl_cache_new_resident(&m->cache, layers, m->hp.n_layers);
    free(layers);
    return r;
}

static int choose_kernels(struct sluice_model *m, enum sluice_cpu cpu, struct sl_diag *diag)
{
    enum sl_cpu_level best = sl_cpu_best();
    enum sl_cpu_level level = best;

    if (cpu != SLUICE_CPU_AUTO)
        level = (enum sl_cpu_level)(cpu - SLUICE_CPU_C);
    if (level > best)
        return sl_diag_set(diag, -ENOTSUP, "CPU level %s asked for, but this CPU has only %s",
                           sl_cpu_level_name(level), sl_cpu_level_name(best));
    sl_kernels_init(&m->kernels, level);
    return 0;
}

/* Bytes of the file beside the tensors: the header, with the vocabulary. */
static uint64_t metadata_bytes(const struct sluice_model *m)
{
    if (m->pack)
        return sl_pack_meta_bytes(m->pack);
    return m->file_bytes > m->weight_bytes ? m->file_bytes - m->weight_bytes : 0;
}

static int make_plan(struct sluice_model *m, const struct sluice_model_opts *opts,
                     struct sl_diag *diag)
{
    struct sl_plan_in in = {
        .hp = &m->hp,
        .weights = &m->weights,
        .n_workers = sl_pool_n_workers(m->pool),
        .n_nodes = m->nodeplan.n,
        .is_pack = m->pack != NULL,
        .ram_bytes = opts->ram_bytes,
        .available_bytes = sl_memory_available(""),
        .residency = opts->residency,
        .weight_bytes = m->weight_bytes,
        .metadata_bytes = metadata_bytes(m),
    };

    if (opts->session)
        in.session = *opts->session;
    return sl_plan_make(&m->plan, &in, diag);
}

struct warm_progress {
    const struct sluice_model_opts *opts;
    uint64_t before; /* bytes of the parts already read */
    uint64_t total;
};

static int report_warm(void *arg, uint64_t done, uint64_t total)
{
    struct warm_progress *p = arg;

    (void)total;
    return p->opts->progress(p->opts->progress_arg, p->before + done, p->total);
}

static int warm(struct sluice_model *m, const struct sluice_model_opts *opts, struct sl_diag *diag)
{
    struct warm_progress p = { .opts = opts, .total = m->file_bytes };

    if (opts->flags & SLUICE_MODEL_NO_WARM)
        return 0;
    for (uint32_t i = 0; i < sl_gguf_n_splits(m->gguf); i++) {
        struct sl_mapping *map = sl_gguf_mapping(m->gguf, i);
        uint64_t bytes = sl_mapping_bytes(map);
        int r;

        if (sl_mapping_resident(map, 0, bytes) < WARM_SHARE) {
            r = sl_mapping_warm(map, 0, bytes, WARM_THREADS, opts->progress ? report_warm : NULL,
                                &p, diag);
            if (r < 0)
                return r;
        }
        p.before += bytes;
    }
    return 0;
}

static int open_file(struct sluice_model *m, const char *path, struct sl_diag *diag)
{
    struct sl_gguf_str name;
    int r;

    if (sl_pack_detect(path)) {
        r = sl_pack_open(&m->pack, path, 0, diag);
        if (r < 0)
            return r;
        m->gguf = sl_pack_gguf(m->pack);
    } else {
        r = sl_gguf_open(&m->gguf, path, 0, diag);
        if (r < 0)
            return r;
    }
    name = read_str(m->gguf, "general.name");
    m->path = strdup(path);
    m->name = strndup(name.ptr, name.len);
    if (!m->path || !m->name)
        return -ENOMEM;
    for (uint32_t i = 0; i < sl_gguf_n_splits(m->gguf); i++)
        m->file_bytes += sl_mapping_bytes(sl_gguf_mapping(m->gguf, i));
    for (uint32_t i = 0; i < sl_gguf_n_tensors(m->gguf); i++)
        m->weight_bytes += sl_gguf_tensor_at(m->gguf, i)->bytes;
    return 0;
}

static void set_random(struct sluice_model *m, bool is_random)
{
    for (uint32_t i = 0; i < sl_gguf_n_splits(m->gguf); i++)
        sl_mapping_set_random(sl_gguf_mapping(m->gguf, i), is_random);
}

/* Everything that lies in memory, once there is a file and there are workers. */
static int load(struct sluice_model *m, const char *path, const struct sluice_model_opts *opts,
                struct sl_diag *diag)
{
    int r = sl_hparams_read(&m->hp, m->gguf, diag);

    if (r < 0)
        goto named;
    if (m->pack) {
        r = sl_pack_load(m->pack, SL_PACK_LOAD_SHARED, m->pool, NULL, NULL, diag);
        if (r < 0)
            goto named;
    }
    r = sl_weights_init(&m->weights, &m->hp, m->gguf, diag);
    if (r < 0)
        goto named;
    r = open_vocab(m, diag);
    if (r < 0)
        goto named;
    detect_template(m);
    m->is_text_only = (opts->flags & SLUICE_MODEL_TEXT) != 0;
    if (m->is_text_only)
        return 0;
    r = make_plan(m, opts, diag);
    if (r < 0)
        goto named;
    sl_workers_reserve_copies(m);
    if (m->plan.is_streaming) {
        r = sl_stream_open(m, &m->plan, opts, diag);
        if (r < 0)
            goto named;
        return sl_engine_check_mappings(m, diag);
    }
    set_random(m, false);
    for (uint32_t i = 0; i < sl_gguf_n_splits(m->gguf); i++)
        sl_mapping_set_huge(sl_gguf_mapping(m->gguf, i));
    r = open_resident_pack(m, opts, diag);
    if (r < 0)
        goto named;
    r = open_cache(m);
    if (r < 0)
        return r;
    r = warm(m, opts, diag);
    if (r < 0)
        return r;
    sl_workers_fill_copies(m, 0);
    return sl_engine_check_mappings(m, diag);

named:
    return diag && diag->text[0] ? sl_diag_prefix(diag, r, "%s", path) : r;
}

/* Lines for people on what was fallen back to. error: why memory is not spread, or 0. */
static void add_notes(struct sluice_model *m, int error)
{
    uint32_t n_unbound = sl_pool_n_unbound(m->pool);
    size_t len = strlen(m->notes);

    if (error) /* a cut note will do */
        (void)snprintf(m->notes + len, sizeof(m->notes) - len,
                       "%smemory cannot be spread over the NUMA nodes: %s", len ? "\n" : "",
                       strerror(-error));
    len = strlen(m->notes);
    if (m->copies.is_refused)
        (void)snprintf(m->notes + len, sizeof(m->notes) - len,
                       "%sthe shared weights are not copied to each NUMA node: %s",
                       len ? "\n" : "", m->copies.why);
    len = strlen(m->notes);
    if (n_unbound)
        (void)snprintf(m->notes + len, sizeof(m->notes) - len,
                       "%s%" PRIu32 " threads cannot be bound to their CPUs, so the system moves "
                       "them about", len ? "\n" : "", n_unbound);
}

static int open_all(struct sluice_model *m, const char *path, const struct sluice_model_opts *opts,
                    struct sl_diag *diag)
{
    struct sl_topology_policy before;
    int r, spread;

    if (!(opts->flags & SLUICE_MODEL_NO_SIGBUS)) {
        r = sl_mapping_install_sigbus();
        if (r < 0)
            return sl_diag_set(diag, r, "cannot install the SIGBUS handler: %s", strerror(-r));
    }
    r = choose_kernels(m, opts->cpu, diag);
    if (r < 0)
        return r;
    r = open_file(m, path, diag);
    if (r < 0)
        return r;
    set_random(m, true); /* until it is known that all of it will be read */
    r = sl_workers_open(m, opts, diag);
    if (r < 0)
        return r;
    spread = sl_topology_spread(&m->nodes, &before);
    r = load(m, path, opts, diag);
    sl_topology_unspread(&before);
    if (spread < 0)
        m->nodes = (struct sl_topology_nodes){ .n = 0 };
    if (r == 0)
        add_notes(m, spread);
    return r;
}

int sluice_model_open(struct sluice_model **ret_model, const char *path,
                      const struct sluice_model_opts *opts, struct sluice_error *error)
{
    static const struct sluice_model_opts defaults = { 0 };
    struct sl_diag *diag = (struct sl_diag *)error;
    struct sluice_model *m;
    int r;

    if (diag)
        diag->text[0] = '\0';
    if (!ret_model || !path)
        return sl_diag_set(diag, -EINVAL, "no model file given");
    if (!opts)
        opts = &defaults;
    if (opts->flags & ~(uint32_t)(SLUICE_MODEL_NO_SIGBUS | SLUICE_MODEL_NO_WARM |
                                  SLUICE_MODEL_TEXT) ||
        opts->cpu > SLUICE_CPU_AVX512 || opts->residency > SLUICE_RESIDENCY_STREAM ||
        opts->io > SLUICE_IO_BUFFERED || opts->predict > SLUICE_PREDICT_OFF ||
        opts->policy > SLUICE_POLICY_LFU || opts->numa > SLUICE_NUMA_OFF)
        return sl_diag_set(diag, -EINVAL, "unknown model option");
    m = calloc(1, sizeof(*m));
    if (!m)
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory", path);
    r = open_all(m, path, opts, diag);
    if (r < 0) {
        sluice_model_close(m);
        if (diag && !diag->text[0])
            sl_diag_set(diag, r, "%s: %s", path, sl_err_text(r));
        return r;
    }
    *ret_model = m;
    return 0;
}

int sluice_model_finish(struct sluice_model *m, struct sluice_error *error)
{
    return m->is_streaming ? sl_stream_finish(m, (struct sl_diag *)error) : 0;
}

void sluice_model_rest(struct sluice_model *m)
{
    sl_stream_rest(m);
}

void sluice_model_close(struct sluice_model *m)
{
    if (!m)
        return;
    sl_workers_close(m);
    sl_stream_close(m);
    sl_nodecopy_done(&m->copies);
    sl_cache_free(m->cache);
    sl_tokenizer_free(m->tokenizer);
    sl_tokentrie_share_free(m->trie);
    sl_vocab_free(m->vocab);
    sl_weights_done(&m->weights);
    free(m->addresses);
    if (m->pack)
        sl_pack_close(m->pack);
    else
        sl_gguf_close(m->gguf);
    sl_topology_close(m->topology);
    free(m->path);
    free(m->name);
    free(m);
}

void sluice_model_get_info(const struct sluice_model *m, struct sluice_model_info *ret_info)
{
    const struct sl_stream *st = &m->stream;

    *ret_info = (struct sluice_model_info){
        .path = m->path,
        .architecture = m->hp.is_moe ? "lfm2moe" : "lfm2",
        .name = m->name,
        .n_vocab = m->weights.n_vocab,
        .n_layers = m->hp.n_layers,
        .n_moe_layers = m->hp.n_layers - m->hp.n_dense,
        .n_attn_layers = m->hp.n_attn_layers,
        .n_experts = m->hp.n_experts,
        .n_experts_used = m->hp.n_experts_used,
        .n_ctx_train = m->hp.n_ctx_train,
        .bos = sl_vocab_bos(m->vocab),
        .eos = sl_vocab_eos(m->vocab),
        .file_bytes = m->file_bytes,
        .weight_bytes = m->weight_bytes,
        .token_bytes = m->weights.token_bytes,
        .n_threads = m->placement.n_threads,
        .thread_cpus = m->placement.cpus,
        .threads_why = m->placement.why,
        .n_spread_nodes = m->nodes.n > 1 ? m->nodes.n : 0,
        .n_node_copies = m->copies.n,
        .node_copies_why = m->copies.why,
        .copy_bytes = m->copies.bytes,
        .cpu = sl_cpu_level_name(m->kernels.level),
        .chat_template = sl_chat_template_name(m->chat_template),
        .is_streaming = m->is_streaming,
        .ram_bytes = m->is_streaming ? m->plan.ram_bytes : 0,
        .pinned_bytes = st->pinned.bytes,
        .locked_bytes = st->pinned.locked_bytes,
        .io = m->io,
        .notes = m->notes,
    };
}

_Static_assert((int)SLUICE_EXPERT_DISK == (int)SL_RESIDENCY_DISK &&
                   (int)SLUICE_EXPERT_MEMORY == (int)SL_RESIDENCY_MEMORY &&
                   (int)SLUICE_EXPERT_PINNED == (int)SL_RESIDENCY_PINNED &&
                   (int)SLUICE_EXPERT_READING == (int)SL_RESIDENCY_READING &&
                   (int)SLUICE_EXPERT_AHEAD == (int)SL_RESIDENCY_AHEAD, "as the cache has it");

size_t sluice_model_get_experts(const struct sluice_model *m, struct sluice_expert *ret_experts,
                                size_t cap)
{
    const struct sl_residency *residency = m->cache ? sl_cache_residency(m->cache) : NULL;
    size_t n_experts = m->hp.n_experts;
    size_t n = residency ? (m->hp.n_layers - m->hp.n_dense) * n_experts : 0;

    for (size_t i = 0; i < n && i < cap; i++) {
        uint32_t layer = m->hp.n_dense + (uint32_t)(i / n_experts);
        uint32_t expert = (uint32_t)(i % n_experts);

        ret_experts[i].state = (uint8_t)sl_residency_state(residency, layer, expert);
        ret_experts[i].share =
            (uint8_t)(sl_residency_share(residency, layer, expert) * 255 + 0.5f);
    }
    return n;
}

int sl_engine_check_mappings(const struct sluice_model *m, struct sl_diag *diag)
{
    for (uint32_t i = 0; i < sl_gguf_n_splits(m->gguf); i++) {
        const struct sl_mapping *map = sl_gguf_mapping(m->gguf, i);
        uint64_t off = sl_mapping_bad_off(map);

        /* what is read anew must belong to what was read before */
        if (off == UINT64_MAX && m->is_streaming && sl_mapping_is_changed(map))
            return sl_diag_set(diag, -EIO, "%s: the file was changed while in use; open the "
                               "model again", sl_mapping_path(map));
        if (off == UINT64_MAX)
            continue;
        for (uint32_t j = 0; j < sl_gguf_n_tensors(m->gguf); j++) {
            const struct sl_gguf_tensor *t = sl_gguf_tensor_at(m->gguf, j);

            /* the offset is that of a page: the tensor that ends behind its start */
            if (t->split == i && off < t->file_off + t->bytes && off + 4096 > t->file_off)
                return sl_diag_set(diag, -EIO, "%s: cannot read tensor %.*s at offset %" PRIu64
                                   "; was the file changed while in use?",
                                   sl_mapping_path(map), (int)t->name.len, t->name.ptr, off);
        }
        return sl_diag_set(diag, -EIO, "%s: cannot read at offset %" PRIu64
                           "; was the file changed while in use?", sl_mapping_path(map), off);
    }
    return 0;
}
