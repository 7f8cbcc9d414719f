/* LM Studio's models: <home>/models/PUBLISHER/REPO/FILE.gguf. */
#pragma once

#include "store/store.h"

/* List a folder of models laid out so. The error of sl_store_add_place, or 0; -ENOMEM. */
int sl_lmstudio_list(struct sl_store *store, const char *root);

/*
 * The folder of models, as its settings have it, for the user whose home folder is home and
 * whose settings are in config (~/.config): heap; NULL: no memory. It need not be there.
 */
char *sl_lmstudio_root(const char *home, const char *config);
