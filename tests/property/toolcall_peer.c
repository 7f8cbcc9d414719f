/*
 * Splits replies, and renders calls, for test_toolcall.py. Each line of stdin is a JSON
 * object, each line of stdout the answer:
 *
 *     {"reply": hex, "step": n, "think": 0..2, "tools": [names]}  [[kind, name, hex], ...]
 *     {"render": calls}                                           hex, or {"error": text}
 *
 * Texts are in hexadecimal, as they may hold any bytes. Pieces of n bytes are fed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "text/reply.h"
#include "text/toolcall.h"

#define N_TOOLS_MAX 64

static void write_hex(struct sl_jsonwriter *w, const char *text, size_t len)
{
    struct sl_strbuf hex = {0};

    sl_strbuf_add(&hex, "", 0);
    for (size_t i = 0; i < len; i++)
        sl_strbuf_add_fmt(&hex, "%02x", (unsigned char)text[i]);
    sl_jsonwriter_string(w, hex.ptr ? hex.ptr : "");
    sl_strbuf_done(&hex);
}

/* The bytes, for the caller to free, in a block of just their size: reads beyond show. */
static char *read_hex(const char *hex, size_t *ret_len)
{
    size_t len = strlen(hex) / 2;
    char *bytes = malloc(len ? len : 1);

    for (size_t i = 0; bytes && i < len; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        bytes[i] = (char)strtoul(pair, NULL, 16);
    }
    *ret_len = len;
    return bytes;
}

static void hear(void *user, const struct sl_reply_event *event)
{
    static const char *const kinds[] = {"text", "reasoning", "call"};
    struct sl_jsonwriter *w = user;

    sl_jsonwriter_begin_array(w);
    sl_jsonwriter_string(w, kinds[event->kind]);
    if (event->name)
        sl_jsonwriter_string(w, event->name);
    else
        sl_jsonwriter_null(w);
    write_hex(w, event->text, event->len);
    sl_jsonwriter_end_array(w);
}

static int64_t number(const struct sl_json *job, const char *key)
{
    int64_t value = 0;

    (void)sl_json_get_i64(sl_json_find(job, key), &value); /* absent: 0 */
    return value;
}

static int answer_reply(const struct sl_json *job, const char *hex, struct sl_jsonwriter *w)
{
    const struct sl_json *tools = sl_json_find(job, "tools");
    const char *names[N_TOOLS_MAX];
    struct sl_reply_opts opts = {
        .think = (enum sl_reply_think)number(job, "think"),
        .calls = true,
        .tools = names,
        .fn = hear,
        .user = w,
    };
    size_t step = (size_t)number(job, "step"), len;
    char *text = read_hex(hex, &len);
    struct sl_reply *reply = NULL;
    int r;

    while (opts.n_tools < sl_json_n_items(tools) && opts.n_tools < N_TOOLS_MAX) {
        names[opts.n_tools] = sl_json_get_string(sl_json_item(tools, opts.n_tools), NULL);
        opts.n_tools++;
    }
    r = text && step ? sl_reply_new(&reply, &opts) : -1;
    sl_jsonwriter_begin_array(w);
    for (size_t i = 0; r == 0 && i < len; i += step)
        r = sl_reply_feed(reply, text + i, step < len - i ? step : len - i);
    if (r == 0)
        r = sl_reply_end(reply);
    sl_jsonwriter_end_array(w);
    sl_reply_free(reply);
    free(text);
    return r;
}

static int answer_render(const struct sl_json *calls, struct sl_jsonwriter *w)
{
    struct sl_diag diag = {""};
    char *text = NULL;
    size_t len = 0;

    if (sl_toolcall_render(calls, &text, &len, &diag) == 0) {
        write_hex(w, text, len);
    } else {
        sl_jsonwriter_begin_object(w);
        sl_jsonwriter_key(w, "error");
        sl_jsonwriter_string(w, diag.text);
        sl_jsonwriter_end_object(w);
    }
    free(text);
    return 0;
}

static int answer(const struct sl_json *job)
{
    const char *hex = sl_json_get_string(sl_json_find(job, "reply"), NULL);
    struct sl_jsonwriter w;
    int r, e;

    sl_jsonwriter_init(&w, stdout, 0);
    r = hex ? answer_reply(job, hex, &w) : answer_render(sl_json_find(job, "render"), &w);
    e = sl_jsonwriter_done(&w);
    putchar('\n');
    return r ? r : e;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int r = 0;

    while (r == 0 && (len = getline(&line, &cap, stdin)) > 0) {
        struct sl_json_doc *doc = NULL;
        struct sl_diag diag = {""};

        r = sl_json_parse(&doc, line, (size_t)len, &diag);
        if (r == 0)
            r = answer(sl_json_root(doc));
        if (r < 0)
            fprintf(stderr, "toolcall_peer: %d %s\n", r, diag.text);
        sl_json_free(doc);
    }
    free(line);
    return r == 0 ? 0 : 1;
}
