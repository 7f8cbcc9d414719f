/* The environment is read here, since libraries may not. */
#include "cli/storeenv.h"

#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "store/allstores.h"

/* Homes of Ollama's own user: its installer's, and those of distributions' packages. */
static const char *const ollama_services[] = {
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama",
    "/var/lib/ollama/models",
    "/var/lib/ollama/.ollama/models",
    NULL,
};

static struct sl_allstores_env read_env(void)
{
    return (struct sl_allstores_env){
        .home = getenv("HOME"),
        .xdg_cache_home = getenv("XDG_CACHE_HOME"),
        .xdg_config_home = getenv("XDG_CONFIG_HOME"),
        .xdg_data_home = getenv("XDG_DATA_HOME"),
        .hf_home = getenv("HF_HOME"),
        .hf_hub_cache = getenv("HF_HUB_CACHE"),
        .huggingface_hub_cache = getenv("HUGGINGFACE_HUB_CACHE"),
        .llama_cache = getenv("LLAMA_CACHE"),
        .ollama_models = getenv("OLLAMA_MODELS"),
        .sluice_models = getenv("SLUICE_MODELS"),
        .ollama_services = ollama_services,
    };
}

int sl_storeenv_list(struct sl_store *store)
{
    const struct sl_allstores_env env = read_env();

    if (sl_allstores_list(store, &env) < 0)
        return sl_report_error("not enough memory for the list of models");
    return 0;
}

char *sl_storeenv_hub_root(void)
{
    const struct sl_allstores_env env = read_env();

    return sl_allstores_hub_root(&env);
}

const char *sl_storeenv_advice(const struct sl_store_place *place)
{
    if (place->access != SL_STORE_DENIED)
        return NULL;
    for (size_t i = 0; ollama_services[i]; i++)
        if (!strcmp(place->path, ollama_services[i]))
            return "sudo usermod -a -G ollama \"$USER\", then log in anew";
    return NULL;
}
