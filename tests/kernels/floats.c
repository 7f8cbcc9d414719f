/* Inputs and outputs of the float cases; see floats.h. */
#include "floats.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "kernels/half.h"

#define MARGIN 16

static float special(struct ck *ck)
{
    static const float values[] = { 0.0f,     -0.0f,     INFINITY, -INFINITY, NAN,
                                    0x1p-149f, -0x1p-149f, 0x1p-127f, 0x1.fffffep127f,
                                    -0x1.fffffep127f, 88.7f, -88.7f, 104.0f, -104.0f, 1.0f };

    return values[ck_rand_below(ck, sizeof(values) / sizeof(values[0]))];
}

void ck_fill_floats(struct ck *ck, float *x, size_t n, enum ck_floats kind)
{
    for (size_t i = 0; i < n; i++) {
        if (kind == CK_FLOATS_SPECIAL && ck_rand_below(ck, 8) == 0) {
            x[i] = special(ck);
        } else if (kind == CK_FLOATS_WIDE) {
            uint32_t bits = (uint32_t)ck_rand(ck);

            x[i] = sl_f32_from_bits((bits & 0x7f800000u) == 0x7f800000u ? bits & 0xbfffffffu
                                                                       : bits);
        } else {
            x[i] = ck_rand_normal(ck);
        }
    }
}

static void *place(struct ck *ck, size_t bytes, size_t align)
{
    if (ck_rand_below(ck, 3) == 0)
        return ck_alloc_start(ck, bytes, align * ck_rand_below(ck, 17));
    return ck_alloc_end(ck, bytes, align);
}

float *ck_make_floats(struct ck *ck, size_t n, enum ck_floats kind)
{
    float *x = place(ck, n * sizeof(float), sizeof(float));

    ck_fill_floats(ck, x, n, kind);
    return x;
}

uint16_t *ck_make_halves(struct ck *ck, size_t n, enum ck_floats kind, bool is_bf16)
{
    uint16_t *h = place(ck, n * sizeof(uint16_t), sizeof(uint16_t));

    for (size_t i = 0; i < n; i++) {
        float x;

        ck_fill_floats(ck, &x, 1, kind);
        h[i] = is_bf16 ? (uint16_t)(sl_f32_bits(x) >> 16) : sl_f16_from_f32(x);
        if (kind == CK_FLOATS_WIDE && !is_bf16) /* most of those floats are no halves */
            h[i] = (uint16_t)(ck_rand(ck) & 0xbfffu);
    }
    return h;
}

static float *make_output(struct ck *ck, size_t n)
{
    return (float *)ck_alloc_end(ck, (n + MARGIN) * sizeof(float), sizeof(float)) + MARGIN;
}

struct ck_out ck_make_out(struct ck *ck, size_t n)
{
    return (struct ck_out){ .want = make_output(ck, n), .got = make_output(ck, n), .n = n };
}

void ck_out_set(struct ck_out *o, const float *x)
{
    memcpy(o->want, x, o->n * sizeof(float));
    memcpy(o->got, x, o->n * sizeof(float));
}

static void unify_nans(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            x[i] = NAN;
}

void ck_out_equal(struct ck *ck, struct ck_out *o)
{
    unify_nans(o->want, o->n);
    unify_nans(o->got, o->n);
    ck_equal(ck, o->want - MARGIN, o->got - MARGIN, (o->n + MARGIN) * sizeof(float));
    ck_poison(o->got, o->n * sizeof(float));
}
