/* Random weights and activations for the kernel checks, with the extremes in. */
#pragma once

#include "checkkern.h"
#include "tensor/tensor.h"

/* How the bytes of weights are chosen. Scales in half floats are always finite. */
enum ck_weights {
    CK_WEIGHTS_RANDOM = 0,
    CK_WEIGHTS_ZEROS, /* every byte 0x00, scales too */
    CK_WEIGHTS_ONES,  /* every byte 0xff but the half floats: largest quants and scales */
    CK_WEIGHTS_LOW,   /* every byte 0x80: -128 where bytes are signed */
    CK_WEIGHTS_HIGH,  /* every byte 0x7f */
    CK_WEIGHTS_N,
};

enum ck_acts {
    CK_ACTS_RANDOM = 0,
    CK_ACTS_ZEROS,
    CK_ACTS_MAX,   /* all 127 */
    CK_ACTS_MIN,   /* all -127 */
    CK_ACTS_SIGNS, /* 127 and -127 at random */
    CK_ACTS_N,
};

void ck_fill_weights(struct ck *ck, void *w, enum sl_dtype dtype, size_t n_blocks,
                     enum ck_weights kind);

/* No min of this block is larger than this; 0 for types without. */
float ck_largest_min(enum sl_dtype dtype, const void *block);

/* Activations of quantised kind in guarded memory: each array ends at a page that
 * cannot be read, as near as its alignment to 64 allows. */
struct sl_act ck_make_act(struct ck *ck, enum sl_act_kind kind, uint32_t n_tok,
                          uint32_t n_cols, enum ck_acts what);
