/*
 * Ollama's models: names are manifests, files of JSON under manifests/HOST/NAMESPACE/MODEL/TAG
 * (newer versions: manifests-v2, where they link to blobs); weights are blobs/sha256-HEX.
 */
#pragma once

#include "store/store.h"

#define SL_OLLAMA_HOST "registry.ollama.ai" /* what a name without a host means */
#define SL_OLLAMA_NAMESPACE "library"
#define SL_OLLAMA_TAG "latest"

/* List what lies in a folder that has manifests and blobs in it. The error of
 * sl_store_add_place, or 0; -ENOMEM. */
int sl_ollama_list(struct sl_store *store, const char *root);

/* What a host is called in the list: Ollama's has two names, Hugging Face's too. */
const char *sl_ollama_host(const char *host, size_t len);
