/*
 * The tokens of a reply, or of the next piece of a stream, as the APIs tell them: ids, and
 * log-probabilities with alternatives. For the writers; one thread at a time per list.
 */
#pragma once

#include <stdint.h>

#include "base/jsonwriter.h"
#include "base/strbuf.h"
#include "server/genevent.h"

struct sl_apitoken {
    int32_t id;
    float logprob;
    size_t piece_off, piece_len; /* in pieces */
    uint32_t n_top;              /* of a chosen token: that many follow it */
};

/* All zeroes: none. */
struct sl_apitokens {
    struct sl_apitoken *list; /* each chosen token, its alternatives behind it */
    uint32_t n, cap;
    struct sl_strbuf pieces;
};

void sl_apitokens_done(struct sl_apitokens *t);
void sl_apitokens_clear(struct sl_apitokens *t);

/* Copy what a TOKEN event tells. 0 or -ENOMEM. */
int sl_apitokens_add(struct sl_apitokens *t, const struct sl_genevent *event);

enum {
    SL_APITOKENS_IDS = 1,     /* an alternative or token begins with its id */
    SL_APITOKENS_NO_TOP = 2,  /* leave top_logprobs out where there are none */
};

/* An array of ids; an array of {"id", "token", "bytes", "logprob", "top_logprobs"}, from the
 * entry first on: 0, or what n was before tokens were added. */
void sl_apitokens_write_ids(const struct sl_apitokens *t, struct sl_jsonwriter *w);
void sl_apitokens_write_probs(const struct sl_apitokens *t, uint32_t first, uint32_t flags,
                              struct sl_jsonwriter *w);
