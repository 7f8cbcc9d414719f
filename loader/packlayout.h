/*
 * Where things lie in a pack, for loader/pack*.c only; the words to
 * it are in doc/pack-format.md. All numbers are little-endian and lie at multiples of
 * their size from the start of the file.
 *
 *     header | heads[] | tensors[] | layers[] | parts[] | GGUF headers | shared | records
 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "loader/pack.h"

#define SL_PACK_MAGIC "\x89SLPACK\n"
#define SL_PACK_MAGIC_BYTES 8u
#define SL_PACK_VERSION 1u

#define SL_PACK_HEADER_BYTES 128u
#define SL_PACK_HEAD_BYTES 16u /* of an entry of each table */
#define SL_PACK_TENSOR_BYTES 32u
#define SL_PACK_LAYER_BYTES 32u
#define SL_PACK_PART_BYTES 24u
#define SL_PACK_HEAD_ALIGN 8u /* of the GGUF headers */

/* Offsets in the header. */
enum {
    SL_PACK_AT_VERSION = 8,       /* u32 */
    SL_PACK_AT_HEADER_BYTES = 12, /* u32, SL_PACK_HEADER_BYTES */
    SL_PACK_AT_FILE_BYTES = 16,   /* u64 */
    SL_PACK_AT_META_BYTES = 24,   /* u64, to the end of the last GGUF header */
    SL_PACK_AT_META_HASH = 32,    /* u64, of [SL_PACK_HEADER_BYTES, meta_bytes) */
    SL_PACK_AT_N_HEADS = 40,      /* u32 */
    SL_PACK_AT_N_TENSORS = 44,    /* u32 */
    SL_PACK_AT_N_LAYERS = 48,     /* u32 */
    SL_PACK_AT_N_PARTS = 52,      /* u32 */
    SL_PACK_AT_ZEROES = 56,       /* up to the hash */
    SL_PACK_AT_HASH = 120,        /* u64, of the 120 bytes before */
};

/* Bytes from the start of the file to the end of the tables. */
static inline uint64_t sl_packlayout_tables_end(uint64_t n_heads, uint64_t n_tensors,
                                                uint64_t n_layers, uint64_t n_parts)
{
    return SL_PACK_HEADER_BYTES + n_heads * SL_PACK_HEAD_BYTES +
           n_tensors * SL_PACK_TENSOR_BYTES + n_layers * SL_PACK_LAYER_BYTES +
           n_parts * SL_PACK_PART_BYTES;
}

/* For loader/packload.c: mapped memory that the pack takes over, at most twice. */
void sl_pack_keep(struct sl_pack *pack, void *ptr, uint64_t bytes);
bool sl_pack_is_headless(const struct sl_pack *pack);
