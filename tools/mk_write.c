/*
 * Tensors are cut into chunks of whole rows, about CHUNK_BYTES each; workers take the
 * next chunk, make it in a buffer of their own, and write it to its place. Memory is
 * one buffer per worker, whatever the model's size, and the bytes do not depend on who
 * made which chunk.
 */
#include "tools/mk_write.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/pool.h"
#include "tools/ggufwrite.h"
#include "tools/mk_vocab.h"

#define CHUNK_BYTES (4u << 20)
#define PROGRESS_NS 100000000u

struct chunk {
    uint32_t tensor;
    uint64_t row, n_rows;
};

struct job {
    /* set once, then read only */
    const struct mk_plan *plan;
    const struct mk_write_opts *opts;
    struct sl_ggufwrite *w;
    struct chunk *chunks;
    uint64_t n_chunks;
    uint64_t total_bytes;
    uint8_t **buffers; /* one per worker */

    /* owned by worker 0 */
    uint64_t last_progress_ns;

    /* atomic */
    _Atomic uint64_t next;       /* chunk to take */
    _Atomic uint64_t done_bytes;
    _Atomic int error; /* the first */
};

static void put_model_kv(struct sl_ggufwrite *w, const struct mk_plan *plan,
                         const struct mk_write_opts *opts)
{
    const struct mk_shape *s = &plan->opts.shape;
    const char *arch = s->moe ? "lfm2moe" : "lfm2";
    char key[96];

#define KEY(name) (snprintf(key, sizeof(key), "%s." name, arch), key)
    sl_ggufwrite_str(w, "general.architecture", arch);
    sl_ggufwrite_str(w, "general.name", "Sluice random model");
    sl_ggufwrite_u32(w, KEY("block_count"), s->n_layers);
    sl_ggufwrite_u32(w, KEY("context_length"), s->ctx);
    sl_ggufwrite_u32(w, KEY("embedding_length"), s->width);
    sl_ggufwrite_u32(w, KEY("feed_forward_length"), opts->ff_key ? opts->ff_key : s->ff);
    sl_ggufwrite_u32(w, KEY("attention.head_count"), s->n_heads);
    sl_ggufwrite_array(w, KEY("attention.head_count_kv"),
                       opts->kv_array_u32 ? SL_GGUF_U32 : SL_GGUF_I32, s->n_layers);
    for (uint32_t l = 0; l < s->n_layers; l++)
        sl_ggufwrite_item_u32(w, s->attn[l] ? s->n_kv_heads : 0);
    if (s->head_dim * s->n_heads != s->width) {
        sl_ggufwrite_u32(w, KEY("attention.key_length"), s->head_dim);
        sl_ggufwrite_u32(w, KEY("attention.value_length"), s->head_dim);
    }
    sl_ggufwrite_f32(w, KEY("rope.freq_base"), (float)s->theta);
    sl_ggufwrite_f32(w, KEY("attention.layer_norm_rms_epsilon"), 1e-5f);
    sl_ggufwrite_u32(w, KEY("vocab_size"), s->n_vocab);
    sl_ggufwrite_u32(w, KEY("shortconv.l_cache"), s->l_cache);
    if (s->moe) {
        sl_ggufwrite_u32(w, KEY("expert_count"), s->n_experts);
        sl_ggufwrite_u32(w, KEY("expert_used_count"), s->n_used);
        sl_ggufwrite_u32(w, KEY("expert_feed_forward_length"), s->expert_ff);
        sl_ggufwrite_u32(w, KEY("leading_dense_block_count"), s->n_dense);
        sl_ggufwrite_u32(w, KEY("expert_gating_func"), 2); /* sigmoid */
    }
#undef KEY
}

static int put_vocab_kv(struct sl_ggufwrite *w, uint32_t n_tokens)
{
    struct mk_vocab vocab;
    int r = mk_vocab_init(&vocab, n_tokens);

    if (r < 0)
        return r;
    sl_ggufwrite_str(w, "tokenizer.ggml.model", "gpt2");
    sl_ggufwrite_str(w, "tokenizer.ggml.pre", "lfm2");
    sl_ggufwrite_array(w, "tokenizer.ggml.tokens", SL_GGUF_STRING, vocab.n_tokens);
    for (uint32_t i = 0, from = 0; i < vocab.n_tokens; from = vocab.token_ends[i++])
        sl_ggufwrite_item_str(w, vocab.tokens.ptr + from, vocab.token_ends[i] - from);
    sl_ggufwrite_array(w, "tokenizer.ggml.token_type", SL_GGUF_I32, vocab.n_tokens);
    for (uint32_t i = 0; i < vocab.n_tokens; i++)
        sl_ggufwrite_item_u32(w, i < MK_VOCAB_N_CONTROL ? 3 : 1);
    sl_ggufwrite_array(w, "tokenizer.ggml.merges", SL_GGUF_STRING, vocab.n_merges);
    for (uint32_t i = 0, from = 0; i < vocab.n_merges; from = vocab.merge_ends[i++])
        sl_ggufwrite_item_str(w, vocab.merges.ptr + from, vocab.merge_ends[i] - from);
    sl_ggufwrite_u32(w, "tokenizer.ggml.bos_token_id", 1);
    sl_ggufwrite_u32(w, "tokenizer.ggml.eos_token_id", 7);
    sl_ggufwrite_u32(w, "tokenizer.ggml.padding_token_id", 0);
    sl_ggufwrite_bool(w, "tokenizer.ggml.add_bos_token", true);
    sl_ggufwrite_bool(w, "tokenizer.ggml.add_eos_token", false);
    sl_ggufwrite_bool(w, "tokenizer.ggml.add_sep_token", false);
    sl_ggufwrite_str(w, "tokenizer.chat_template", mk_vocab_template());
    mk_vocab_done(&vocab);
    return 0;
}

/* Cut the tensors into chunks; the array is the job's. */
static int make_chunks(struct job *job)
{
    const struct mk_plan *plan = job->plan;
    uint64_t n = 0;

    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            job->chunks = calloc(n, sizeof(*job->chunks));
            if (!job->chunks)
                return -ENOMEM;
        }
        n = 0;
        for (uint32_t i = 0; i < plan->n_tensors; i++) {
            const struct mk_tensor *t = &plan->tensors[i];
            uint64_t step = t->row_bytes < CHUNK_BYTES ? CHUNK_BYTES / t->row_bytes : 1;

            for (uint64_t row = 0; row < t->n_rows; row += step, n++) {
                uint64_t left = t->n_rows - row;

                if (pass == 1)
                    job->chunks[n] = (struct chunk){ i, row, left < step ? left : step };
            }
        }
    }
    job->n_chunks = n;
    return 0;
}

static void report(struct job *job)
{
    uint64_t now = sl_clock_ns();
    uint64_t done = atomic_load_explicit(&job->done_bytes, memory_order_relaxed);
    int expected = 0;

    if (!job->opts->progress || now - job->last_progress_ns < PROGRESS_NS)
        return;
    job->last_progress_ns = now;
    if (job->opts->progress(job->opts->arg, done, job->total_bytes))
        atomic_compare_exchange_strong(&job->error, &expected, -ECANCELED);
}

static void work(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct job *job = arg;
    uint8_t *buf = job->buffers[worker];

    while (atomic_load_explicit(&job->error, memory_order_relaxed) == 0) {
        uint64_t i = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        const struct chunk *c;
        const struct mk_tensor *t;
        int expected = 0;
        int r;

        if (i >= job->n_chunks)
            break;
        c = &job->chunks[i];
        t = &job->plan->tensors[c->tensor];
        for (uint64_t row = 0; row < c->n_rows; row++)
            mk_plan_row(job->plan, t, c->row + row, buf + row * t->row_bytes);
        r = sl_ggufwrite_put(job->w, c->tensor, c->row * t->row_bytes, buf,
                             c->n_rows * t->row_bytes);
        if (r < 0)
            atomic_compare_exchange_strong(&job->error, &expected, r);
        atomic_fetch_add_explicit(&job->done_bytes, c->n_rows * t->row_bytes,
                                  memory_order_relaxed);
        if (worker == 0)
            report(job);
    }
}

static int run(struct job *job)
{
    uint32_t n = job->opts->n_threads;
    struct sl_pool *pool = NULL;
    uint64_t buf_bytes = CHUNK_BYTES;
    int r;

    for (uint32_t i = 0; i < job->plan->n_tensors; i++)
        if (job->plan->tensors[i].row_bytes > buf_bytes)
            buf_bytes = job->plan->tensors[i].row_bytes;
    job->buffers = calloc(n, sizeof(*job->buffers));
    r = job->buffers ? make_chunks(job) : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        job->buffers[i] = malloc(buf_bytes);
        if (!job->buffers[i])
            r = -ENOMEM;
    }
    if (r == 0)
        r = sl_pool_new(&pool, &(struct sl_pool_opts){ .n_workers = n, .spin_us = 50 });
    if (r == 0) {
        sl_pool_run(pool, work, job);
        r = atomic_load(&job->error);
    }
    sl_pool_free(pool);
    for (uint32_t i = 0; job->buffers && i < n; i++)
        free(job->buffers[i]);
    free(job->buffers);
    free(job->chunks);
    return r;
}

static int put_header(struct sl_ggufwrite *w, const struct mk_plan *plan,
                      const struct mk_write_opts *opts, struct sl_diag *diag)
{
    int r;

    for (uint32_t i = 0; opts->omit && opts->omit[i]; i++)
        sl_ggufwrite_omit(w, opts->omit[i]);
    put_model_kv(w, plan, opts);
    r = put_vocab_kv(w, plan->opts.shape.n_vocab);
    if (r < 0)
        return sl_diag_set(diag, r, "no memory for the vocabulary");
    if (sl_dtype_find(plan->opts.ftype->base)->block_len > 1)
        sl_ggufwrite_u32(w, "general.quantization_version", 2);
    sl_ggufwrite_u32(w, "general.file_type", plan->opts.ftype->number);
    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        const struct mk_tensor *t = &plan->tensors[i];

        r = sl_ggufwrite_tensor(w, t->name, t->n_dims, t->ne, t->dtype);
        if (r < 0)
            return sl_diag_set(diag, r, "tensor %s: %s", t->name, sl_err_text(r));
    }
    return sl_ggufwrite_begin(w, diag);
}

int mk_write_file(const struct mk_plan *plan, const struct mk_write_opts *opts,
                  struct sl_diag *diag)
{
    const struct sl_ggufwrite_opts file_opts = {
        .version = opts->version,
        .alignment = opts->alignment,
        .n_splits = opts->n_splits,
    };
    struct job job = { .plan = plan, .opts = opts };
    struct sl_ggufwrite *w = NULL;
    int r;

    if (opts->n_splits > plan->n_tensors)
        return sl_diag_set(diag, -ERANGE, "%u files for %u tensors", opts->n_splits,
                           plan->n_tensors);
    r = sl_ggufwrite_new(&w, opts->path, &file_opts);
    if (r < 0)
        return sl_diag_set(diag, r, "%s: %s", opts->path, sl_err_text(r));
    r = put_header(w, plan, opts, diag);
    if (r < 0)
        goto fail;
    job.w = w;
    job.total_bytes = sl_ggufwrite_data_bytes(w);
    r = run(&job);
    if (r < 0) {
        sl_diag_set(diag, r, "%s: %s", opts->path, sl_err_text(r));
        goto fail;
    }
    r = sl_ggufwrite_finish(w, diag);

fail:
    sl_ggufwrite_free(w);
    return r;
}
