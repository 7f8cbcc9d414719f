/*
 * A model's text side, on a thread of its own: a model opened with SLUICE_MODEL_TEXT, apart
 * from the one that computes, and what of its vocabulary the server asks for all the time.
 * One thread at a time.
 */
#pragma once

#include <stdint.h>

#include "server/api.h"
#include "server/grammarcache.h"

struct sl_textmodel {
    struct sl_apitext fn; /* with this struct as arg: it must not move */
    struct sluice_model *model; /* borrowed */
    uint32_t n_vocab;
    int32_t *eog; /* tokens that end a turn; owned */
    uint32_t n_eog;
    int32_t message_begin; /* the token for <|im_start|>; -1: no single one */
    struct sl_grammarcache *grammars; /* owned */
};

/* 0 or -ENOMEM; to be given to sl_textmodel_done either way. */
int sl_textmodel_init(struct sl_textmodel *text, struct sluice_model *model);
void sl_textmodel_done(struct sl_textmodel *text); /* all zeroes is allowed */

/* Tokens of len bytes, with flags as sluice_tokenize, to heap memory that the caller frees.
 * Their number, or -ENOMEM, -E2BIG. */
int64_t sl_textmodel_tokenize(const struct sl_textmodel *text, const char *bytes, size_t len,
                              uint32_t flags, int32_t **ret_ids);
