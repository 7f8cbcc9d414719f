/*
 * Ceilings of AVX2, which multiplies bytes into 16-bit pairs (vpmaddubsw), where up to
 * eight products of small weights may be added before vpmaddwd widens them.
 *
 * dot: for four vectors of sums eight vpmaddubsw, seven additions, one vpmaddwd and one
 * addition each, all in registers.
 *
 * tile: what sixteen rows by two tokens with a scale for every 32 columns cost, data in
 * the first cache: the same steps with weights loaded and activations broadcast as they
 * are used, then for each vector of eight rows a conversion, a product of scales and a
 * fused multiply-add. Unpacking and corrections are not in it.
 *
 * fma: twelve sums of eight floats.
 */
#include <immintrin.h>
#include <string.h>

#include "bench/bn_ceiling.h"

#define N_SUMS 4
#define N_ADD 8 /* products added in 16 bits */
#define N_FMA 12
#define N_TOK 2
#define N_BLOCKS 8 /* of 32 columns */
#define AHEAD_BYTES 8192

#define OPAQUE(v) __asm__ volatile("" : "+x"(v))

static uint64_t add_up(__m256i v)
{
    uint64_t words[4];

    _mm256_storeu_si256((__m256i *)words, v);
    return words[0] + words[1] + words[2] + words[3];
}

static inline __attribute__((always_inline)) uint64_t read_with(const void *p, size_t bytes,
                                                                const size_t ahead)
{
    const char *at = p, *end = at + bytes;
    __m256i sum[8];

    for (int i = 0; i < 8; i++)
        sum[i] = _mm256_setzero_si256();
    for (; at < end; at += 256)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            if (ahead && i % 2 == 0)
                _mm_prefetch(at + 32 * i + ahead, _MM_HINT_T1);
            sum[i] = _mm256_add_epi64(sum[i], _mm256_load_si256((const __m256i *)at + i));
        }
    for (int i = 1; i < 8; i++)
        sum[0] = _mm256_add_epi64(sum[0], sum[i]);
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
    const __m256i scale = _mm256_set1_epi16(3);
    __m256i w = _mm256_set1_epi8(3), x[N_SUMS], sum[N_SUMS];

#pragma GCC unroll 4
    for (int i = 0; i < N_SUMS; i++) {
        x[i] = _mm256_set1_epi8((char)(i + 1));
        OPAQUE(x[i]);
        sum[i] = _mm256_setzero_si256();
    }
    for (; n; n--) {
        __m256i pairs[N_SUMS];

#pragma GCC unroll 8
        for (int k = 0; k < N_ADD; k++) {
            OPAQUE(w); /* another vector of weights, as far as the compiler knows */
#pragma GCC unroll 4
            for (int i = 0; i < N_SUMS; i++) {
                __m256i p = _mm256_maddubs_epi16(w, x[i]);

                pairs[i] = k ? _mm256_add_epi16(pairs[i], p) : p;
                OPAQUE(pairs[i]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < N_SUMS; i++) {
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs[i], scale));
            OPAQUE(sum[i]);
        }
    }
    return add_up(_mm256_add_epi32(_mm256_add_epi32(sum[0], sum[1]),
                                   _mm256_add_epi32(sum[2], sum[3])));
}

static uint64_t sum_fma(uint64_t n)
{
    __m256 w = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(0.25f), sum[N_FMA];

#pragma GCC unroll 12
    for (int i = 0; i < N_FMA; i++)
        sum[i] = _mm256_setzero_ps();
    for (; n; n--)
#pragma GCC unroll 12
        for (int i = 0; i < N_FMA; i++) {
            sum[i] = _mm256_fmadd_ps(w, x, sum[i]);
            OPAQUE(sum[i]);
        }
#pragma GCC unroll 12
    for (int i = 1; i < N_FMA; i++)
        sum[0] = _mm256_add_ps(sum[0], sum[i]);
    return add_up(_mm256_castps_si256(sum[0]));
}

struct tile {
    __m256i w[N_BLOCKS][8][2]; /* dword k of eight rows, and of eight more */
    __m256 d[N_BLOCKS][2];
    int8_t q[N_BLOCKS][N_TOK][32];
    float q_d[N_BLOCKS][N_TOK];
};

static inline __attribute__((always_inline)) __m256i broadcast(const int8_t *four)
{
    int dword;

    memcpy(&dword, four, sizeof(dword));
    return _mm256_set1_epi32(dword);
}

/* 256 columns. */
static void run_tile(__m256 acc[N_TOK][2], const struct tile *tile)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 sum[N_TOK * 2];

#pragma GCC unroll 4
    for (int i = 0; i < N_TOK * 2; i++)
        sum[i] = acc[i / 2][i % 2];
    for (int j = 0; j < N_BLOCKS; j++) {
        __m256i pairs[N_TOK * 2];

#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
#pragma GCC unroll 4
            for (int i = 0; i < N_TOK * 2; i++) {
                __m256i p = _mm256_maddubs_epi16(tile->w[j][k][i % 2],
                                                 broadcast(&tile->q[j][i / 2][4 * k]));

                pairs[i] = k ? _mm256_add_epi16(pairs[i], p) : p;
                OPAQUE(pairs[i]); /* or gcc adds in another order, which takes longer */
            }
#pragma GCC unroll 4
        for (int i = 0; i < N_TOK * 2; i++)
            sum[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(pairs[i], ones)),
                                     _mm256_mul_ps(tile->d[j][i % 2],
                                                   _mm256_set1_ps(tile->q_d[j][i / 2])),
                                     sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < N_TOK * 2; i++)
        acc[i / 2][i % 2] = sum[i];
}

static uint64_t sum_tile(uint64_t n)
{
    struct tile data;
    __m256 acc[N_TOK][2];
    uint64_t sum = 0;

    memset(&data, 1, sizeof(data));
    for (int j = 0; j < N_BLOCKS; j++)
        for (int i = 0; i < 2; i++) {
            data.d[j][i] = _mm256_set1_ps(0.5f);
            data.q_d[j][i] = 0.5f; /* two tokens, as there are two vectors of rows */
        }
    memset(acc, 0, sizeof(acc));
    for (; n; n--) {
        run_tile(acc, &data);
        __asm__ volatile("" : : "r"(&data), "r"(acc) : "memory");
    }
    for (int i = 0; i < N_TOK * 2; i++)
        sum += add_up(_mm256_castps_si256(acc[i / 2][i % 2]));
    return sum;
}

void bn_ceiling_fill_avx2(struct bn_ceiling *c)
{
    *c = (struct bn_ceiling){
        .read = read_plain,
        .read_ahead = read_ahead,
        .dot = sum_dot,
        .tile = sum_tile,
        .fma = sum_fma,
        .dot_macs = N_SUMS * N_ADD * 32,
        .tile_macs = N_TOK * 16 * 32 * N_BLOCKS,
        .fma_macs = N_FMA * 8,
    };
}
