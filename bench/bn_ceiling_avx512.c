/*
 * Ceilings of AVX-512.
 *
 * dot: vpdpbusd alone, 24 sums that do not wait for each other.
 *
 * tile: what sixteen rows by twelve tokens with a scale for every 32 columns cost, data
 * in the first cache: for each 32 columns 8 x 12 vpdpbusd, the activations broadcast from
 * memory as they are used, and for each token a conversion, a product of scales and a
 * fused multiply-add. Unpacking, corrections for signs and mins, and memory are not in
 * it: kernels have these on top. Of eleven vector operations eight multiply, so it can
 * reach 8/11 of dot.
 *
 * fma: 24 sums of sixteen floats.
 */
#include <immintrin.h>
#include <string.h>

#include "bench/bn_ceiling.h"

#define N_SUMS 24
#define N_TOK 12
#define N_BLOCKS 8 /* of 32 columns: 256 in all, 4 KiB of weights */
#define AHEAD_BYTES 8192

#define OPAQUE(v) __asm__ volatile("" : "+v"(v))

static uint64_t add_up(__m512i v)
{
    uint64_t words[8], sum = 0;

    _mm512_storeu_si512(words, v);
    for (int i = 0; i < 8; i++)
        sum += words[i];
    return sum;
}

static inline __attribute__((always_inline)) uint64_t read_with(const void *p, size_t bytes,
                                                                const size_t ahead)
{
    const char *at = p, *end = at + bytes;
    __m512i sum[8];

    for (int i = 0; i < 8; i++)
        sum[i] = _mm512_setzero_si512();
    for (; at < end; at += 512)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            if (ahead)
                _mm_prefetch(at + 64 * i + ahead, _MM_HINT_T1);
            sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(at + 64 * i));
        }
    for (int i = 1; i < 8; i++)
        sum[0] = _mm512_add_epi64(sum[0], sum[i]);
    return add_up(sum[0]);
}

static uint64_t read_plain(const void *p, size_t bytes)
{
    return read_with(p, bytes, 0);
}

static uint64_t read_ahead(const void *p, size_t bytes)
{
    return read_with(p, bytes, AHEAD_BYTES);
}

static uint64_t sum_dot(uint64_t n)
{
    __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5), sum[N_SUMS];

#pragma GCC unroll 24
    for (int i = 0; i < N_SUMS; i++)
        sum[i] = _mm512_setzero_si512();
    for (; n; n--)
#pragma GCC unroll 24
        for (int i = 0; i < N_SUMS; i++) {
            sum[i] = _mm512_dpbusd_epi32(sum[i], w, x);
            OPAQUE(sum[i]);
        }
#pragma GCC unroll 24
    for (int i = 1; i < N_SUMS; i++)
        sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    return add_up(sum[0]);
}

static uint64_t sum_fma(uint64_t n)
{
    __m512 w = _mm512_set1_ps(0.5f), x = _mm512_set1_ps(0.25f), sum[N_SUMS];

#pragma GCC unroll 24
    for (int i = 0; i < N_SUMS; i++)
        sum[i] = _mm512_setzero_ps();
    for (; n; n--)
#pragma GCC unroll 24
        for (int i = 0; i < N_SUMS; i++) {
            sum[i] = _mm512_fmadd_ps(w, x, sum[i]);
            OPAQUE(sum[i]);
        }
#pragma GCC unroll 24
    for (int i = 1; i < N_SUMS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return add_up(_mm512_castps_si512(sum[0]));
}

struct tile {
    __m512i w[N_BLOCKS][8]; /* dword k of sixteen rows */
    __m512 d[N_BLOCKS];
    int8_t q[N_BLOCKS][N_TOK][32];
    float q_d[N_BLOCKS][N_TOK];
};

static inline __attribute__((always_inline)) __m512i broadcast(const int8_t *four)
{
    int dword;

    memcpy(&dword, four, sizeof(dword));
    return _mm512_set1_epi32(dword);
}

/* 256 columns. */
static void run_tile(__m512 acc[N_TOK], const struct tile *tile)
{
    __m512 sum[N_TOK];

#pragma GCC unroll 12
    for (int t = 0; t < N_TOK; t++)
        sum[t] = acc[t];
    for (int j = 0; j < N_BLOCKS; j++) {
        __m512i isum[N_TOK];

#pragma GCC unroll 12
        for (int t = 0; t < N_TOK; t++)
            isum[t] = _mm512_setzero_si512();
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
#pragma GCC unroll 12
            for (int t = 0; t < N_TOK; t++)
                isum[t] = _mm512_dpbusd_epi32(isum[t], tile->w[j][k],
                                              broadcast(&tile->q[j][t][4 * k]));
#pragma GCC unroll 12
        for (int t = 0; t < N_TOK; t++)
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[t]),
                                     _mm512_mul_ps(tile->d[j], _mm512_set1_ps(tile->q_d[j][t])),
                                     sum[t]);
    }
#pragma GCC unroll 12
    for (int t = 0; t < N_TOK; t++)
        acc[t] = sum[t];
}

static uint64_t sum_tile(uint64_t n)
{
    struct tile data;
    __m512 acc[N_TOK];
    uint64_t sum = 0;

    memset(&data, 1, sizeof(data));
    for (int j = 0; j < N_BLOCKS; j++) {
        data.d[j] = _mm512_set1_ps(0.5f);
        for (int t = 0; t < N_TOK; t++)
            data.q_d[j][t] = 0.5f;
    }
    memset(acc, 0, sizeof(acc));
    for (; n; n--) {
        run_tile(acc, &data);
        __asm__ volatile("" : : "r"(&data), "r"(acc) : "memory");
    }
    for (int t = 0; t < N_TOK; t++)
        sum += add_up(_mm512_castps_si512(acc[t]));
    return sum;
}

void bn_ceiling_fill_avx512(struct bn_ceiling *c)
{
    *c = (struct bn_ceiling){
        .read = read_plain,
        .read_ahead = read_ahead,
        .dot = sum_dot,
        .tile = sum_tile,
        .fma = sum_fma,
        .dot_macs = N_SUMS * 64,
        .tile_macs = N_TOK * 16 * 32 * N_BLOCKS,
        .fma_macs = N_SUMS * 16,
    };
}
