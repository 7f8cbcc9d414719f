/* The models on this machine: src/store with what the environment says. */
#pragma once

#include "store/store.h"

/* List all of them. 0, or an exit code, and the failure was reported; sl_store_done is due in
 * any case. */
int sl_storeenv_list(struct sl_store *store);

/* What to do about a place that is there and cannot be read, or NULL. */
const char *sl_storeenv_advice(const struct sl_store_place *place);

/* Where downloads go, sl_allstores_hub_root of this environment: heap, or NULL. */
char *sl_storeenv_hub_root(void);
