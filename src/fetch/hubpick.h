/*
 * Which of a repo's files are models, and which of them a tag means: a GGUF file, or the parts
 * of a split one. Pure functions over a listing. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/hublist.h"

#define SL_HUBPICK_DEFAULT "Q4_K_M" /* as llama.cpp and Ollama have it */
#define SL_HUBPICK_TYPE_BYTES 24

struct sl_hubmodel {
    const struct sl_hubfile *first;   /* the file, or the first part; borrowed from the listing */
    uint32_t n_parts;                 /* 1 if it is not split */
    uint32_t n_there;                 /* parts that the repo has */
    uint64_t bytes;                   /* of all these */
    char type[SL_HUBPICK_TYPE_BYTES]; /* of weights, by its name; "" if that says none */
};

struct sl_hubpick {
    struct sl_hubmodel *models; /* in order of their names; owned */
    size_t n_models;
    size_t chosen; /* by sl_hubpick_choose */
};

/* All models of a listing, which must stay. 0 or -ENOMEM; sl_hubpick_done is due after 0. */
int sl_hubpick_find(struct sl_hubpick *ret, const struct sl_hublist *list);
void sl_hubpick_done(struct sl_hubpick *pick);

/*
 * Which one a tag means: a file's path or name, with its ending or without, or the type of
 * weights at its end; "": the only one there is, or the one of SL_HUBPICK_DEFAULT. 0 and
 * chosen; -ENOENT: none; -ENOTUNIQ: several.
 */
int sl_hubpick_choose(struct sl_hubpick *pick, const char *tag);

/* Part i (0-based) of a model, or NULL: the repo lacks it. */
const struct sl_hubfile *sl_hubpick_part(const struct sl_hublist *list,
                                         const struct sl_hubmodel *model, uint32_t i);
