/*
 * Where each program looks:
 *   Hugging Face's tools: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub,
 *     XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub, the first that is set
 *   llama.cpp: LLAMA_CACHE before these; older versions kept files in LLAMA_CACHE itself, or
 *     in XDG_CACHE_HOME/llama.cpp
 *   Ollama: OLLAMA_MODELS or ~/.ollama/models; as a service, in its own user's home
 *   LM Studio: lmstudio.h
 *   ours: SLUICE_MODELS, or XDG_DATA_HOME/sluice/models
 */
#include "store/allstores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/folder.h"
#include "store/hfcache.h"
#include "store/lmstudio.h"
#include "store/ollama.h"

typedef int (*list_fn)(struct sl_store *store, const char *root);

static bool is_set(const char *value)
{
    return value && value[0];
}

/* List base/below, if there is a base; "": base itself. */
static int list(struct sl_store *store, list_fn fn, const char *base, const char *below)
{
    char *path = NULL;
    int r;

    if (!is_set(base))
        return 0;
    if (asprintf(&path, "%s%s%s", base, below[0] ? "/" : "", below) < 0)
        return -ENOMEM;
    r = fn(store, path);
    free(path);
    return r == -ENOMEM ? r : 0;
}

/* The first of the folders that Hugging Face's tools keep their cache in; false: none is set. */
static bool find_hub(const struct sl_allstores_env *env, const char **ret_base,
                     const char **ret_below)
{
    const char *const places[][2] = {
        {env->hf_hub_cache, ""},
        {env->huggingface_hub_cache, ""},
        {env->hf_home, "hub"},
        {env->xdg_cache_home, "huggingface/hub"},
        {env->home, ".cache/huggingface/hub"},
    };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (is_set(places[i][0])) {
            *ret_base = places[i][0];
            *ret_below = places[i][1];
            return true;
        }
    return false;
}

static int list_hf(struct sl_store *store, const struct sl_allstores_env *env)
{
    const char *base, *below;
    int r = list(store, sl_hfcache_list, env->llama_cache, "");

    if (r < 0 || !find_hub(env, &base, &below))
        return r;
    return list(store, sl_hfcache_list, base, below);
}

char *sl_allstores_hub_root(const struct sl_allstores_env *env)
{
    const char *base = env->llama_cache, *below = "";
    char *path = NULL;

    if (!is_set(base) && !find_hub(env, &base, &below))
        return NULL;
    return asprintf(&path, "%s%s%s", base, below[0] ? "/" : "", below) < 0 ? NULL : path;
}

/* Whether it is known already that nothing below path's folders can be seen. */
static bool is_closed(const struct sl_store *store, const char *path)
{
    for (size_t i = 0; i < store->n_places; i++) {
        const struct sl_store_place *p = &store->places[i];
        size_t len = strlen(p->path);

        if (p->access == SL_STORE_DENIED && !strncmp(p->path, path, len) && path[len] == '/')
            return true;
    }
    return false;
}

static int list_ollama(struct sl_store *store, const struct sl_allstores_env *env)
{
    int r = is_set(env->ollama_models) ? list(store, sl_ollama_list, env->ollama_models, "")
                                       : list(store, sl_ollama_list, env->home, ".ollama/models");

    for (size_t i = 0; r == 0 && env->ollama_services && env->ollama_services[i]; i++)
        if (!is_closed(store, env->ollama_services[i]))
            r = list(store, sl_ollama_list, env->ollama_services[i], "");
    return r;
}

static int list_lmstudio(struct sl_store *store, const struct sl_allstores_env *env)
{
    char *config = NULL, *root;
    int r;

    if (!is_set(env->home))
        return 0;
    if (!is_set(env->xdg_config_home) && asprintf(&config, "%s/.config", env->home) < 0)
        return -ENOMEM;
    root = sl_lmstudio_root(env->home, config ? config : env->xdg_config_home);
    r = root ? list(store, sl_lmstudio_list, root, "") : -ENOMEM;
    free(config);
    free(root);
    return r;
}

static int list_folders(struct sl_store *store, const char *folders)
{
    char *copy = strdup(folders), *rest = copy, *folder;
    int r = copy ? 0 : -ENOMEM;

    while (r == 0 && (folder = strsep(&rest, ":")))
        r = list(store, sl_folder_list, folder, "");
    free(copy);
    return r;
}

static int list_ours(struct sl_store *store, const struct sl_allstores_env *env)
{
    int r;

    if (is_set(env->sluice_models))
        r = list_folders(store, env->sluice_models);
    else if (is_set(env->xdg_data_home))
        r = list(store, sl_folder_list, env->xdg_data_home, "sluice/models");
    else
        r = list(store, sl_folder_list, env->home, ".local/share/sluice/models");
    if (r == 0)
        r = list(store, sl_folder_list, env->llama_cache, "");
    if (r == 0 && !is_set(env->llama_cache))
        r = is_set(env->xdg_cache_home)
                ? list(store, sl_folder_list, env->xdg_cache_home, "llama.cpp")
                : list(store, sl_folder_list, env->home, ".cache/llama.cpp");
    return r;
}

int sl_allstores_list(struct sl_store *store, const struct sl_allstores_env *env)
{
    int r = list_hf(store, env);

    if (r == 0)
        r = list_ollama(store, env);
    if (r == 0)
        r = list_lmstudio(store, env);
    if (r == 0)
        r = list_ours(store, env);
    sl_store_finish(store);
    return r == 0 ? store->error : r;
}
