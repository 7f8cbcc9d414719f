/* All places where models may lie, from what the environment says. */
#pragma once

#include "store/store.h"

/* Values of the environment, NULL where it has none; borrowed. Empty ones are as good as
 * none. */
struct sl_allstores_env {
    const char *home; /* the user's */
    const char *xdg_cache_home, *xdg_config_home, *xdg_data_home;
    const char *hf_home, *hf_hub_cache, *huggingface_hub_cache, *llama_cache;
    const char *ollama_models;
    const char *sluice_models;          /* folders, with ':' between them */
    const char *const *ollama_services; /* folders of Ollama as a service, those
                                         * around others first; ends in NULL */
};

/* List everything and finish the list. What cannot be read is said by its place; 0 or
 * -ENOMEM. */
int sl_allstores_list(struct sl_store *store, const struct sl_allstores_env *env);

/* Where what is downloaded goes: LLAMA_CACHE, as llama.cpp has it, else the cache of Hugging
 * Face's tools. Heap; NULL: nothing is set, or no memory. */
char *sl_allstores_hub_root(const struct sl_allstores_env *env);
