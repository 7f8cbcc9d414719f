/*
 * Which model of a list a text means. Spellings, best first:
 *
 *   user/repo, user/repo:TYPE, user/repo:FILE, user/repo@revision:TYPE    Hugging Face
 *   model, model:tag, namespace/model:tag, host/namespace/model:tag       Ollama
 *   publisher/repo, publisher/repo:TYPE, publisher/repo:FILE              LM Studio
 *   a file's name, with its ending or without, or the end of its path     any of them
 *
 * hf.co/ and huggingface.co/ may stand before the first. Case counts only where it tells two
 * apart. Of several that fit, those that can be run come first; copies of one file are one.
 */
#pragma once

#include "store/store.h"

#define SL_FIND_NEAR_MAX 5u

struct sl_find { /* borrowed from the list */
    struct sl_store_model **models;
    size_t n;
};

/*
 * After sl_store_finish. 0: it is ret->models[0], which need not be usable; -ENOTUNIQ: any of
 * ret->models; -ENOENT: none, and ret->models are up to SL_FIND_NEAR_MAX with names alike;
 * -ENOMEM. Models that are told are inspected. sl_find_done is due in any case.
 */
int sl_find_model(struct sl_store *store, const char *text, struct sl_find *ret);
void sl_find_done(struct sl_find *find);
