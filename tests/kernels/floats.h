/*
 * Floats for checkkern's cases: inputs of several kinds, and outputs that are compared
 * with what lies in front of them. Which NaN an operation gives is not defined
 * (operands may be swapped), so all NaNs count as equal.
 */
#pragma once

#include "checkkern.h"

enum ck_floats {
    CK_FLOATS_NORMAL,
    CK_FLOATS_WIDE,    /* any exponent, finite */
    CK_FLOATS_SPECIAL, /* mixed with zeros, subnormals, infinities and NaNs */
    CK_FLOATS_N,
};

void ck_fill_floats(struct ck *ck, float *x, size_t n, enum ck_floats kind);

/* n floats that end at a guard page, or start at any multiple of 4 behind one. */
float *ck_make_floats(struct ck *ck, size_t n, enum ck_floats kind);

/* Sixteen bits at an even address, likewise: kind as the floats they stand for. */
uint16_t *ck_make_halves(struct ck *ck, size_t n, enum ck_floats kind, bool is_bf16);

/* The same output twice; each has poison in front and a guard page behind. */
struct ck_out {
    float *want, *got;
    size_t n;
};

struct ck_out ck_make_out(struct ck *ck, size_t n);

/* Both outputs hold these n floats: for operations that work in place. */
void ck_out_set(struct ck_out *o, const float *x);

/* Compare outputs and the poison, then poison `got` again. Counts the call. */
void ck_out_equal(struct ck *ck, struct ck_out *o);
