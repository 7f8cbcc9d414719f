/*
 * GGUF files, versions 2 and 3, little-endian, single or split
 * (NAME-00001-of-00003.gguf): opened, checked completely, and then only read.
 * After sl_gguf_open succeeds every view lies inside its mapping, every count has
 * been checked against the limits below, and no two keys or tensors share a name.
 * Called by src/model and the tools. Any thread may read.
 *
 * Source of the format: ggml's docs/gguf.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loader/mapping.h"
#include "tensor/tensor.h"

/* Every limit on what a file may say, in one place. */
#define SL_GGUF_KEYS_MAX 4096u
#define SL_GGUF_TENSORS_MAX 65536u
#define SL_GGUF_KEY_BYTES_MAX 65535u
#define SL_GGUF_NAME_BYTES_MAX 256u
#define SL_GGUF_STRING_BYTES_MAX (16u << 20)
#define SL_GGUF_ARRAY_ITEMS_MAX (16u << 20)
#define SL_GGUF_ARRAY_DEPTH_MAX 1u /* arrays of arrays are refused */
#define SL_GGUF_DIMS_MAX 4u
#define SL_GGUF_DIM_MAX (1u << 28)
#define SL_GGUF_SPLITS_MAX 999u
#define SL_GGUF_ALIGNMENT_MAX (1u << 20)

enum sl_gguf_type {
    SL_GGUF_U8 = 0,
    SL_GGUF_I8,
    SL_GGUF_U16,
    SL_GGUF_I16,
    SL_GGUF_U32,
    SL_GGUF_I32,
    SL_GGUF_F32,
    SL_GGUF_BOOL,
    SL_GGUF_STRING,
    SL_GGUF_ARRAY,
    SL_GGUF_U64,
    SL_GGUF_I64,
    SL_GGUF_F64,
};

/* Bytes inside the mapping; not terminated; valid while the file is open. */
struct sl_gguf_str {
    const char *ptr;
    uint64_t len;
};

struct sl_gguf_kv {
    struct sl_gguf_str key;
    enum sl_gguf_type type;
    enum sl_gguf_type item_type; /* of an array, else same as type */
    uint64_t n_items;            /* of an array, else 1 */
    const uint8_t *data;         /* first item as the file holds it, unaligned */
    uint64_t bytes;              /* of all items */
};

struct sl_gguf_tensor {
    struct sl_gguf_str name;
    uint32_t dtype; /* GGUF number; may be unsupported: see sl_dtype_find */
    uint32_t n_dims;
    uint32_t ne[SL_GGUF_DIMS_MAX]; /* fastest first, 1 beyond n_dims */
    const uint8_t *data;           /* NULL when the file was opened headless */
    uint64_t bytes;                /* of data; 0 for a type whose size is unknown */
    uint64_t file_off;             /* of data in its file; UINT64_MAX: not in a file */
    uint32_t split;                /* which file, 0-based */
};

struct sl_gguf;

enum {
    SL_GGUF_HEADLESS = 1, /* tensor data may lie beyond the end of the file */
};

/*
 * Open path and, if it is the first part of a split model, all other parts (which
 * are looked for beside it; any part's name may be given). -EBADMSG for malformed
 * files with what was expected and found and the byte offset, -ENOTSUP for versions,
 * byte order, -E2BIG for limits, or the mapping's errors. flags: SL_GGUF_*.
 */
int sl_gguf_open(struct sl_gguf **ret_gguf, const char *path, uint32_t flags,
                 struct sl_diag *diag);
void sl_gguf_close(struct sl_gguf *gguf); /* NULL is allowed */

/* Where the header of a GGUF file lies in another file: everything up to the end of the
 * list of tensors, or more. */
struct sl_gguf_head {
    uint64_t off, bytes;
};

/*
 * A model whose headers, one for each part of it, lie in map, which they must be inside
 * of; for loader/pack.c. As one file: one split. Tensors have no data and file_off
 * UINT64_MAX until sl_gguf_set_data. Takes a reference to map. Errors as sl_gguf_open.
 */
int sl_gguf_open_heads(struct sl_gguf **ret_gguf, struct sl_mapping *map,
                       const struct sl_gguf_head *heads, uint32_t n_heads,
                       struct sl_diag *diag);

/* Say where tensor i is. data: all of its bytes, must stay as long as the model. file_off
 * in the mapping, or UINT64_MAX. */
void sl_gguf_set_data(struct sl_gguf *gguf, uint32_t i, const uint8_t *data,
                      uint64_t file_off);

/* Bytes of the header of one split, as far as the end of the list of tensors. */
uint64_t sl_gguf_head_bytes(const struct sl_gguf *gguf, uint32_t split);

uint32_t sl_gguf_n_splits(const struct sl_gguf *gguf);
struct sl_mapping *sl_gguf_mapping(const struct sl_gguf *gguf, uint32_t split); /* borrowed */
uint32_t sl_gguf_version(const struct sl_gguf *gguf);

uint32_t sl_gguf_n_kv(const struct sl_gguf *gguf);
const struct sl_gguf_kv *sl_gguf_kv_at(const struct sl_gguf *gguf, uint32_t i);
const struct sl_gguf_kv *sl_gguf_kv_find(const struct sl_gguf *gguf, const char *key);

uint32_t sl_gguf_n_tensors(const struct sl_gguf *gguf);
const struct sl_gguf_tensor *sl_gguf_tensor_at(const struct sl_gguf *gguf, uint32_t i);
const struct sl_gguf_tensor *sl_gguf_tensor_find(const struct sl_gguf *gguf, const char *name);

/*
 * Values by item i (0 for scalars), converted where that loses nothing: any integer
 * type or bool to u64 (negative: false), any number to f64. False when absent (kv
 * NULL), of another type, or out of range.
 */
bool sl_gguf_kv_u64(const struct sl_gguf_kv *kv, uint64_t i, uint64_t *ret_value);
bool sl_gguf_kv_f64(const struct sl_gguf_kv *kv, uint64_t i, double *ret_value);

/* String item; for arrays i must ascend from call to call for speed: each call walks
 * from *cursor, a byte offset that starts at 0 and is moved on. */
bool sl_gguf_kv_str(const struct sl_gguf_kv *kv, uint64_t *cursor, struct sl_gguf_str *ret_str);

const char *sl_gguf_type_name(enum sl_gguf_type type);
