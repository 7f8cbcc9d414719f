/*
 * Renders conversations for test_chat.py. Each line of stdin is a JSON object: the
 * template's text (its generation is detected), "messages" and "tools" as JSON texts,
 * and flags. Each line of stdout is {"kind", "text"} or {"kind", "code", "error"}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "text/chat.h"

static bool flag(const struct sl_json *job, const char *key)
{
    bool value = false;

    (void)sl_json_get_bool(sl_json_find(job, key), &value); /* absent: false */
    return value;
}

static const char *text_of(const struct sl_json *job, const char *key)
{
    return sl_json_get_string(sl_json_find(job, key), NULL);
}

static int answer(const struct sl_json *job)
{
    size_t len = 0;
    const char *source = sl_json_get_string(sl_json_find(job, "template"), &len);
    struct sl_chat_opts opts = {
        .template_kind = sl_chat_detect(source, len),
        .bos = text_of(job, "bos"),
        .add_generation_prompt = flag(job, "add_generation_prompt"),
        .keep_past_thinking = flag(job, "keep_past_thinking"),
        .preserve_thinking = flag(job, "preserve_thinking"),
    };
    struct sl_jsonwriter w;
    struct sl_diag diag;
    char *text = NULL;
    int r;

    r = sl_chat_render(&opts, text_of(job, "messages"), text_of(job, "tools"), &text, &diag);
    sl_jsonwriter_init(&w, stdout, 0);
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_key(&w, "kind");
    sl_jsonwriter_string(&w, sl_chat_template_name(opts.template_kind));
    if (r == 0) {
        sl_jsonwriter_key(&w, "text");
        sl_jsonwriter_string(&w, text);
    } else {
        sl_jsonwriter_key(&w, "code");
        sl_jsonwriter_i64(&w, r);
        sl_jsonwriter_key(&w, "error");
        sl_jsonwriter_string(&w, diag.text);
    }
    sl_jsonwriter_end_object(&w);
    free(text);
    r = sl_jsonwriter_done(&w);
    putchar('\n');
    return r;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int r = 0;

    while (r == 0 && (len = getline(&line, &cap, stdin)) > 0) {
        struct sl_json_doc *doc = NULL;
        struct sl_diag diag;

        r = sl_json_parse(&doc, line, (size_t)len, &diag);
        if (r < 0) {
            fprintf(stderr, "chat_peer: %s\n", diag.text);
            break;
        }
        r = answer(sl_json_root(doc));
        sl_json_free(doc);
    }
    free(line);
    return r == 0 ? 0 : 1;
}
