/*
 * File types ("q4_k_m") and the type that each tensor has in a file of that type.
 * Pure. Any thread.
 */
#pragma once

#include <stdint.h>

#include "tensor/dtype.h"
#include "tools/mk_shape.h"

struct mk_ftype {
    const char *name;
    uint32_t number; /* general.file_type */
    enum sl_dtype base;
};

enum mk_role {
    MK_ROLE_OTHER = 0, /* a matrix like most */
    MK_ROLE_EMBED,     /* also the output matrix */
    MK_ROLE_ATTN_K,
    MK_ROLE_ATTN_V,
    MK_ROLE_ATTN_QKV,
    MK_ROLE_ATTN_OUT,
    MK_ROLE_FFN_DOWN,
};

/* By name, in either case, or NULL. */
const struct mk_ftype *mk_types_find(const char *name);

/* All names, separated by ", ". */
const char *mk_types_names(void);

/*
 * Type of a matrix with rows of n_cols elements. layer: its layer, 0 for the
 * embedding. Rows that are no whole number of blocks get a type with smaller ones.
 */
enum sl_dtype mk_types_choose(const struct mk_ftype *ftype, const struct mk_shape *shape,
                              enum mk_role role, uint32_t layer, uint64_t n_cols);
