/*
 * The cache of Hugging Face's tools, and of llama.cpp: models--USER--REPO/ with refs (names
 * of commits), snapshots/COMMIT/FILE (links to blobs, or files) and blobs.
 * Layout: https://huggingface.co/docs/hub/local-cache
 */
#pragma once

#include "store/store.h"

/* List the models of all repos in a cache. The error of sl_store_add_place, or 0; -ENOMEM. */
int sl_hfcache_list(struct sl_store *store, const char *root);
