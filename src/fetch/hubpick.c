#include "fetch/hubpick.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/modelfile.h"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_gguf(const char *name)
{
    size_t len = strlen(name);

    return sl_modelfile_parse(name).kind == SL_MODELFILE_MODEL && len > 5 &&
           !strcasecmp(name + len - 5, ".gguf");
}

const struct sl_hubfile *sl_hubpick_part(const struct sl_hublist *list,
                                         const struct sl_hubmodel *model, uint32_t i)
{
    const char *path = model->first->path, *name = base_name(path);
    struct sl_modelfile_name parsed = sl_modelfile_parse(name);
    const struct sl_hubfile *found;
    char *part = NULL;

    if (model->n_parts == 1)
        return i == 0 ? model->first : NULL;
    if (asprintf(&part, "%.*s-%05u-of-%05u.gguf", (int)(name - path + (ptrdiff_t)parsed.stem_len),
                 path, i + 1, model->n_parts) < 0)
        return NULL;
    found = sl_hublist_find(list, part);
    free(part);
    return found;
}

static void measure(struct sl_hubmodel *model, const struct sl_hublist *list)
{
    const char *name = base_name(model->first->path);
    struct sl_modelfile_name parsed = sl_modelfile_parse(name);
    size_t type = sl_modelfile_find_type(name, parsed.stem_len);

    (void)snprintf(model->type, sizeof(model->type), "%.*s", (int)(parsed.stem_len - type),
                   name + type); /* cut is fine */
    for (uint32_t i = 0; i < model->n_parts; i++) {
        const struct sl_hubfile *part = sl_hubpick_part(list, model, i);

        model->n_there += part != NULL;
        model->bytes += part ? part->bytes : 0;
    }
}

int sl_hubpick_find(struct sl_hubpick *ret, const struct sl_hublist *list)
{
    *ret = (struct sl_hubpick){.models = calloc(list->n_files + 1, sizeof(*ret->models))};
    if (!ret->models)
        return -ENOMEM;
    for (size_t i = 0; i < list->n_files; i++) {
        const char *name = base_name(list->files[i].path);
        struct sl_modelfile_name parsed = sl_modelfile_parse(name);
        struct sl_hubmodel model = {.first = &list->files[i], .n_parts = parsed.n_parts};

        if (!is_gguf(name) || parsed.part != 1)
            continue;
        measure(&model, list);
        ret->models[ret->n_models++] = model;
    }
    return 0;
}

void sl_hubpick_done(struct sl_hubpick *pick)
{
    free(pick->models);
    *pick = (struct sl_hubpick){.n_models = 0};
}

/* Images' encoders lie beside models and are none. */
static bool is_beside(const struct sl_hubmodel *model)
{
    return !strncasecmp(base_name(model->first->path), "mmproj", 6);
}

/* How well a tag means a model: 0 not, 3 its very path. */
static int score(const struct sl_hubmodel *model, const char *tag)
{
    const char *path = model->first->path, *name = base_name(path);
    struct sl_modelfile_name parsed = sl_modelfile_parse(name);
    size_t stem = (size_t)(name - path) + parsed.stem_len, len = strlen(tag);

    if (!strcasecmp(path, tag) || (len == stem && !strncasecmp(path, tag, len)))
        return 3;
    if (!strcasecmp(name, tag) || (len == parsed.stem_len && !strncasecmp(name, tag, len)))
        return 2;
    return sl_modelfile_has_tag(name, parsed.stem_len, tag, len) && !is_beside(model);
}

int sl_hubpick_choose(struct sl_hubpick *pick, const char *tag)
{
    size_t n_best = 0, n_models = 0, only = 0;
    int best = 1;

    for (size_t i = 0; i < pick->n_models; i++)
        if (!is_beside(&pick->models[i])) {
            only = i;
            n_models++;
        }
    if (!tag[0] && n_models == 1) {
        pick->chosen = only;
        return 0;
    }
    for (size_t i = 0; i < pick->n_models; i++) {
        int fit = score(&pick->models[i], tag[0] ? tag : SL_HUBPICK_DEFAULT);

        if (fit > best)
            n_best = 0;
        if (fit >= best) {
            best = fit;
            pick->chosen = i;
            n_best++;
        }
    }
    if (n_best == 0)
        return tag[0] || !n_models ? -ENOENT : -ENOTUNIQ;
    return n_best == 1 ? 0 : -ENOTUNIQ;
}
