/* Random blocks of any weight type, and random activations. Pure. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

/* The next of a row of random numbers; *state is its seed at first. */
uint64_t bn_weights_random(uint64_t *state);

/* n floats from -1 to 1, even. */
void bn_weights_floats(float *out, size_t n, uint64_t *state);

/* n_blocks blocks: any bits, but scales (and floats) of the size that trained weights
 * have, finite and not zero. */
void bn_weights_fill(void *out, enum sl_dtype dtype, size_t n_blocks, uint64_t *state);
