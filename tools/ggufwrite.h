/*
 * Writing GGUF files, single or split: metadata first, then tensor infos, then the
 * tensors' bytes in any order and from any thread. Files are written beside their
 * place under a temporary name and renamed when all is there. Called by the tools.
 * One thread at a time, sl_ggufwrite_put apart.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loader/gguf.h"
#include "tensor/dtype.h"

struct sl_ggufwrite;

struct sl_ggufwrite_opts {
    uint32_t version;   /* 2 or 3 */
    uint32_t alignment; /* of tensor data, a power of two, at least 8; 32 is not stored */
    uint32_t n_splits;  /* 1: path itself; more: NAME-00001-of-0000N.gguf */
};

/* path is copied. Returns 0, -ENOMEM, -EINVAL. */
int sl_ggufwrite_new(struct sl_ggufwrite **ret_w, const char *path,
                     const struct sl_ggufwrite_opts *opts);

/* Frees, and removes what was written unless finished. NULL is allowed. */
void sl_ggufwrite_free(struct sl_ggufwrite *w);

/*
 * Add a key. Want of memory is remembered and reported by sl_ggufwrite_begin. An
 * array is followed by exactly n_items calls of the item function of its type.
 */
void sl_ggufwrite_u16(struct sl_ggufwrite *w, const char *key, uint16_t value);
void sl_ggufwrite_u32(struct sl_ggufwrite *w, const char *key, uint32_t value);
void sl_ggufwrite_i32(struct sl_ggufwrite *w, const char *key, int32_t value);
void sl_ggufwrite_f32(struct sl_ggufwrite *w, const char *key, float value);
void sl_ggufwrite_bool(struct sl_ggufwrite *w, const char *key, bool value);
void sl_ggufwrite_str(struct sl_ggufwrite *w, const char *key, const char *value);
void sl_ggufwrite_array(struct sl_ggufwrite *w, const char *key, enum sl_gguf_type item,
                        uint64_t n_items);
void sl_ggufwrite_item_u32(struct sl_ggufwrite *w, uint32_t value); /* U32 and I32 */
void sl_ggufwrite_item_str(struct sl_ggufwrite *w, const char *text, size_t len);

/* Leave a key out that is added later, whatever its value (for files that lack it). */
void sl_ggufwrite_omit(struct sl_ggufwrite *w, const char *key);

/* Add a tensor, ne fastest first, of a supported type. Returns its index, -ENOMEM,
 * -E2BIG or -EINVAL. */
int sl_ggufwrite_tensor(struct sl_ggufwrite *w, const char *name, uint32_t n_dims,
                        const uint64_t *ne, enum sl_dtype dtype);

/* Bytes of all tensors so far, without padding. */
uint64_t sl_ggufwrite_data_bytes(const struct sl_ggufwrite *w);

/*
 * Lay the files out, see that the disk has room for them, create them and write
 * their headers. -ENOSPC says how much is needed and how much there is.
 */
int sl_ggufwrite_begin(struct sl_ggufwrite *w, struct sl_diag *diag);

/* Write bytes of a tensor from its byte off on. Any thread. 0 or -EIO, -ENOSPC ... */
int sl_ggufwrite_put(struct sl_ggufwrite *w, uint32_t tensor, uint64_t off,
                     const void *data, size_t bytes);

/* All tensors are written: flush to disk and rename into place. */
int sl_ggufwrite_finish(struct sl_ggufwrite *w, struct sl_diag *diag);
