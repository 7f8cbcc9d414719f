/*
 * Timed runs of prompts and of decoding, as llama-bench makes them: random ids of the
 * vocabulary (BOS first, if the model wants one), logits of the last token of each call,
 * no sampling and no text in the time. One sequence, on top of as many tokens as the
 * depth says. The same ids in every run of the program. Main thread.
 */
#pragma once

#include <stdint.h>

#include "cli/opened.h"

struct sl_benchrun { /* all zeroes: not begun */
    struct sluice_session *session; /* borrowed */
    int32_t *ids;                   /* owned, [n_batch] */
    uint32_t n_batch;               /* prompt tokens for each call */
    uint32_t n_vocab;
    int32_t bos; /* -1: the model wants none */
    int seq;     /* -1: none */
    uint64_t random;
};

/* opened, which is borrowed, has a session with n_seq_max and n_logits 1. -ENOMEM. */
int sl_benchrun_init(struct sl_benchrun *run, const struct sl_opened *opened, uint32_t n_batch);
void sl_benchrun_done(struct sl_benchrun *run);

/* Keep the first depth tokens of the sequence, or compute what lacks. Not timed. The
 * errors of sluice_decode. */
int sl_benchrun_set_depth(struct sl_benchrun *run, uint32_t depth);

/* Compute n_prompt tokens in calls of n_batch, then n_gen one by one; ret_ns is the time. */
int sl_benchrun_pass(struct sl_benchrun *run, uint32_t n_prompt, uint32_t n_gen, uint64_t *ret_ns);

/* How llama.cpp names a model's kind: "lfm2moe 24B.A2B Q4_K - Medium"; "?B" for sizes it does
 * not know, "(guessed)" by the last layer's matrices where the file does not say its type. */
#define SL_BENCHRUN_TYPE_BYTES 96
void sl_benchrun_model_type(char *ret_text, const struct sluice_model *model);

/* Elements of all tensors. */
uint64_t sl_benchrun_n_params(const struct sluice_model *model);
