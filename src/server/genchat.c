/*
 * Messages go to the template as they are, but for assistants' that have tool calls: those
 * that this server made itself come back as they were sampled, if what the client sends still
 * is the same text and the same calls; the others get their calls written into the content,
 * unless the template does that.
 */
#include "server/genchat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jsonwriter.h"
#include "server/apijson.h"
#include "text/reply.h"
#include "text/toolcall.h"

struct fold {
    const struct sl_apienv *env;
    const struct sl_genchat_recall *recall; /* or NULL */
    struct sl_jsonwriter w;
    struct sl_diag *diag;
};

/* What a remembered turn says, gathered to be compared. */
struct turn {
    struct sl_strbuf text;
    struct sl_jsonwriter calls; /* [name, arguments, name, arguments ...] */
};

static int write_canonical(struct sl_jsonwriter *w, const char *json, size_t len)
{
    struct sl_json_doc *doc = NULL;
    int r = sl_json_parse(&doc, json, len, NULL);

    if (r == 0)
        sl_jsonwriter_value(w, sl_json_root(doc));
    sl_json_free(doc);
    return r;
}

static void hear(void *user, const struct sl_reply_event *event)
{
    struct turn *turn = user;
    int r;

    if (event->kind == SL_REPLY_TEXT) {
        sl_strbuf_add(&turn->text, event->text, event->len);
    } else if (event->kind == SL_REPLY_CALL) {
        sl_jsonwriter_string(&turn->calls, event->name);
        r = write_canonical(&turn->calls, event->text, event->len);
        if (r < 0)
            turn->calls.buf.error = r;
    }
}

static int hear_turn(struct turn *turn, const char *text, size_t len, bool has_thinking)
{
    struct sl_reply_opts opts = {
        .think = has_thinking ? SL_REPLY_THINK_SPLIT : SL_REPLY_THINK_NONE,
        .calls = true,
        .fn = hear,
        .user = turn,
    };
    struct sl_reply *reply = NULL;
    int r;

    sl_jsonwriter_begin_array(&turn->calls);
    r = sl_reply_new(&reply, &opts);
    if (r == 0)
        r = sl_reply_feed(reply, text, len);
    if (r == 0)
        r = sl_reply_end(reply);
    sl_reply_free(reply);
    sl_jsonwriter_end_array(&turn->calls);
    return r < 0 ? r : turn->text.error ? turn->text.error : turn->calls.buf.error;
}

/* The same list of what the client says. */
static int list_calls(struct sl_jsonwriter *w, const struct sl_json *calls)
{
    int r = 0;

    sl_jsonwriter_begin_array(w);
    for (size_t i = 0; r == 0 && i < sl_json_n_items(calls); i++) {
        const struct sl_json *function = sl_json_find(sl_json_item(calls, i), "function");
        const char *name = sl_json_get_string(sl_json_find(function, "name"), NULL);
        size_t len = 0;
        const char *json = sl_json_get_string(sl_json_find(function, "arguments"), &len);

        if (!name || !json)
            return -EBADMSG;
        sl_jsonwriter_string(w, name);
        r = write_canonical(w, json, len);
    }
    sl_jsonwriter_end_array(w);
    return r < 0 ? r : w->buf.error;
}

/* 1: the turn says what the message says; 0: it does not; or -ENOMEM. */
static int is_same(const struct fold *f, const struct sl_json *message, const char *text,
                   size_t len)
{
    struct turn turn = {0};
    struct sl_jsonwriter said;
    size_t content_len = 0;
    const char *content = sl_json_get_string(sl_json_find(message, "content"), &content_len);
    int r;

    sl_jsonwriter_init(&turn.calls, NULL, 0);
    sl_jsonwriter_init(&said, NULL, 0);
    r = hear_turn(&turn, text, len, f->env->has_thinking);
    if (r == 0)
        r = list_calls(&said, sl_json_find(message, "tool_calls"));
    if (r == 0)
        r = turn.text.len == content_len && turn.calls.buf.len == said.buf.len &&
            (content_len == 0 || memcmp(turn.text.ptr, content, content_len) == 0) &&
            memcmp(turn.calls.buf.ptr, said.buf.ptr, said.buf.len) == 0;
    sl_strbuf_done(&turn.text);
    sl_strbuf_done(&turn.calls.buf);
    sl_strbuf_done(&said.buf);
    return r == -ENOMEM ? r : r > 0;
}

/* Write the message as its turn was sampled. 1: done; 0: it was not ours; or -ENOMEM. */
static int write_recalled(struct fold *f, const struct sl_json *message)
{
    const struct sl_json *call = sl_json_item(sl_json_find(message, "tool_calls"), 0);
    const char *id = sl_json_get_string(sl_json_find(call, "id"), NULL);
    const char *text;
    size_t len;
    int r;

    if (!f->recall || !id || f->recall->find(f->recall->arg, id, &text, &len) < 0)
        return 0;
    r = is_same(f, message, text, len);
    if (r <= 0)
        return r;
    sl_jsonwriter_begin_object(&f->w);
    sl_apijson_text(&f->w, "role", "assistant");
    sl_apijson_text_len(&f->w, "content", text, len);
    sl_jsonwriter_end_object(&f->w);
    return 1;
}

/* Write the message with its calls in the content. */
static int write_folded(struct fold *f, const struct sl_json *message)
{
    struct sl_strbuf content = {0};
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key, *text;
    char *calls = NULL;
    size_t len = 0;
    int r;

    text = sl_json_get_string(sl_json_find(message, "content"), &len);
    sl_strbuf_add(&content, text, len);
    r = sl_toolcall_render(sl_json_find(message, "tool_calls"), &calls, &len, f->diag);
    if (r < 0)
        goto done;
    sl_strbuf_add(&content, calls, len);
    r = content.error;
    sl_jsonwriter_begin_object(&f->w);
    while (r == 0 && sl_json_next(message, &iter, &key, &value)) {
        if (strcmp(key, "tool_calls") == 0)
            continue;
        sl_jsonwriter_key(&f->w, key);
        if (strcmp(key, "content") == 0)
            sl_jsonwriter_string_len(&f->w, content.ptr, content.len);
        else
            sl_jsonwriter_value(&f->w, value);
    }
    sl_jsonwriter_end_object(&f->w);
done:
    free(calls);
    sl_strbuf_done(&content);
    return r;
}

static int fold_messages(struct fold *f, const struct sl_json *messages)
{
    int r = 0;

    sl_jsonwriter_begin_array(&f->w);
    for (size_t i = 0; r >= 0 && i < sl_json_n_items(messages); i++) {
        const struct sl_json *message = sl_json_item(messages, i);

        if (!sl_json_find(message, "tool_calls")) {
            sl_jsonwriter_value(&f->w, message);
            continue;
        }
        r = write_recalled(f, message);
        if (r == 0 && f->env->has_calls)
            sl_jsonwriter_value(&f->w, message);
        else if (r == 0)
            r = write_folded(f, message);
        if (r < 0)
            return sl_diag_prefix(f->diag, r, "messages[%zu]", i);
    }
    sl_jsonwriter_end_array(&f->w);
    return f->w.buf.error;
}

int sl_genchat_render(const struct sl_genreq *req, const struct sl_apienv *env,
                      const struct sl_apitext *text, const struct sl_genchat_recall *recall,
                      char **ret_prompt, size_t *ret_len, struct sl_diag *diag)
{
    struct fold f = {.env = env, .recall = recall, .diag = diag};
    bool opens = !(req->flags & SL_GENREQ_NO_OPENING);
    struct sl_json_doc *doc = NULL;
    struct sl_strbuf prompt = {0};
    char *rendered = NULL;
    int r;

    sl_jsonwriter_init(&f.w, NULL, 0);
    r = sl_json_parse(&doc, req->messages_json, strlen(req->messages_json), diag);
    if (r == 0)
        r = fold_messages(&f, sl_json_root(doc));
    if (r == 0)
        r = text->render(text->arg, f.w.buf.ptr, req->tools_json, opens, &rendered, diag);
    if (r == 0) {
        sl_strbuf_add_str(&prompt, rendered);
        sl_strbuf_add(&prompt, req->prefill, req->prefill_len);
        r = sl_strbuf_take(&prompt, ret_prompt, ret_len);
    }
    if (r == -ENOMEM)
        (void)sl_diag_set(diag, r, "not enough memory for the conversation");
    free(rendered);
    sl_strbuf_done(&f.w.buf);
    sl_json_free(doc);
    return r;
}
