/*
 * Reading the shape. Tolerated, because files in the wild have it: head_count as a
 * per-layer array with zeros in convolution layers, head_count_kv as one number (then
 * every layer is attention), i32 or u32 arrays, key_length and value_length beside
 * the derived head length, a missing rope.freq_base (llama.cpp's default, 10000, is
 * meant then), a missing expert_gating_func (sigmoid is the family's only one).
 * feed_forward_length and vocab_size are not read at all: some writers give the
 * length before rounding, so the tensors' shapes decide.
 *
 * Refused by name, because results would be silently wrong: sliding windows, other
 * gating functions, rope scaling, partial rotary dimensions, non-causal attention,
 * expert weight scales other than 1.
 */
#include "model/hparams.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 128

struct reader {
    const struct sl_gguf *gguf;
    const char *arch;
    struct sl_diag *diag;
    char key[KEY_BYTES]; /* the key last looked up, for messages */
};

static const struct sl_gguf_kv *find(struct reader *rd, const char *name)
{
    (void)snprintf(rd->key, sizeof(rd->key), "%s.%s", rd->arch, name); /* both are short */
    return sl_gguf_kv_find(rd->gguf, rd->key);
}

struct found {
    char text[32];
};

/* What is in place of the number that was expected: another number, or its type. */
static struct found describe(const struct sl_gguf_kv *kv, bool want_array, uint64_t i)
{
    struct found f;
    double value;

    if ((kv->type == SL_GGUF_ARRAY && !want_array) || !sl_gguf_kv_f64(kv, i, &value))
        (void)snprintf(f.text, sizeof(f.text), "%s", sl_gguf_type_name(
                           want_array ? kv->item_type : kv->type)); /* short names */
    else
        (void)snprintf(f.text, sizeof(f.text), "%g", value); /* at most 13 bytes */
    return f;
}

/* An integer in [min, max]; absent: fallback if >= 0, else an error. */
static int read_u32(struct reader *rd, const char *name, uint32_t min, uint32_t max,
                    int64_t fallback, uint32_t *ret_value)
{
    const struct sl_gguf_kv *kv = find(rd, name);
    uint64_t value;

    if (!kv) {
        if (fallback < 0)
            return sl_diag_set(rd->diag, -EBADMSG, "metadata key %s is missing", rd->key);
        *ret_value = (uint32_t)fallback;
        return 0;
    }
    if (kv->type == SL_GGUF_ARRAY || !sl_gguf_kv_u64(kv, 0, &value))
        return sl_diag_set(rd->diag, -EBADMSG, "metadata key %s: expected an integer, found %s",
                           rd->key, describe(kv, false, 0).text);
    if (value < min || value > max)
        return sl_diag_set(rd->diag, -EBADMSG,
                           "metadata key %s: expected %" PRIu32 " to %" PRIu32 ", found %" PRIu64,
                           rd->key, min, max, value);
    *ret_value = (uint32_t)value;
    return 0;
}

static int read_f64(struct reader *rd, const char *name, double fallback, double *ret_value)
{
    const struct sl_gguf_kv *kv = find(rd, name);
    double value;

    if (!kv) {
        if (isnan(fallback))
            return sl_diag_set(rd->diag, -EBADMSG, "metadata key %s is missing", rd->key);
        *ret_value = fallback;
        return 0;
    }
    if (kv->type == SL_GGUF_ARRAY || !sl_gguf_kv_f64(kv, 0, &value) || !isfinite(value) ||
        value <= 0)
        return sl_diag_set(rd->diag, -EBADMSG,
                           "metadata key %s: expected a positive number, found %s", rd->key,
                           describe(kv, false, 0).text);
    *ret_value = value;
    return 0;
}

/* One number per layer, from an array of n_layers or a scalar. */
static int read_per_layer(struct reader *rd, const char *name, uint32_t n_layers, uint32_t max,
                          uint32_t *ret_values)
{
    const struct sl_gguf_kv *kv = find(rd, name);
    uint64_t value;

    if (!kv)
        return sl_diag_set(rd->diag, -EBADMSG, "metadata key %s is missing", rd->key);
    if (kv->type == SL_GGUF_ARRAY && kv->n_items != n_layers)
        return sl_diag_set(rd->diag, -EBADMSG,
                           "metadata key %s: expected %" PRIu32 " items, found %" PRIu64, rd->key,
                           n_layers, kv->n_items);
    for (uint32_t i = 0; i < n_layers; i++) {
        uint64_t at = kv->type == SL_GGUF_ARRAY ? i : 0;

        if (!sl_gguf_kv_u64(kv, at, &value))
            return sl_diag_set(rd->diag, -EBADMSG, "metadata key %s: expected integers, found %s",
                               rd->key, describe(kv, true, at).text);
        if (value > max)
            return sl_diag_set(rd->diag, -EBADMSG,
                               "metadata key %s: expected at most %" PRIu32 ", found %" PRIu64
                               " for layer %" PRIu32,
                               rd->key, max, value, i);
        ret_values[i] = (uint32_t)value;
    }
    return 0;
}

static int refuse(struct reader *rd, const char *what)
{
    return sl_diag_set(rd->diag, -ENOTSUP, "metadata key %s: %s is not supported", rd->key, what);
}

static int refuse_unknown_features(struct reader *rd, const struct sl_hparams *hp)
{
    const struct sl_gguf_kv *kv;
    uint64_t u;
    double f;

    kv = find(rd, "expert_gating_func");
    if (hp->is_moe && kv && (!sl_gguf_kv_u64(kv, 0, &u) || u != 2))
        return refuse(rd, "a gating function other than sigmoid (2)");
    kv = find(rd, "expert_weights_scale");
    if (kv && (!sl_gguf_kv_f64(kv, 0, &f) || (f != 1.0 && f != 0.0)))
        return refuse(rd, "a scale other than 1");
    kv = find(rd, "expert_weights_norm");
    if (kv && (!sl_gguf_kv_u64(kv, 0, &u) || u != 1))
        return refuse(rd, "routing without normalised weights");
    kv = find(rd, "attention.sliding_window");
    if (kv && (!sl_gguf_kv_u64(kv, 0, &u) || u != 0))
        return refuse(rd, "a sliding window");
    kv = find(rd, "attention.causal");
    if (kv && (!sl_gguf_kv_u64(kv, 0, &u) || u != 1))
        return refuse(rd, "non-causal attention (an embedding model)");
    kv = find(rd, "rope.dimension_count");
    if (kv && (!sl_gguf_kv_u64(kv, 0, &u) || u != hp->head_dim))
        return refuse(rd, "rotating only a part of the head");
    kv = find(rd, "rope.scaling.type");
    if (kv) {
        struct sl_gguf_str type;
        uint64_t cursor = 0;

        if (!sl_gguf_kv_str(kv, &cursor, &type) || type.len != 4 || memcmp(type.ptr, "none", 4))
            return refuse(rd, "rope scaling");
    }
    return 0;
}

static int read_heads(struct reader *rd, struct sl_hparams *hp)
{
    uint32_t n_heads[SL_LAYERS_MAX];
    uint32_t key_len, value_len;
    int64_t derived;
    int r;

    r = read_per_layer(rd, "attention.head_count", hp->n_layers, SL_HEADS_MAX, n_heads);
    if (r < 0)
        return r;
    r = read_per_layer(rd, "attention.head_count_kv", hp->n_layers, SL_HEADS_MAX, hp->n_heads_kv);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        if (n_heads[i] > hp->n_heads)
            hp->n_heads = n_heads[i];
        if (hp->n_heads_kv[i])
            hp->n_attn_layers++;
    }
    hp->n_conv_layers = hp->n_layers - hp->n_attn_layers;
    for (uint32_t i = 0; i < hp->n_layers; i++)
        if (hp->n_heads_kv[i] && (n_heads[i] == 0 || n_heads[i] != hp->n_heads ||
                                  n_heads[i] % hp->n_heads_kv[i]))
            return sl_diag_set(rd->diag, -EBADMSG,
                               "layer %" PRIu32 ": %" PRIu32 " query heads and %" PRIu32
                               " key heads do not fit a model with %" PRIu32 " heads",
                               i, n_heads[i], hp->n_heads_kv[i], hp->n_heads);
    if (!hp->n_heads) {
        hp->head_dim = 2; /* no attention at all: any even number will do */
        return 0;
    }
    derived = hp->width % hp->n_heads ? -1 : (int64_t)(hp->width / hp->n_heads);
    r = read_u32(rd, "attention.key_length", 2, SL_HEAD_DIM_MAX, derived, &key_len);
    if (r < 0)
        return r;
    r = read_u32(rd, "attention.value_length", 2, SL_HEAD_DIM_MAX, key_len, &value_len);
    if (r < 0)
        return r;
    if (key_len != value_len || key_len % 2 || key_len > SL_HEAD_DIM_MAX || key_len < 2)
        return sl_diag_set(rd->diag, -ENOTSUP,
                           "head length: expected an even number up to %u for keys and values "
                           "alike, found %" PRIu32 " and %" PRIu32,
                           SL_HEAD_DIM_MAX, key_len, value_len);
    hp->head_dim = key_len;
    return 0;
}

static int read_experts(struct reader *rd, struct sl_hparams *hp)
{
    int r;

    hp->n_dense = hp->n_layers;
    if (!hp->is_moe)
        return 0;
    r = read_u32(rd, "leading_dense_block_count", 0, hp->n_layers, 0, &hp->n_dense);
    if (r < 0)
        return r;
    r = read_u32(rd, "expert_count", 1, SL_EXPERTS_MAX, -1, &hp->n_experts);
    if (r < 0)
        return r;
    return read_u32(rd, "expert_used_count", 1,
                    hp->n_experts < SL_EXPERTS_USED_MAX ? hp->n_experts : SL_EXPERTS_USED_MAX, -1,
                    &hp->n_experts_used);
}

static int read_arch(struct reader *rd, struct sl_hparams *hp)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(rd->gguf, "general.architecture");
    struct sl_gguf_str name;
    uint64_t cursor = 0;

    if (!kv || kv->type != SL_GGUF_STRING || !sl_gguf_kv_str(kv, &cursor, &name))
        return sl_diag_set(rd->diag, -EBADMSG, "metadata key general.architecture is missing");
    if (name.len == 4 && memcmp(name.ptr, "lfm2", 4) == 0) {
        rd->arch = "lfm2";
    } else if (name.len == 7 && memcmp(name.ptr, "lfm2moe", 7) == 0) {
        rd->arch = "lfm2moe";
        hp->is_moe = true;
    } else {
        return sl_diag_set(rd->diag, -ENOTSUP,
                           "architecture \"%.*s\" is not supported; Sluice runs \"lfm2\" and "
                           "\"lfm2moe\"",
                           (int)(name.len < 64 ? name.len : 64), name.ptr);
    }
    return 0;
}

int sl_hparams_read(struct sl_hparams *ret_hp, const struct sl_gguf *gguf, struct sl_diag *diag)
{
    struct reader rd = { .gguf = gguf, .diag = diag };
    struct sl_hparams hp = { 0 };
    double eps;
    int r;

    r = read_arch(&rd, &hp);
    if (r < 0)
        return r;
    r = read_u32(&rd, "block_count", 1, SL_LAYERS_MAX, -1, &hp.n_layers);
    if (r < 0)
        return r;
    r = read_u32(&rd, "embedding_length", 2, SL_WIDTH_MAX, -1, &hp.width);
    if (r < 0)
        return r;
    r = read_u32(&rd, "context_length", 1, SL_CTX_MAX, -1, &hp.n_ctx_train);
    if (r < 0)
        return r;
    r = read_heads(&rd, &hp);
    if (r < 0)
        return r;
    /* Models without convolution layers need no taps; 2 is then as good as any. */
    r = read_u32(&rd, "shortconv.l_cache", 2, SL_TAPS_MAX, hp.n_conv_layers ? -1 : 2, &hp.n_taps);
    if (r < 0)
        return r;
    r = read_experts(&rd, &hp);
    if (r < 0)
        return r;
    r = read_f64(&rd, "attention.layer_norm_rms_epsilon", (double)NAN, &eps);
    if (r < 0)
        return r;
    hp.norm_eps = (float)eps;
    r = read_f64(&rd, "rope.freq_base", 10000.0, &hp.rope_theta);
    if (r < 0)
        return r;
    r = refuse_unknown_features(&rd, &hp);
    if (r < 0)
        return r;
    *ret_hp = hp;
    return 0;
}
