/*
 * What the file of a listed model holds: architecture and type of weights, from its header
 * alone, and whether the file is whole. Opens files, so it takes longer than listing: a few
 * microseconds for a model that is not ours, some more for one that is. One thread per model.
 */
#pragma once

#include "store/store.h"

/* Fill in the fields of m that are said to be by it, and set its state and note if the file
 * is not what it should be. A model without a file, or looked into before, stays as it is. */
void sl_inspect_model(struct sl_store_model *m);

/* All of a list. */
void sl_inspect_all(struct sl_store *store);

/* Whether m can be run, as far as is known: it is of the family, whole and readable. */
bool sl_inspect_is_usable(const struct sl_store_model *m);
