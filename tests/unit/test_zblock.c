/*
 * Compression gives back what went in, for data of every kind and length, into other
 * memory and in place; and any bytes at all decode to something or to an error, without a
 * byte outside of the destination. SL_SEED: the seed of the random data.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loader/check.h"
#include "loader/zblock.h"

#define GUARD 64

static uint64_t rng;

static uint64_t next(void)
{
    uint64_t z = rng += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

enum style { STYLE_NOISE, STYLE_ZEROES, STYLE_GAUSS_BF16, STYLE_FEW, STYLE_RUNS, STYLES };

static void fill(uint8_t *data, size_t n, enum style style)
{
    for (size_t i = 0; i < n; i++)
        switch (style) {
        case STYLE_NOISE: data[i] = (uint8_t)next(); break;
        case STYLE_ZEROES: data[i] = 0; break;
        case STYLE_FEW: data[i] = (uint8_t)(next() % 5 * 17); break;
        case STYLE_RUNS: data[i] = (uint8_t)(i / 1000); break;
        default: {
            /* the exponent of a sum of random bits is like a weight's */
            uint64_t bits = next();
            int e = 120 + __builtin_ctzll(bits | 1u << 7);

            data[i] = i % 2 ? (uint8_t)((bits >> 40 & 0x80) | e >> 1)
                            : (uint8_t)(bits >> 50 | (unsigned)e << 7);
        }
        }
}

static struct sl_zblock_encoder *new_encoder(int level)
{
    struct sl_zblock_encoder *enc;

    assert_int_equal(sl_zblock_encoder_new(&enc, level), 0);
    return enc;
}

static struct sl_zblock_set *new_set(uint32_t n)
{
    struct sl_zblock_set *set;

    assert_int_equal(sl_zblock_set_new(&set, n), 0);
    return set;
}

/* Encode data, decode into memory with a guard behind it and in place. Returns the
 * stored size. */
static int64_t round_trip(struct sl_zblock_encoder *enc, struct sl_zblock_set *set,
                          enum sl_zblock_kind kind, const uint8_t *data, size_t n)
{
    uint64_t bound = sl_zblock_bound(kind, n);
    uint8_t *stored = malloc(bound + GUARD);
    uint8_t *out = malloc(n + GUARD);
    int64_t bytes;

    assert_non_null(stored);
    assert_non_null(out);
    memset(stored + bound, 0xA5, GUARD);
    bytes = sl_zblock_encode(enc, kind, data, n, stored);
    assert_in_range(bytes, 1, bound);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(stored[bound + i], 0xA5);

    memset(out, 0x5A, n + GUARD);
    assert_int_equal(sl_zblock_decode(set, kind, stored, (uint64_t)bytes, out, n), 0);
    assert_memory_equal(out, data, n);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(out[n + i], 0x5A);

    if ((uint64_t)bytes <= n) {
        uint8_t *tail = out + n - bytes + next() % GUARD;

        memset(out, 0x5A, n + GUARD);
        memcpy(tail, stored, (size_t)bytes);
        assert_int_equal(sl_zblock_decode(set, kind, tail, (uint64_t)bytes, out, n), 0);
        assert_memory_equal(out, data, n);
    }
    free(stored);
    free(out);
    return bytes;
}

static void everything_comes_back(void **state)
{
    static const size_t lengths[] = {
        4, 8, 60, 1000, 4096, SL_ZBLOCK_PIECE_BYTES - 4, SL_ZBLOCK_PIECE_BYTES,
        SL_ZBLOCK_PIECE_BYTES + 4, 3 * SL_ZBLOCK_PIECE_BYTES + 20000,
    };
    struct sl_zblock_encoder *enc = new_encoder(1);
    struct sl_zblock_set *set = new_set(1);
    uint8_t *data = malloc(4 * SL_ZBLOCK_PIECE_BYTES);

    assert_non_null(data);
    for (int style = 0; style < STYLES; style++)
        for (int kind = SL_ZBLOCK_BYTES; kind < SL_ZBLOCK_KINDS; kind++)
            for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                fill(data, lengths[i], (enum style)style);
                (void)round_trip(enc, set, (enum sl_zblock_kind)kind, data, lengths[i]);
            }
    free(data);
    sl_zblock_encoder_free(enc);
    sl_zblock_set_free(set);
}

static void every_level_comes_back(void **state)
{
    struct sl_zblock_set *set = new_set(1);
    uint8_t *data = malloc(SL_ZBLOCK_PIECE_BYTES);
    int64_t sizes[SL_ZBLOCK_LEVEL_MAX + 1];

    assert_non_null(data);
    for (int level = SL_ZBLOCK_LEVEL_MIN; level <= SL_ZBLOCK_LEVEL_MAX; level += 6) {
        struct sl_zblock_encoder *enc = new_encoder(level);

        for (size_t i = 0; i < SL_ZBLOCK_PIECE_BYTES; i++)
            data[i] = (uint8_t)(i % 4099 * i % 251); /* repeats, out of a Huffman code's reach */
        sizes[level] = round_trip(enc, set, SL_ZBLOCK_BYTES, data, SL_ZBLOCK_PIECE_BYTES);
        sl_zblock_encoder_free(enc);
    }
    assert_true(sizes[1] < SL_ZBLOCK_PIECE_BYTES / 2); /* matches are used where they pay */
    free(data);
    sl_zblock_set_free(set);
}

static void sizes_are_as_hoped(void **state)
{
    struct sl_zblock_encoder *enc = new_encoder(3);
    struct sl_zblock_set *set = new_set(1);
    size_t n = 4 * SL_ZBLOCK_PIECE_BYTES;
    uint8_t *data = malloc(n);

    assert_non_null(data);
    fill(data, n, STYLE_NOISE); /* only the table is added */
    assert_int_equal(round_trip(enc, set, SL_ZBLOCK_BYTES, data, n), n + 16);
    assert_int_equal(round_trip(enc, set, SL_ZBLOCK_F32, data, n), n + 64);
    fill(data, n, STYLE_ZEROES); /* a byte for each plane */
    assert_int_equal(round_trip(enc, set, SL_ZBLOCK_BF16, data, n), 8 * 5);
    fill(data, n, STYLE_GAUSS_BF16);
    assert_in_range(round_trip(enc, set, SL_ZBLOCK_BF16, data, n), n / 2, n * 7 / 10);
    free(data);
    sl_zblock_encoder_free(enc);
    sl_zblock_set_free(set);
}

/* Stored bytes with a few changed, or cut, decode to an error or to something; a guard
 * is behind the destination, and a sanitizer may watch. */
static void damage_is_survived(void **state)
{
    struct sl_zblock_encoder *enc = new_encoder(1);
    struct sl_zblock_set *set = new_set(1);
    size_t n = SL_ZBLOCK_PIECE_BYTES + 4000;
    uint8_t *data = malloc(n), *out = malloc(n + GUARD);
    int n_bad = 0;

    assert_non_null(data);
    assert_non_null(out);
    memset(out + n, 0x5A, GUARD);
    fill(data, n, STYLE_GAUSS_BF16);
    for (int round = 0; round < 400; round++) {
        enum sl_zblock_kind kind = (enum sl_zblock_kind)(1 + next() % (SL_ZBLOCK_KINDS - 1));
        uint64_t bound = sl_zblock_bound(kind, n);
        uint8_t *stored = malloc(bound);
        uint64_t bytes = (uint64_t)sl_zblock_encode(enc, kind, data, n, stored);
        uint64_t cut = round % 4 == 0 ? next() % bytes : bytes;
        uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees the end */

        for (uint64_t i = next() % 4; i > 0; i--)
            stored[next() % (round % 2 ? 32 : bytes)] ^= (uint8_t)(1u << next() % 8);
        memcpy(exact, stored, cut);
        n_bad += sl_zblock_decode(set, kind, exact, cut, out, n) != 0;
        if (cut <= n) { /* in place */
            memcpy(out + n - cut, stored, cut);
            (void)sl_zblock_decode(set, kind, out + n - cut, cut, out, n);
        }
        for (size_t i = 0; i < GUARD; i++)
            assert_int_equal(out[n + i], 0x5A);
        free(stored);
        free(exact);
    }
    assert_true(n_bad > 100);
    free(data);
    free(out);
    sl_zblock_encoder_free(enc);
    sl_zblock_set_free(set);
}

static void bad_arguments_are_refused(void **state)
{
    struct sl_zblock_encoder *enc = NULL;
    struct sl_zblock_set *set = new_set(1);
    uint8_t bytes[16] = { 0 };

    assert_int_equal(sl_zblock_encoder_new(&enc, 0), -ERANGE);
    assert_int_equal(sl_zblock_encoder_new(&enc, 20), -ERANGE);
    assert_null(enc);
    assert_int_equal(sl_zblock_decode(set, SL_ZBLOCK_PLAIN, bytes, 8, bytes, 9), -EBADMSG);
    assert_int_equal(sl_zblock_decode(set, SL_ZBLOCK_F32, bytes, 8, bytes + 8, 6), -EBADMSG);
    assert_int_equal(sl_zblock_decode(set, SL_ZBLOCK_F32, bytes, 8, bytes + 8, 8), -EBADMSG);
    assert_string_equal(sl_zblock_kind_name(SL_ZBLOCK_BF16), "zstd-bf16");
    assert_string_equal(sl_zblock_kind_name((enum sl_zblock_kind)77), "unknown");
    sl_zblock_set_free(set);
}

static void the_hash_is_xxh3(void **state)
{
    /* XXH3_64bits of nothing and of "a": published values */
    assert_int_equal(sl_check_hash("", 0), UINT64_C(0x2D06800538D394C2));
    assert_int_equal(sl_check_hash("a", 1), UINT64_C(0xE6C632B61E964E1F));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(every_level_comes_back),
        cmocka_unit_test(sizes_are_as_hoped),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(the_hash_is_xxh3),
    };
    const char *seed = getenv("SL_SEED");

    rng = seed ? strtoull(seed, NULL, 0) : 1;
    print_message("SL_SEED=%llu\n", (unsigned long long)rng);
    return cmocka_run_group_tests_name("zblock", tests, NULL, NULL);
}
