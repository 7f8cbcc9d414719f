/*
 * How long the next layer of a prefill will take, as far as past ones tell: for ending a piece
 * in time. Layers of a kind take about as long as each other. Pure; one thread at a time.
 */
#pragma once

#include <stdint.h>

#define SL_LAYERPACE_KINDS 5u
#define SL_LAYERPACE_UNKNOWN UINT64_MAX

/* All zeroes: nothing is known. */
struct sl_layerpace {
    uint64_t longest_ns[SL_LAYERPACE_KINDS]; /* of this prefill's layers; 0: none yet */
    uint64_t past_ns[SL_LAYERPACE_KINDS];    /* of those before, for as many rows; 0: none */
    uint32_t n_rows;
};

/* A prefill of so many rows, at least one, begins. */
void sl_layerpace_begin(struct sl_layerpace *pace, uint32_t n_rows);

/* A layer of it took so long. */
void sl_layerpace_add(struct sl_layerpace *pace, uint32_t kind, uint64_t ns);

/* What a layer of this kind will take, or UNKNOWN. */
uint64_t sl_layerpace_guess(const struct sl_layerpace *pace, uint32_t kind);
