/*
 * Where each expert is and how often it was chosen of late, for onlookers. Written by the
 * cache's leader as things happen, read by any thread at any time: each entry is an atomic
 * of its own, so looking holds nobody up, and two entries may be of slightly different
 * moments. Nothing here decides anything.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum sl_residency_state {
    SL_RESIDENCY_DISK = 0,
    SL_RESIDENCY_MEMORY,
    SL_RESIDENCY_PINNED,  /* in memory, and the step at hand uses it */
    SL_RESIDENCY_READING, /* the step at hand waits for it */
    SL_RESIDENCY_AHEAD,   /* being read on a guess, or to fill the cache */
};

/* After so many tokens a choice counts half. */
#define SL_RESIDENCY_HALF_TOK 64u

struct sl_residency {
    /* set once */
    uint32_t n_layers, n_experts; /* most experts of a layer */
    /* atomic; written by the leader alone, relaxed: no entry says anything of another */
    _Atomic uint8_t *states;  /* [n_layers][n_experts] enum sl_residency_state */
    _Atomic uint64_t *shares; /* [n_layers][n_experts] share of tokens (float), and when */
    _Atomic uint32_t *n_tok;  /* [n_layers] tokens that reached the layer; may wrap */
};

/* All on disk, never chosen. Returns 0 or -ENOMEM. */
int sl_residency_init(struct sl_residency *residency, uint32_t n_layers, uint32_t n_experts);
void sl_residency_done(struct sl_residency *residency); /* all zeroes are allowed */

/* Leader only. */
void sl_residency_set(struct sl_residency *residency, uint32_t layer, uint32_t expert,
                      enum sl_residency_state state);

/* A step of n_tok tokens, at least 1, chose n experts of a layer; counts[i] of its tokens
 * the i-th. Leader only. */
void sl_residency_note(struct sl_residency *residency, uint32_t layer, const uint32_t *experts,
                       const uint32_t *counts, uint32_t n, uint32_t n_tok);

/* Any thread. The share of the layer's recent tokens that chose the expert, 0..1. */
enum sl_residency_state sl_residency_state(const struct sl_residency *residency, uint32_t layer,
                                           uint32_t expert);
float sl_residency_share(const struct sl_residency *residency, uint32_t layer, uint32_t expert);
