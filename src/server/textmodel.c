/* Thin: sluice.h's text functions as struct sl_apitext has them. */
#include "server/textmodel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int64_t tokenize(void *arg, const char *bytes, size_t len, uint32_t flags, int32_t *ids,
                        size_t cap)
{
    return sluice_tokenize(((struct sl_textmodel *)arg)->model, bytes, len, flags, ids, cap);
}

static int piece(void *arg, int32_t id, const char **ret_piece)
{
    return sluice_token_piece(((struct sl_textmodel *)arg)->model, id, true, ret_piece);
}

static int render(void *arg, const char *messages_json, const char *tools_json,
                  bool add_generation_prompt, char **ret_text, struct sl_diag *diag)
{
    return sluice_chat_render(((struct sl_textmodel *)arg)->model, messages_json, tools_json,
                              add_generation_prompt, ret_text, (struct sluice_error *)diag);
}

static int32_t single(const struct sl_textmodel *text, const char *bytes)
{
    int32_t id;

    return sluice_tokenize(text->model, bytes, strlen(bytes), SLUICE_TOKENIZE_SPECIAL, &id, 1) == 1
               ? id : -1;
}

int sl_textmodel_init(struct sl_textmodel *text, struct sluice_model *model)
{
    struct sluice_model_info info;

    sluice_model_get_info(model, &info);
    *text = (struct sl_textmodel){
        .fn = {.arg = text, .tokenize = tokenize, .piece = piece, .render = render},
        .model = model,
        .n_vocab = info.n_vocab,
    };
    text->message_begin = single(text, "<|im_start|>");
    for (uint32_t id = 0; id < info.n_vocab; id++)
        text->n_eog += sluice_token_is_eog(model, (int32_t)id);
    text->eog = calloc(text->n_eog + 1, sizeof(*text->eog));
    if (!text->eog || sl_grammarcache_new(&text->grammars, model) < 0)
        return -ENOMEM; /* what there is goes in done */
    text->n_eog = 0;
    for (uint32_t id = 0; id < info.n_vocab; id++)
        if (sluice_token_is_eog(model, (int32_t)id))
            text->eog[text->n_eog++] = (int32_t)id;
    return 0;
}

void sl_textmodel_done(struct sl_textmodel *text)
{
    free(text->eog);
    sl_grammarcache_free(text->grammars);
    *text = (struct sl_textmodel){0};
}

int64_t sl_textmodel_tokenize(const struct sl_textmodel *text, const char *bytes, size_t len,
                              uint32_t flags, int32_t **ret_ids)
{
    size_t cap = len + 2; /* no token is shorter than a byte, but those put around the text */
    int32_t *ids = cap > SIZE_MAX / sizeof(*ids) ? NULL : malloc(cap * sizeof(*ids));
    int64_t n;

    if (!ids)
        return -ENOMEM;
    n = sluice_tokenize(text->model, bytes, len, flags, ids, cap);
    if (n < 0 || (size_t)n > cap) {
        free(ids);
        return n < 0 ? n : -E2BIG;
    }
    *ret_ids = ids;
    return n;
}
