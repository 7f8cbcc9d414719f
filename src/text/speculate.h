/*
 * Lossless speculation for one sequence: the next tokens are guessed (lookup.h), computed in
 * one step together with the token just drawn, and kept as far as the sampler draws the very
 * same. Every token is drawn from the logits that plain decoding would give, in the same
 * order, so the text is the same for any sampler, penalties and grammar. How much is guessed,
 * and whether, is decided by what it has brought so far (draftlen.h).
 *
 * This keeps the books; the caller samples and computes:
 *
 *     row = 0, after computing the prompt
 *     for each token:
 *         id = sample(logits[row]); leave if the text ends with it
 *         if (!sl_speculate_draw(s, id, &row)) {
 *             n = sl_speculate_plan(s, room, &tokens, &n_wrong);
 *             rewind the sequence by n_wrong tokens, compute n tokens with n rows of logits
 *             sl_speculate_computed(s, ...);
 *             row = 0;
 *         }
 *     rewind by sl_speculate_end(s) tokens
 *
 * Nothing is allocated after sl_speculate_new. One thread at a time per object.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/draftlen.h"

#define SL_SPECULATE_DRAFT_MAX SL_DRAFTLEN_MAX
#define SL_SPECULATE_ROWS_MAX (SL_SPECULATE_DRAFT_MAX + 1) /* of logits in one step */

struct sl_speculate_opts {
    uint32_t n_window; /* tokens looked back at, as sl_lookup_new takes them */
    /* Drafts of always this many tokens, where there is a guess: 1 to SL_SPECULATE_DRAFT_MAX.
     * 0: as many as pay. */
    uint32_t n_fixed;
    /* For measuring and tests, in place of looking back; NULL: look back. Writes up to n
     * guesses and how many tokens agreed before them, and returns their number. */
    uint32_t (*guess)(void *arg, uint32_t n, int32_t *ids, uint32_t *ret_match);
    void *guess_arg;
};

/* Since sl_speculate_new. */
struct sl_speculate_stats {
    uint64_t n_steps, n_drafts;     /* steps; of these, with a draft */
    uint64_t n_drafted, n_accepted; /* tokens; each one accepted is a step saved */
    uint64_t n_unpaid, n_unread;    /* steps without one: it would not pay; too many experts
                                       would have to be read */
    double saved; /* time that drafts saved, net, in steps of one token */
};

struct sl_speculate;

/* -EINVAL (n_fixed), -ENOMEM. */
int sl_speculate_new(struct sl_speculate **ret_speculate, const struct sl_speculate_opts *opts);
void sl_speculate_free(struct sl_speculate *s);

/* A text begins with these tokens, which have been computed. What was learned of times and
 * guesses is kept. */
void sl_speculate_begin(struct sl_speculate *s, const int32_t *ids, size_t n);

/* The text's next token. Whether it was in the draft: then ret_row is the row of the last
 * step's logits that belongs to what follows it; else the caller plans a step. */
bool sl_speculate_draw(struct sl_speculate *s, int32_t id, uint32_t *ret_row);

/*
 * The next step: the token drawn last, and a draft of at most n_draft_max tokens (which the
 * context, the length wanted and the rows of logits bound). Returns the number of tokens, at
 * least 1; ret_tokens is valid until the next call; ret_n_wrong is how many tokens at the
 * sequence's end did not come true and must be forgotten before.
 */
uint32_t sl_speculate_plan(struct sl_speculate *s, uint32_t n_draft_max,
                           const int32_t **ret_tokens, uint32_t *ret_n_wrong);

/* The step was computed, rewinding included, in ns; it asked the expert cache for n_requests
 * experts, n_hits of which were in memory (0 and 0 without one). */
void sl_speculate_computed(struct sl_speculate *s, uint64_t ns, uint64_t n_requests,
                           uint64_t n_hits);

/* The text ends with a token that was not handed to sl_speculate_draw. Returns how many tokens
 * at the sequence's end must be forgotten so that it stands before that one, as after plain
 * decoding. */
uint32_t sl_speculate_end(struct sl_speculate *s);

void sl_speculate_get_stats(const struct sl_speculate *s, struct sl_speculate_stats *ret_stats);

/* What was learned. Borrowed. */
const struct sl_draftlen *sl_speculate_draftlen(const struct sl_speculate *s);
