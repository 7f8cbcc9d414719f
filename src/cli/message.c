/* Conversations: an array of role and content. */
#include "cli/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "model/engine.h"
#include "text/utf8.h"

int sl_message_add(struct sl_messages *messages, const char *role, const char *content)
{
    struct sl_message message;

    if (messages->n == messages->cap) {
        size_t cap = messages->cap ? 2 * messages->cap : 16;
        struct sl_message *list = realloc(messages->list, cap * sizeof(*list));

        if (!list)
            return -ENOMEM;
        messages->list = list;
        messages->cap = cap;
    }
    message.role = strdup(role);
    message.content = strdup(content);
    if (!message.role || !message.content) {
        free(message.role);
        free(message.content);
        return -ENOMEM;
    }
    messages->list[messages->n++] = message;
    return 0;
}

void sl_message_drop_last(struct sl_messages *messages)
{
    if (messages->n == 0)
        return;
    messages->n--;
    free(messages->list[messages->n].role);
    free(messages->list[messages->n].content);
}

void sl_message_done(struct sl_messages *messages)
{
    while (messages->n)
        sl_message_drop_last(messages);
    free(messages->list);
    *messages = (struct sl_messages){0};
}

const char *sl_message_get_system(const struct sl_messages *messages)
{
    bool has = messages->n && !strcmp(messages->list[0].role, "system");

    return has ? messages->list[0].content : NULL;
}

int sl_message_set_system(struct sl_messages *messages, const char *text)
{
    struct sl_message first;
    int r;

    if (sl_message_get_system(messages)) {
        first = messages->list[0];
        messages->n--;
        memmove(messages->list, messages->list + 1, messages->n * sizeof(*messages->list));
        free(first.role);
        free(first.content);
    }
    if (!text)
        return 0;
    r = sl_message_add(messages, "system", text);
    if (r < 0)
        return r;
    first = messages->list[messages->n - 1];
    memmove(messages->list + 1, messages->list, (messages->n - 1) * sizeof(*messages->list));
    messages->list[0] = first;
    return 0;
}

bool sl_message_ends_in(const struct sl_messages *messages, const char *role)
{
    return messages->n && !strcmp(messages->list[messages->n - 1].role, role);
}

int sl_message_parse(struct sl_messages *messages, const char *json, size_t len,
                     struct sl_diag *diag)
{
    struct sl_messages parsed = {0};
    struct sl_json_doc *doc = NULL;
    const struct sl_json *list;
    int r;

    r = sl_json_parse(&doc, json, len, diag);
    if (r < 0)
        return r;
    list = sl_json_root(doc);
    if (sl_json_is(list, SL_JSON_OBJECT))
        list = sl_json_find(list, "messages");
    if (!sl_json_is(list, SL_JSON_ARRAY))
        r = sl_diag_set(diag, -EBADMSG, "an array of messages expected");
    for (size_t i = 0; r == 0 && i < sl_json_n_items(list); i++) {
        const struct sl_json *item = sl_json_item(list, i);
        const char *role = sl_json_get_string(sl_json_find(item, "role"), NULL);
        const char *content = sl_json_get_string(sl_json_find(item, "content"), NULL);

        if (!role || !content)
            r = sl_diag_set(diag, -EBADMSG, "messages[%zu]: role and content, both texts, expected",
                            i);
        else if (sl_message_add(&parsed, role, content) < 0)
            r = sl_diag_set(diag, -ENOMEM, "not enough memory");
    }
    sl_json_free(doc);
    if (r < 0) {
        sl_message_done(&parsed);
        return r;
    }
    sl_message_done(messages);
    *messages = parsed;
    return 0;
}

void sl_message_write(struct sl_jsonwriter *w, const struct sl_messages *messages)
{
    sl_jsonwriter_begin_array(w);
    for (size_t i = 0; i < messages->n; i++) {
        sl_jsonwriter_begin_object(w);
        sl_jsonwriter_member_string(w, "role", messages->list[i].role);
        sl_jsonwriter_member_string(w, "content", messages->list[i].content);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_array(w);
}

int sl_message_render(const struct sl_messages *messages, const struct sluice_model *model,
                      char **ret_text, struct sluice_error *error)
{
    struct sl_jsonwriter w;
    char *json = NULL;
    int r;

    (void)sl_diag_set((struct sl_diag *)error, -ENOMEM, "not enough memory");
    sl_jsonwriter_init(&w, NULL, 0);
    sl_message_write(&w, messages);
    r = sl_strbuf_take(&w.buf, &json, NULL);
    if (r == 0)
        r = sluice_chat_render(model, json, NULL, true, ret_text, error);
    free(json);
    return r;
}

int sl_message_tokenize(const struct sluice_model *model, const char *text, uint32_t flags,
                        int32_t **ret_ids, size_t *ret_n)
{
    size_t len = strlen(text);
    size_t cap = len + 2; /* a token has a byte at least; BOS, EOS */
    int32_t *ids = malloc(cap * sizeof(*ids));
    int64_t n;

    if (!ids)
        return -ENOMEM;
    n = sluice_tokenize(model, text, len, flags, ids, cap);
    if (n < 0 || (size_t)n > cap) {
        free(ids);
        return n < 0 ? (int)n : -E2BIG;
    }
    *ret_ids = ids;
    *ret_n = (size_t)n;
    return 0;
}

int sl_message_check_utf8(const char *what, const char *text, struct sl_diag *diag)
{
    size_t len = strlen(text);
    size_t valid = sl_utf8_valid_len(text, len);

    if (valid == len)
        return 0;
    return sl_diag_set(diag, -EBADMSG, "%s is not UTF-8: byte %zu is 0x%02x", what, valid,
                       (unsigned char)text[valid]);
}

bool sl_message_has_template(const struct sluice_model *model)
{
    return sl_gguf_kv_find(model->gguf, "tokenizer.chat_template") != NULL;
}

void sl_message_note_template(const struct sluice_model *model)
{
    if (!model->is_chat_template_known)
        sl_report_note("the file's chat template is %s; using plain ChatML",
                       sl_message_has_template(model) ? "not known" : "missing");
}

int sl_message_show(const char *text, size_t len, bool is_terminal)
{
    size_t start = 0;
    int r = 0;

    for (size_t i = 0; is_terminal && i < len && r == 0; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c >= 0x20 && c != 0x7F) || c == '\n' || c == '\t')
            continue;
        r = sl_report_write(text + start, i - start);
        start = i + 1;
    }
    if (r == 0)
        r = sl_report_write(text + start, len - start);
    return r == 0 ? sl_report_flush() : r;
}
