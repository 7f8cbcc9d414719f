/*
 * The compute kernels: one table of function pointers per CPU level, filled once
 * by sl_kernels_init and read-only afterwards. Called by src/model. Kernels are
 * pure: no state, no allocation, no threads; any thread may call them at once on
 * outputs that do not overlap.
 *
 * Exactness. Every kernel's result is defined by its C version, bit for bit, at
 * every CPU level: `memcmp` against C is the test. (Where the result is not a number,
 * any NaN will do.) An output element depends on its own weight row and its own
 * activation row only, never on how many rows or tokens a call has, where they lie,
 * or which path (one token or many) computes them.
 *
 * How a matrix product is defined. w is a weight row of n_cols elements, x an
 * activation row.
 *
 *  F32, F16, BF16: x stays F32. Sixteen lanes, lane i % 16 takes element i, in
 *      order: acc[i % 16] = fma(w_i, x_i, acc[i % 16]), from +0. The lanes are added
 *      by the fixed tree of sl_lanes_sum: for step 8, 4, 2, 1:
 *      acc[i] += acc[i + step], i < step.
 *
 *  Blocks of 32 (Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL): x is quantised in blocks of 32
 *      (SL_ACT_Q32). Per block, in order, from acc = +0:
 *      isum = exact integer sum of (q_i - offset) * xq_i  (offset 8, 16 or 0;
 *             IQ4_NL: of level[q_i] * xq_i)
 *      acc = fma((float)isum, d_w * d_x, acc)
 *      and for Q4_1 and Q5_1 then:
 *      acc = fma((float)xsum, m_w * d_x, acc)   xsum = exact sum of xq_i
 *
 *  Blocks of 256 (k-quants, IQ4_XS): x is quantised in blocks of 256 (SL_ACT_Q256).
 *      Per block, in order, from acc = +0:
 *      Q4_K, Q5_K, Q2_K: isum = sum_j sc_j * sum_i q_i * xq_i
 *                        msum = sum_j mn_j * sum_i xq_i
 *                        acc = fma((float)isum, d_w * d_x, acc)
 *                        acc = fma((float)msum, -(dmin_w * d_x), acc)
 *      Q6_K, Q3_K, IQ4_XS: isum = sum_j sc_j * sum_i (value_i) * xq_i with the signed
 *                        scale and value of tensor/block.h
 *                        acc = fma((float)isum, d_w * d_x, acc)
 *      All integer sums fit 32 bits. (float) rounds to nearest even; d_w * d_x is one
 *      rounded product of floats.
 *
 * Subnormals are kept (no FTZ, no DAZ): d may be subnormal in F16.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"
#include "tensor/tensor.h"

enum sl_cpu_level {
    SL_CPU_C = 0,  /* any x86-64; also the specification */
    SL_CPU_AVX2,   /* AVX2, FMA, F16C, BMI2: Zen 1 and later */
    SL_CPU_AVX512, /* F, BW, VL, DQ, VNNI: Zen 4 and later */
};

enum sl_act_kind {
    SL_ACT_F32 = 0,
    SL_ACT_Q32,  /* int8, one scale per 32 */
    SL_ACT_Q256, /* int8, one scale per 256 */
};

/* Below this largest magnitude a block is quantised to zeros: 127 / amax must not
 * overflow. */
#define SL_ACT_AMAX_MIN 0x1p-100f

/*
 * Activations of n_tok tokens, the right-hand side of a matrix product. Quantised
 * kinds are stored block after block, so that one block of all tokens is
 * contiguous: with B = 32 or 256 and n_blocks = n_cols / B,
 *     q    [n_blocks][n_tok][B]        d [n_blocks][n_tok]
 *     sums [n_blocks][n_tok][B / 16]   exact sums of 16 neighbours of q
 * SL_ACT_F32 uses f32 [n_tok][n_cols] alone. Pointers are aligned to 64 bytes,
 * borrowed from the step's scratch.
 */
struct sl_act {
    enum sl_act_kind kind;
    uint32_t n_tok;
    uint32_t n_cols;
    float *f32;
    int8_t *q;
    float *d;
    int16_t *sums;
};

/*
 * out[t * out_stride + r] = product of weight row r with token t, for all tokens of
 * x and n_rows rows from w (the first row to compute; rows are row_bytes apart).
 * x->kind is the one that sl_kernels_act_kind names for the type. w: natural
 * alignment of its blocks only. Any n_rows >= 0, n_tok >= 1; F32, F16 and BF16 take
 * any n_cols >= 1. out must not overlap anything.
 */
typedef void (*sl_matmul_fn)(float *out, size_t out_stride, const void *w,
                             size_t row_bytes, size_t n_rows,
                             const struct sl_act *x);

struct sl_kernels_matmul {
    sl_matmul_fn one;  /* x->n_tok == 1: streams the weights once (decode) */
    sl_matmul_fn many; /* any n_tok: unpacks a tile of weights, reuses it (prefill) */
    const char *one_isa, *many_isa; /* "c", "avx2", "avx512": what really runs */
};

/* Largest number of attention queries in one attend call. */
#define SL_ATTEND_QUERIES_MAX 64
/* Positions in a KV block: the unit in which attention sums, and in which the cache grows. */
#define SL_KV_BLOCK_TOK 256

enum sl_kv_type {
    SL_KV_F16 = 0,
    SL_KV_F32,
    SL_KV_Q8_0, /* blocks of 32 along the head dimension, F16 scale */
};

/*
 * Queries of one KV head against one KV block; see `attend`. The partial result of
 * query i is m[i] (largest score), l[i] (sum of exp(score - m)), and
 * acc[i * head_dim ..] (sum of exp(score - m) * v).
 */
struct sl_attend {
    enum sl_kv_type kv_type;
    uint32_t head_dim;       /* multiple of 2; of 32 for SL_KV_Q8_0; at most 256 */
    uint32_t n_queries;      /* 1..SL_ATTEND_QUERIES_MAX */
    float scale;             /* 1 / sqrt(head_dim) */
    const float *const *q;   /* n_queries pointers to head_dim floats */
    const uint16_t *n_valid; /* visible positions of the block for each query, 1..256 */
    const void *kv;          /* sl_kernels_kv_bytes bytes, aligned to 64 */
    const void *kv_next;     /* as kv: what will be wanted next, to be fetched; or NULL */
    float *m, *l, *acc;      /* outputs, acc [n_queries][head_dim] */
};

struct sl_kernels {
    enum sl_cpu_level level;
    struct sl_kernels_matmul matmul[SL_DTYPE_LIMIT]; /* NULL pointers: type unsupported */

    /* Quantise row x[0 .. n_cols) into token t of act (kind Q32 or Q256; n_cols a
     * multiple of its block). Per block: amax = max |x_i|; d = amax / 127; inv =
     * amax >= SL_ACT_AMAX_MIN ? 127 / amax : 0; q_i = x_i * inv rounded to nearest
     * even. For SL_ACT_F32 it copies. Not finite input: q is unspecified but in
     * -128..127, d is NaN or infinite, so the result shows it. */
    void (*quantize)(struct sl_act *act, uint32_t t, const float *x);

    /* out_i = (x_i * r) * w_i with r = 1 / sqrtf(sum / n + eps), sum = 16 lanes of fma
     * and sl_lanes_sum. out may be x. */
    void (*rms_norm)(float *out, const float *x, const float *w, size_t n, float eps);

    /* out_i = (gate_i / (1 + exp(-gate_i))) * up_i. out may be gate or up. */
    void (*silu_mul)(float *out, const float *gate, const float *up, size_t n);

    /* out_i = 1 / (1 + exp(-x_i)). out may be x. */
    void (*sigmoid)(float *out, const float *x, size_t n);

    /* x_i = x_i + y_i */
    void (*add)(float *x, const float *y, size_t n);

    /* out_i = sum over j of weight[j] * y[j][i], as acc = fma(weight[j], y[j][i], acc)
     * from +0, j ascending, then x_i = x_i + acc. n_terms >= 1. */
    void (*add_weighted)(float *x, const float *const *y, const float *weight,
                         uint32_t n_terms, size_t n);

    /* Short convolution of one token over n channels: z = b * xin elementwise is stored
     * to z_out, then v = sum over taps j of kernel[c * n_taps + j] * z_(j)[c], where
     * z_(j) is hist[j] for j < n_taps - 1 (oldest first) and z for the last: acc = fma
     * from +0, j ascending; out = gate * v. bcx holds b (n), gate (n), xin (n). */
    void (*short_conv)(float *out, float *z_out, const float *bcx,
                       const float *kernel, const float *const *hist,
                       uint32_t n_taps, size_t n);

    /* Rotate one head in place: for i < half: (a, b) = (x[i], x[i + half]);
     * x[i] = fma(a, cos_i, -(b * sin_i)); x[i + half] = fma(b, cos_i, a * sin_i). */
    void (*rope)(float *x, const float *cos, const float *sin, uint32_t half);

    /* Store k and v (head_dim floats each) at position pos (0..255) of a KV block.
     * F16: rounded to nearest even. Q8_0: per 32, d = F16(amax / 127), q = nearest even
     * of x / d (0 when d is 0), clamped to -127..127. */
    void (*kv_store)(void *kv, enum sl_kv_type type, uint32_t head_dim, uint32_t pos,
                     const float *k, const float *v);

    /* Scores s_j = scale * (sum over d of q_d * k_jd, fma from +0, d ascending);
     * m = max over valid j (never NaN; a maximum of 0 is +0); p_j = exp(s_j - m), 0 for
     * others; l = 16 lanes (j % 16, j ascending) then sl_lanes_sum; acc_d = fma(p_j, v_jd,
     * acc_d) from +0, j ascending over the valid ones. Q8_0 values are d * q rounded to
     * float first. */
    void (*attend)(const struct sl_attend *a);

    /* Merge a later partial (m2, l2, acc2) into (m, l, acc): m' = max(m, m2), a =
     * exp(m - m'), b = exp(m2 - m'); l = fma(l, a, l2 * b); acc_d = fma(acc_d, a,
     * acc2_d * b). */
    void (*attend_merge)(float *m, float *l, float *acc, float m2, float l2,
                         const float *acc2, uint32_t head_dim);

    /* out_i = acc_i / l */
    void (*attend_finish)(float *out, const float *acc, float l, uint32_t head_dim);

    /* Index of the largest of n >= 1 floats, the first of equals; NaNs never win
     * (0 if all are NaN). */
    size_t (*argmax)(const float *x, size_t n);
};

/*
 * Fill the table: the C entries, then AVX2, then AVX-512, as far as level allows.
 * The caller has checked that the CPU has the level (sl_cpu_best).
 */
void sl_kernels_init(struct sl_kernels *k, enum sl_cpu_level level);

/* The best level this CPU and operating system can run. */
enum sl_cpu_level sl_cpu_best(void);

/* "c", "avx2", "avx512"; the other way round: level or -1. */
const char *sl_cpu_level_name(enum sl_cpu_level level);
int sl_cpu_level_from_name(const char *name);

/* The kind of activations that a weight type is multiplied with. */
enum sl_act_kind sl_kernels_act_kind(enum sl_dtype dtype);

/*
 * Bytes that the arrays of a struct sl_act need for n_tok tokens of n_cols columns
 * (each array rounded up to 64), and the laying out of them in buf (64-aligned).
 */
size_t sl_act_bytes(enum sl_act_kind kind, uint32_t n_tok, uint32_t n_cols);
void sl_act_init(struct sl_act *act, enum sl_act_kind kind, uint32_t n_tok,
                 uint32_t n_cols, void *buf);

/* Copy token `from` of src to token `to` of dst (same kind and n_cols). */
void sl_act_copy_tok(struct sl_act *dst, uint32_t to, const struct sl_act *src,
                     uint32_t from);

/*
 * Bytes of one KV block (256 positions) of one KV head: K then V. K is transposed
 * in groups of 16 positions, so that 16 scores are computed in 16 lanes:
 *   F32/F16: K [16 groups][head_dim][16 positions], V [256][head_dim]
 *   Q8_0:    K q int8 [16][head_dim][16], K d F16 [16][head_dim / 32][16],
 *            V q int8 [256][head_dim], V d F16 [256][head_dim / 32]
 * A multiple of 64 bytes. A block must be zeroed before its first store, so that
 * positions not yet written are finite numbers.
 */
size_t sl_kernels_kv_bytes(enum sl_kv_type type, uint32_t head_dim);

/* Dequantise row r of a matrix to n_cols floats (embedding look-up). */
void sl_dequant_row(float *out, const struct sl_tensor *t, uint32_t row);

/* The product of rows [row0, row0 + n_rows) of w with all tokens of x, by `one` or
 * `many` as n_tok asks; out is the address of row row0 for token 0. */
static inline void sl_matmul(const struct sl_kernels *k, float *out, size_t out_stride,
                             const struct sl_tensor *w, uint32_t row0, uint32_t n_rows,
                             const struct sl_act *x)
{
    const struct sl_kernels_matmul *mm = &k->matmul[w->dtype];
    const char *rows = (const char *)w->data + row0 * w->row_bytes;

    (x->n_tok == 1 ? mm->one : mm->many)(out, out_stride, rows, w->row_bytes, n_rows, x);
}
