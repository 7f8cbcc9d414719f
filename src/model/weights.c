/*
 * Finding tensors. Names and shapes: llama.cpp's converter for the family. Known
 * variants: the final norm is token_embd_norm or output_norm; q, k and v may come
 * fused as attn_qkv (rows of q, then k, then v); the output matrix is usually the
 * embedding. The width of an FFN is whatever its gate has rows.
 *
 * Vectors are copied in two passes over the same code: the first counts floats, the
 * second fills the one allocation.
 */
#include "model/weights.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

#define NAME_BYTES 96

struct finder {
    const struct sl_gguf *gguf;
    const struct sl_hparams *hp;
    struct sl_diag *diag;
    float *vectors; /* NULL in the counting pass */
    size_t n_floats;
    char name[NAME_BYTES];
};

static const struct sl_gguf_tensor *lookup(struct finder *f, const char *fmt, va_list args)
{
    (void)vsnprintf(f->name, sizeof(f->name), fmt, args); /* our own short names */
    return sl_gguf_tensor_find(f->gguf, f->name);
}

__attribute__((format(printf, 2, 3)))
static bool has_tensor(struct finder *f, const char *fmt, ...)
{
    const struct sl_gguf_tensor *t;
    va_list args;

    va_start(args, fmt);
    t = lookup(f, fmt, args);
    va_end(args);
    return t != NULL;
}

/* n_rows 0: any. The name is in f->name. */
static int check(struct finder *f, const struct sl_gguf_tensor *t, uint32_t n_cols,
                 uint32_t n_rows, uint32_t n_mats)
{
    const struct sl_dtype_info *info;

    if (!t)
        return sl_diag_set(f->diag, -EBADMSG, "tensor %s is missing", f->name);
    info = sl_dtype_find(t->dtype);
    if (!info || !info->supported)
        return sl_diag_set(f->diag, -ENOTSUP, "tensor %s has type %s (%" PRIu32
                           "), which is not supported", f->name, sl_dtype_name(t->dtype),
                           t->dtype);
    if (t->ne[0] != n_cols || (n_rows && t->ne[1] != n_rows) || t->ne[2] != n_mats ||
        t->ne[3] != 1)
        return sl_diag_set(f->diag, -EBADMSG, "tensor %s: expected shape [%" PRIu32 ", %" PRIu32
                           ", %" PRIu32 "], found [%" PRIu32 ", %" PRIu32 ", %" PRIu32 "]",
                           f->name, n_cols, n_rows ? n_rows : t->ne[1], n_mats, t->ne[0],
                           t->ne[1], t->ne[2]);
    if (t->ne[0] % info->block_len)
        return sl_diag_set(f->diag, -EBADMSG, "tensor %s: rows of %" PRIu32
                           " elements are no whole number of %s blocks", f->name, t->ne[0],
                           info->name);
    if ((uintptr_t)t->data % (t->dtype == SL_DTYPE_F32 ? 4 : 2))
        return sl_diag_set(f->diag, -EBADMSG, "tensor %s: data at offset %" PRIu64
                           " is not aligned for type %s", f->name, t->file_off, info->name);
    return 0;
}

static struct sl_tensor view(const struct sl_gguf_tensor *t)
{
    return (struct sl_tensor){
        .data = t->data,
        .dtype = (enum sl_dtype)t->dtype,
        .n_cols = t->ne[0],
        .n_rows = t->ne[1],
        .n_mats = t->ne[2],
        .row_bytes = sl_dtype_row_bytes((enum sl_dtype)t->dtype, t->ne[0]),
    };
}

__attribute__((format(printf, 6, 7)))
static int find_matrix(struct finder *f, struct sl_tensor *ret_t, uint32_t n_cols,
                       uint32_t n_rows, uint32_t n_mats, const char *fmt, ...)
{
    const struct sl_gguf_tensor *t;
    va_list args;
    int r;

    va_start(args, fmt);
    t = lookup(f, fmt, args);
    va_end(args);
    r = check(f, t, n_cols, n_rows, n_mats);
    if (r < 0)
        return r;
    *ret_t = view(t);
    return 0;
}

/* A vector or small matrix as F32: [n_rows][n_cols]. */
__attribute__((format(printf, 5, 6)))
static int find_floats(struct finder *f, const float **ret_floats, uint32_t n_cols,
                       uint32_t n_rows, const char *fmt, ...)
{
    const struct sl_gguf_tensor *t;
    struct sl_tensor tensor;
    va_list args;
    int r;

    va_start(args, fmt);
    t = lookup(f, fmt, args);
    va_end(args);
    r = check(f, t, n_cols, n_rows, 1);
    if (r < 0)
        return r;
    if (f->vectors) {
        float *out = f->vectors + f->n_floats;

        tensor = view(t);
        for (uint32_t i = 0; i < n_rows && t->data; i++) /* none in a file cut short */
            sl_dequant_row(out + (size_t)i * n_cols, &tensor, i);
        *ret_floats = out;
    }
    f->n_floats += (size_t)n_cols * n_rows;
    return 0;
}

/* Rows [row, row + n_rows) of a matrix. */
static struct sl_tensor slice(const struct sl_tensor *t, uint32_t row, uint32_t n_rows)
{
    struct sl_tensor s = *t;

    s.data = t->data ? (const char *)t->data + t->row_bytes * row : NULL;
    s.n_rows = n_rows;
    return s;
}

static int find_attention(struct finder *f, struct sl_layer *layer, uint32_t i)
{
    const struct sl_hparams *hp = f->hp;
    uint32_t n_q = hp->n_heads * hp->head_dim;
    uint32_t n_kv = hp->n_heads_kv[i] * hp->head_dim;
    struct sl_tensor qkv;
    int r;

    if (has_tensor(f, "blk.%" PRIu32 ".attn_qkv.weight", i)) {
        r = find_matrix(f, &qkv, hp->width, n_q + 2 * n_kv, 1, "blk.%" PRIu32 ".attn_qkv.weight",
                        i);
        if (r < 0)
            return r;
        layer->q = slice(&qkv, 0, n_q);
        layer->k = slice(&qkv, n_q, n_kv);
        layer->v = slice(&qkv, n_q + n_kv, n_kv);
    } else {
        r = find_matrix(f, &layer->q, hp->width, n_q, 1, "blk.%" PRIu32 ".attn_q.weight", i);
        if (r < 0)
            return r;
        r = find_matrix(f, &layer->k, hp->width, n_kv, 1, "blk.%" PRIu32 ".attn_k.weight", i);
        if (r < 0)
            return r;
        r = find_matrix(f, &layer->v, hp->width, n_kv, 1, "blk.%" PRIu32 ".attn_v.weight", i);
        if (r < 0)
            return r;
    }
    r = find_matrix(f, &layer->o, n_q, hp->width, 1, "blk.%" PRIu32 ".attn_output.weight", i);
    if (r < 0)
        return r;
    r = find_floats(f, &layer->q_norm, hp->head_dim, 1, "blk.%" PRIu32 ".attn_q_norm.weight", i);
    if (r < 0)
        return r;
    return find_floats(f, &layer->k_norm, hp->head_dim, 1, "blk.%" PRIu32 ".attn_k_norm.weight",
                       i);
}

static int find_conv(struct finder *f, struct sl_layer *layer, uint32_t i)
{
    uint32_t width = f->hp->width;
    int r;

    r = find_matrix(f, &layer->in_proj, width, 3 * width, 1,
                    "blk.%" PRIu32 ".shortconv.in_proj.weight", i);
    if (r < 0)
        return r;
    r = find_matrix(f, &layer->out_proj, width, width, 1,
                    "blk.%" PRIu32 ".shortconv.out_proj.weight", i);
    if (r < 0)
        return r;
    return find_floats(f, &layer->taps, f->hp->n_taps, width,
                       "blk.%" PRIu32 ".shortconv.conv.weight", i);
}

static int find_ffn(struct finder *f, struct sl_layer *layer, uint32_t i)
{
    uint32_t width = f->hp->width;
    uint32_t n_mats = i < f->hp->n_dense ? 1 : f->hp->n_experts;
    const char *suffix = i < f->hp->n_dense ? "" : "_exps";
    int r;

    r = find_matrix(f, &layer->gate, width, 0, n_mats, "blk.%" PRIu32 ".ffn_gate%s.weight", i,
                    suffix);
    if (r < 0)
        return r;
    r = find_matrix(f, &layer->up, width, layer->gate.n_rows, n_mats,
                    "blk.%" PRIu32 ".ffn_up%s.weight", i, suffix);
    if (r < 0)
        return r;
    r = find_matrix(f, &layer->down, layer->gate.n_rows, width, n_mats,
                    "blk.%" PRIu32 ".ffn_down%s.weight", i, suffix);
    if (r < 0 || i < f->hp->n_dense)
        return r;
    r = find_matrix(f, &layer->router, width, f->hp->n_experts, 1,
                    "blk.%" PRIu32 ".ffn_gate_inp.weight", i);
    if (r < 0)
        return r;
    return find_floats(f, &layer->expert_bias, f->hp->n_experts, 1,
                       "blk.%" PRIu32 ".exp_probs_b.bias", i);
}

static int find_layer(struct finder *f, struct sl_layer *layer, uint32_t i)
{
    int r;

    r = find_floats(f, &layer->op_norm, f->hp->width, 1, "blk.%" PRIu32 ".attn_norm.weight", i);
    if (r < 0)
        return r;
    r = find_floats(f, &layer->ffn_norm, f->hp->width, 1, "blk.%" PRIu32 ".ffn_norm.weight", i);
    if (r < 0)
        return r;
    r = f->hp->n_heads_kv[i] ? find_attention(f, layer, i) : find_conv(f, layer, i);
    if (r < 0)
        return r;
    return find_ffn(f, layer, i);
}

static int find_all(struct finder *f, struct sl_weights *w)
{
    const char *norm;
    int r;

    f->n_floats = 0;
    r = find_matrix(f, &w->embed, f->hp->width, 0, 1, "token_embd.weight");
    if (r < 0)
        return r;
    w->n_vocab = w->embed.n_rows;
    w->output = w->embed;
    if (has_tensor(f, "output.weight")) {
        r = find_matrix(f, &w->output, f->hp->width, w->n_vocab, 1, "output.weight");
        if (r < 0)
            return r;
    }
    norm = has_tensor(f, "output_norm.weight") ? "output_norm.weight" : "token_embd_norm.weight";
    r = find_floats(f, &w->final_norm, f->hp->width, 1, "%s", norm);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < f->hp->n_layers; i++) {
        r = find_layer(f, &w->layers[i], i);
        if (r < 0)
            return r;
    }
    return 0;
}

static void summarise(struct sl_weights *w, const struct sl_hparams *hp)
{
    uint64_t expert_bytes = 0; /* of the experts that one token uses */

    for (uint32_t i = 0; i < hp->n_layers; i++) {
        const struct sl_layer *l = &w->layers[i];
        uint64_t ffn = sl_tensor_mat_bytes(&l->gate) + sl_tensor_mat_bytes(&l->up) +
                       sl_tensor_mat_bytes(&l->down);
        bool is_moe = i >= hp->n_dense;
        uint32_t *widest = is_moe ? &w->expert_ff_max : &w->ff_max;

        if (hp->n_heads_kv[i])
            w->shared_bytes += sl_tensor_mat_bytes(&l->q) + sl_tensor_mat_bytes(&l->k) +
                               sl_tensor_mat_bytes(&l->v) + sl_tensor_mat_bytes(&l->o);
        else
            w->shared_bytes += sl_tensor_mat_bytes(&l->in_proj) +
                               sl_tensor_mat_bytes(&l->out_proj);
        w->shared_bytes += is_moe ? sl_tensor_mat_bytes(&l->router) : ffn;
        expert_bytes += is_moe ? ffn * hp->n_experts_used : 0;
        if (l->gate.n_rows > *widest)
            *widest = l->gate.n_rows;
    }
    w->token_bytes = w->shared_bytes + expert_bytes + sl_tensor_mat_bytes(&w->output) +
                     w->embed.row_bytes;
}

int sl_weights_init(struct sl_weights *ret_w, const struct sl_hparams *hp,
                    const struct sl_gguf *gguf, struct sl_diag *diag)
{
    struct finder f = { .gguf = gguf, .hp = hp, .diag = diag };
    struct sl_weights w = { 0 };
    int r;

    w.layers = calloc(hp->n_layers, sizeof(*w.layers));
    if (!w.layers)
        return -ENOMEM;
    r = find_all(&f, &w);
    if (r < 0)
        goto fail;
    w.vectors = calloc(f.n_floats, sizeof(*w.vectors));
    if (!w.vectors) {
        r = -ENOMEM;
        goto fail;
    }
    f.vectors = w.vectors;
    r = find_all(&f, &w);
    if (r < 0)
        goto fail;
    summarise(&w, hp);
    *ret_w = w;
    return 0;

fail:
    sl_weights_done(&w);
    return r;
}

void sl_weights_done(struct sl_weights *w)
{
    free(w->layers);
    free(w->vectors);
    *w = (struct sl_weights){ 0 };
}

uint32_t sl_weights_list_shared(struct sl_weights *w, const struct sl_hparams *hp,
                                struct sl_tensor **ret_views)
{
    uint32_t n = 0;

    ret_views[n++] = &w->embed;
    ret_views[n++] = &w->output;
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        struct sl_layer *l = &w->layers[i];
        struct sl_tensor *const views[SL_SHARED_PER_LAYER] = {
            &l->q,      &l->k,    &l->v,  &l->o,    &l->in_proj, &l->out_proj,
            &l->router, &l->gate, &l->up, &l->down,
        };
        /* the last three are stacks of experts there */
        uint32_t n_views = i < hp->n_dense ? SL_SHARED_PER_LAYER : SL_SHARED_PER_LAYER - 3;

        for (uint32_t k = 0; k < n_views; k++)
            if (sl_tensor_mat_bytes(views[k]) > 0) /* one without attention has no q */
                ret_views[n++] = views[k];
    }
    return n;
}

static bool contains(struct sl_gguf_str s, const char *part)
{
    return memmem(s.ptr, s.len, part, strlen(part)) != NULL;
}

enum sl_role sl_weights_role(struct sl_gguf_str name)
{
    if (contains(name, "_norm."))
        return SL_ROLE_NORM;
    if (contains(name, "_exps."))
        return SL_ROLE_EXPERT;
    if (contains(name, "ffn_gate_inp.") || contains(name, "exp_probs_b."))
        return SL_ROLE_ROUTER;
    if (contains(name, ".ffn_"))
        return SL_ROLE_DENSE;
    if (contains(name, ".shortconv."))
        return SL_ROLE_CONV;
    if (contains(name, ".attn_"))
        return SL_ROLE_ATTN;
    if (contains(name, "token_embd."))
        return SL_ROLE_EMBED;
    if (name.len >= 7 && memcmp(name.ptr, "output.", 7) == 0)
        return SL_ROLE_OUTPUT;
    return SL_ROLE_OTHER;
}

const char *sl_weights_role_name(enum sl_role role)
{
    static const char *const names[SL_ROLE_COUNT] = {
        "embedding", "output", "norm", "attention", "convolution",
        "dense ffn", "router", "experts",  "other",
    };

    return names[role];
}
