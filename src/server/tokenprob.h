/* Log-probabilities of tokens, from all logits as the model gave them. Pure; any thread. */
#pragma once

#include <stdint.h>

struct sl_tokenprob {
    int32_t token;
    float logprob;
};

/*
 * Of the token chosen, and of the n_top likeliest, most likely first, equal ones by id (their
 * number is returned; it is n_top unless the vocabulary is smaller). A logit that is no
 * number counts as minus infinity; chosen is in the vocabulary.
 */
uint32_t sl_tokenprob_get(const float *logits, uint32_t n_vocab, int32_t chosen, uint32_t n_top,
                          float *ret_chosen, struct sl_tokenprob *ret_top);
