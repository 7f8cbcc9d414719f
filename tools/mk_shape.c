/*
 * The presets, from the published configurations of the LFM2 family, and the rules of
 * a shape. Rules are those of the file format and of the engines that read it; that
 * quantised types also want rows of whole blocks is settled per tensor (mk_types.c).
 */
#include "tools/mk_shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct preset {
    struct mk_shape shape;
    const char *attn;
};

#define LFM2_COMMON .head_dim = 64, .n_vocab = 65536, .l_cache = 3, .ctx = 128000, .theta = 1e6

static const struct preset presets[] = {
    { { .name = "24b", .moe = true, .n_layers = 40, .width = 2048, .n_heads = 32,
        .n_kv_heads = 8, .ff = 11776, .expert_ff = 1536, .n_experts = 64, .n_used = 4,
        .n_dense = 2, LFM2_COMMON },
      "2,6,10,14,18,22,26,30,34,38" },
    { { .name = "8b-a1b", .moe = true, .n_layers = 24, .width = 2048, .n_heads = 32,
        .n_kv_heads = 8, .ff = 7168, .expert_ff = 1792, .n_experts = 32, .n_used = 4,
        .n_dense = 2, LFM2_COMMON },
      "2,6,10,14,18,21" },
    { { .name = "2.6b", .n_layers = 30, .width = 2048, .n_heads = 32, .n_kv_heads = 8,
        .ff = 10752, LFM2_COMMON },
      "2,5,9,13,17,21,24,27" },
    { { .name = "1.2b", .n_layers = 16, .width = 2048, .n_heads = 32, .n_kv_heads = 8,
        .ff = 8192, LFM2_COMMON },
      "2,5,8,10,12,14" },
    { { .name = "700m", .n_layers = 16, .width = 1536, .n_heads = 24, .n_kv_heads = 8,
        .ff = 6912, LFM2_COMMON },
      "2,5,8,10,12,14" },
    { { .name = "350m", .n_layers = 16, .width = 1024, .n_heads = 16, .n_kv_heads = 8,
        .ff = 4608, LFM2_COMMON },
      "2,5,8,10,12,14" },
    { { .name = "tiny", .moe = true, .n_layers = 6, .width = 256, .n_heads = 4,
        .n_kv_heads = 2, .head_dim = 64, .ff = 512, .expert_ff = 256, .n_experts = 16,
        .n_used = 4, .n_dense = 2, .n_vocab = 4096, .l_cache = 3, .ctx = 4096, .theta = 1e6 },
      "2,5" },
};

#define N_PRESETS (sizeof(presets) / sizeof(*presets))

int mk_shape_preset(struct mk_shape *ret_shape, const char *name)
{
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (strcmp(presets[i].shape.name, name) != 0)
            continue;
        *ret_shape = presets[i].shape;
        return mk_shape_set_attn(ret_shape, presets[i].attn);
    }
    return -ENOENT;
}

const char *mk_shape_preset_names(void)
{
    return "24b, 8b-a1b, 2.6b, 1.2b, 700m, 350m, tiny";
}

int mk_shape_set_attn(struct mk_shape *shape, const char *list)
{
    bool attn[MK_LAYERS_MAX] = { false };
    const char *at = list;

    while (strcmp(list, "none") != 0) {
        char *end;
        unsigned long layer = strtoul(at, &end, 10);

        if (*at < '0' || *at > '9' || layer >= MK_LAYERS_MAX || (*end && *end != ','))
            return -EINVAL;
        attn[layer] = true;
        if (!*end)
            break;
        at = end + 1;
    }
    memcpy(shape->attn, attn, sizeof(attn));
    return 0;
}

struct range {
    const char *what;
    uint32_t value, min, max;
};

static int check_ranges(const struct range *ranges, size_t n, struct sl_diag *diag)
{
    for (size_t i = 0; i < n; i++)
        if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
            return sl_diag_set(diag, -ERANGE, "%s is %u, %u to %u are possible", ranges[i].what,
                               ranges[i].value, ranges[i].min, ranges[i].max);
    return 0;
}

static int check_moe(const struct mk_shape *s, struct sl_diag *diag)
{
    const struct range ranges[] = {
        { "--expert-ff", s->expert_ff, 1, 1u << 20 },
        { "--experts", s->n_experts, 1, 1024 },
        { "--used", s->n_used, 1, s->n_experts < 64 ? s->n_experts : 64 },
        { "--dense", s->n_dense, 0, s->n_layers },
    };

    return check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), diag);
}

int mk_shape_check(const struct mk_shape *s, enum mk_routing routing, struct sl_diag *diag)
{
    const struct range ranges[] = {
        { "--layers", s->n_layers, 1, MK_LAYERS_MAX },
        { "--width", s->width, 8, 1u << 16 },
        { "--heads", s->n_heads, 1, 1024 },
        { "--kv-heads", s->n_kv_heads, 1, s->n_heads },
        { "--head-dim", s->head_dim, 2, 256 },
        { "--ff", s->ff, 1, 1u << 20 },
        { "--vocab", s->n_vocab, 270, 400000 },
        { "--l-cache", s->l_cache, 2, 16 },
        { "--ctx", s->ctx, 1, 1u << 30 },
    };
    int r = check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), diag);
    uint32_t first_attn = 0;

    if (r == 0 && s->moe)
        r = check_moe(s, diag);
    if (r < 0)
        return r;
    if (s->n_heads % s->n_kv_heads)
        return sl_diag_set(diag, -ERANGE, "--heads %u is no multiple of --kv-heads %u",
                           s->n_heads, s->n_kv_heads);
    if (s->head_dim % 2)
        return sl_diag_set(diag, -ERANGE, "--head-dim %u is odd", s->head_dim);
    if (!(s->theta > 1 && s->theta < 1e12))
        return sl_diag_set(diag, -ERANGE, "--theta must lie between 1 and 1e12");
    for (uint32_t i = s->n_layers; i < MK_LAYERS_MAX; i++)
        if (s->attn[i])
            return sl_diag_set(diag, -ERANGE, "--attn names layer %u of %u", i, s->n_layers);

    while (first_attn < s->n_layers && !s->attn[first_attn])
        first_attn++;
    if (routing == MK_ROUTING_LOCAL && (!s->moe || s->width < 256 || s->width % 32))
        return sl_diag_set(diag, -ERANGE, "local routing wants experts and a width that is a "
                           "multiple of 32, at least 256");
    if (routing == MK_ROUTING_LOCAL && first_attn > s->n_dense)
        return sl_diag_set(diag, -ERANGE, "local routing wants attention at or before the "
                           "first layer with experts");
    return 0;
}
