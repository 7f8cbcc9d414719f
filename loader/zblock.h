/*
 * Lossless compression of matrices, and the only file that knows zstd. Numbers of 2 or 4
 * bytes are split into planes of one byte (for BF16 and F32 the exponent is a plane of
 * its own), because exponents compress well and mantissas not at all; planes that do not
 * compress are stored as they are. Matrices are cut into pieces of SL_ZBLOCK_PIECE_BYTES
 * that decode one after the other, so that stored bytes at the end of the destination
 * are overwritten only after use. The format: doc/pack-format.md.
 *
 * Called by loader/pack.c and loader/packwrite.c. Encoders: one thread each; decoding:
 * any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

#define SL_ZBLOCK_PIECE_BYTES 262144u /* of a matrix; the last piece may be shorter */

#define SL_ZBLOCK_IN_PLACE_MAX (1u << 30) /* bytes of a matrix decoded in place */

/* How stored bytes become a matrix; the numbers of the file format. */
enum sl_zblock_kind {
    SL_ZBLOCK_PLAIN = 0, /* they are the matrix */
    SL_ZBLOCK_BYTES,     /* one plane */
    SL_ZBLOCK_16,        /* two planes: low and high bytes (F16) */
    SL_ZBLOCK_BF16,      /* two planes: sign with mantissa, exponent */
    SL_ZBLOCK_F32,       /* four planes: mantissa low, middle, sign with high, exponent */
    SL_ZBLOCK_KINDS,
};

const char *sl_zblock_kind_name(enum sl_zblock_kind kind); /* "plain", "zstd", "zstd-bf16" */
uint32_t sl_zblock_element_bytes(enum sl_zblock_kind kind); /* PLAIN: 1 */
enum sl_zblock_kind sl_zblock_kind_for(enum sl_dtype dtype);

/* Levels that sl_zblock_encoder_new takes. */
#define SL_ZBLOCK_LEVEL_MIN 1
#define SL_ZBLOCK_LEVEL_MAX 19

struct sl_zblock_encoder;

/* -ENOMEM, -ERANGE (level). */
int sl_zblock_encoder_new(struct sl_zblock_encoder **ret_enc, int level);
void sl_zblock_encoder_free(struct sl_zblock_encoder *enc); /* NULL is allowed */

/* The most that sl_zblock_encode writes. */
uint64_t sl_zblock_bound(enum sl_zblock_kind kind, uint64_t bytes);

/*
 * Encode bytes (a multiple of the kind's element, at least 1, at most 1 << 40) of data;
 * kind is not PLAIN. ret has room for sl_zblock_bound. Returns the stored size, which
 * may exceed bytes by the table at the front, or -ENOMEM.
 */
int64_t sl_zblock_encode(struct sl_zblock_encoder *enc, enum sl_zblock_kind kind,
                         const uint8_t *data, uint64_t bytes, uint8_t *ret);

/* Decoding needs memory of its own per thread: a set of these for as many threads as
 * decode at once (more wait for each other). */
struct sl_zblock_set;

int sl_zblock_set_new(struct sl_zblock_set **ret_set, uint32_t n_threads); /* -ENOMEM */
void sl_zblock_set_free(struct sl_zblock_set *set); /* NULL is allowed */

/*
 * Decode into bytes at ret_data. The stored bytes may lie in the same memory if they
 * begin at or behind ret_data, end at or behind ret_data + bytes, and bytes is at most
 * SL_ZBLOCK_IN_PLACE_MAX; otherwise the two must not overlap. Whatever the stored bytes
 * are, only ret_data is written. Allocates nothing. Returns 0, or -EBADMSG: then ret_data
 * is undefined. kind is valid.
 */
int sl_zblock_decode(struct sl_zblock_set *set, enum sl_zblock_kind kind,
                     const uint8_t *stored, uint64_t stored_bytes, uint8_t *ret_data,
                     uint64_t bytes);
