/*
 * Native rendering of the LFM2 family's chat templates.
 *
 * All of them are ChatML with a BOS in front: each message is <|im_start|>, role, a
 * line end, content, <|im_end|>, a line end. A first system message and the list of
 * tools make one system turn, left out when empty. They differ in:
 *
 *                    tools between          tool results     thinking of past turns
 *   lfm2             <|tool_list_start|>[]  wrapped          kept
 *   lfm2.5           []                     as they are      cut but in the last
 *                                                            assistant message
 *   lfm2.5-list      the same as lfm2.5; the template flattens content lists itself
 *   lfm2.5-thinking  []                     as they are      cut up to the last user
 *                                                            message; tool_calls and
 *                                                            thinking are rendered
 *   ...-open         the same, quotes escaped, and the answer opens with <think>
 *
 * "Cut" takes what follows the last </think>, without the blanks round it. tool_calls
 * are not rendered by the first three, as in the originals.
 *
 * Checked against the files' own Jinja text by tests/property/test_chat.py.
 */
#include "text/chat.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jsonwriter.h"
#include "base/strbuf.h"
#include "base/codepoint.h"
#include "text/pyrepr.h"

enum past_thinking {
    PAST_KEPT = 0,
    PAST_CUT_BEFORE_LAST_ASSISTANT,
    PAST_CUT_BEFORE_LAST_USER,
};

/* What a generation does, where it differs. */
struct traits {
    const char *name;
    const char *tools_open, *tools_close; /* NULL: tools cannot be rendered */
    enum past_thinking past;
    bool merges_system;  /* first system message and tools make one turn */
    bool wraps_results;  /* <|tool_response_start|> round the content of role tool */
    bool has_lists;      /* odd items of content lists become JSON */
    bool null_is_json;   /* content null is the text null */
    bool has_calls;      /* thinking and tool_calls are rendered */
    bool opens_thinking; /* escapes strings of calls, prompt ends in <think> */
};

#define LIST_OPEN "List of tools: ["

static const struct traits all_traits[] = {
    [SL_CHAT_CHATML] = {.name = "chatml"},
    [SL_CHAT_LFM2] = {.name = "lfm2",
                      .tools_open = "List of tools: <|tool_list_start|>[",
                      .tools_close = "]<|tool_list_end|>",
                      .merges_system = true,
                      .wraps_results = true,
                      .null_is_json = true},
    [SL_CHAT_LFM25] = {.name = "lfm2.5",
                       .tools_open = LIST_OPEN,
                       .tools_close = "]",
                       .past = PAST_CUT_BEFORE_LAST_ASSISTANT,
                       .merges_system = true,
                       .null_is_json = true},
    [SL_CHAT_LFM25_LIST] = {.name = "lfm2.5-list",
                            .tools_open = LIST_OPEN,
                            .tools_close = "]",
                            .past = PAST_CUT_BEFORE_LAST_ASSISTANT,
                            .merges_system = true,
                            .has_lists = true},
    [SL_CHAT_LFM25_THINKING] = {.name = "lfm2.5-thinking",
                                .tools_open = LIST_OPEN,
                                .tools_close = "]",
                                .past = PAST_CUT_BEFORE_LAST_USER,
                                .merges_system = true,
                                .has_lists = true,
                                .has_calls = true},
    [SL_CHAT_LFM25_THINKING_OPEN] = {.name = "lfm2.5-thinking-open",
                                     .tools_open = LIST_OPEN,
                                     .tools_close = "]",
                                     .past = PAST_CUT_BEFORE_LAST_USER,
                                     .merges_system = true,
                                     .has_lists = true,
                                     .has_calls = true,
                                     .opens_thinking = true},
};

static bool has(const char *text, size_t len, const char *marker)
{
    return memmem(text, len, marker, strlen(marker)) != NULL;
}

enum sl_chat_template sl_chat_detect(const char *template_text, size_t len)
{
    const char *text = template_text;

    if (!text || len == 0)
        return SL_CHAT_CHATML;
    /* a template that prints today's date is none of ours (some vision models') */
    if (has(text, len, "strftime_now"))
        return SL_CHAT_CHATML;
    if (has(text, len, "<|tool_list_start|>"))
        return SL_CHAT_LFM2;
    if (has(text, len, "preserve_thinking"))
        return has(text, len, "assistant\\n<think>") ? SL_CHAT_LFM25_THINKING_OPEN
                                                     : SL_CHAT_LFM25_THINKING;
    if (has(text, len, "keep_past_thinking"))
        return has(text, len, "<image>") ? SL_CHAT_LFM25_LIST : SL_CHAT_LFM25;
    return SL_CHAT_CHATML;
}

const char *sl_chat_template_name(enum sl_chat_template t)
{
    return all_traits[t].name;
}

struct render {
    const struct sl_chat_opts *opts;
    const struct traits *traits;
    const struct sl_json *messages;
    const struct sl_json *tools; /* NULL: none */
    size_t n_messages;
    size_t begin;           /* first message that is rendered as a turn of its own */
    size_t past_end;        /* thinking is cut in messages before this one */
    struct sl_strbuf out;
    struct sl_strbuf text; /* content of the message at hand */
    struct sl_diag *diag;
};

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(text, *list))
            return true;
    return false;
}

static void add_json(struct sl_strbuf *buf, const struct sl_json *value)
{
    char *text;
    size_t len;
    int r;

    r = sl_json_dump_python(value, &text, &len);
    if (r < 0) {
        buf->error = buf->error ? buf->error : r;
        return;
    }
    sl_strbuf_add(buf, text, len);
    free(text);
}

static int add_item(struct render *r, size_t i, const struct sl_json *item, bool is_system)
{
    static const char *const media[] = {"image", "image_url", "input_image", "audio",
                                        "input_audio", "video", "video_url", "file",
                                        "input_file", NULL};
    const char *type = sl_json_get_string(sl_json_find(item, "type"), NULL);
    size_t len = 0;
    const char *text = sl_json_get_string(item, &len);

    if (!text && type && !strcmp(type, "text")) {
        text = sl_json_get_string(sl_json_find(item, "text"), &len);
        if (!text)
            return sl_diag_set(r->diag, -EBADMSG, "messages[%zu]: text of a content item is %s", i,
                               sl_json_type_name(sl_json_get_type(sl_json_find(item, "text"))));
    }
    if (text) {
        sl_strbuf_add(&r->text, text, len);
        return 0;
    }
    if (type && is_one_of(type, media))
        return sl_diag_set(r->diag, -ENOTSUP,
                           "messages[%zu]: content of type \"%s\": this model reads text only", i,
                           type);
    if (!r->traits->has_lists)
        return sl_diag_set(r->diag, -ENOTSUP, "messages[%zu]: content of type \"%.60s\"", i,
                           type ? type : "");
    if (!is_system || r->traits->has_calls)
        add_json(&r->text, item);
    return 0;
}

/* The content of message i as one text, into r->text. */
static int load_content(struct render *r, size_t i, bool is_system)
{
    const struct sl_json *message = sl_json_item(r->messages, i);
    const struct sl_json *content = sl_json_find(message, "content");
    const char *text;
    size_t len = 0;
    int e;

    sl_strbuf_cut(&r->text, 0);
    text = sl_json_get_string(content, &len);
    if (text) {
        sl_strbuf_add(&r->text, text, len);
    } else if (sl_json_is(content, SL_JSON_ARRAY)) {
        for (size_t k = 0; k < sl_json_n_items(content); k++) {
            e = add_item(r, i, sl_json_item(content, k), is_system);
            if (e < 0)
                return e;
        }
    } else if (content && (!sl_json_is(content, SL_JSON_NULL) ||
                           (r->traits->null_is_json && !is_system))) {
        add_json(&r->text, content);
    }
    return r->text.error;
}

/* Length of the blank at text as Python's str.strip() knows it, or 0. */
static size_t blank_len(const char *text, size_t len)
{
    uint32_t cp;
    size_t n = len ? sl_codepoint_decode(text, len, &cp) : 0;

    if (n == 0)
        return 0;
    if ((cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 ||
        cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
        cp == 0x202F || cp == 0x205F || cp == 0x3000)
        return n;
    return 0;
}

/* Cut [*text, *text + *len) to what follows the last </think>, stripped. */
static void cut_thinking(const char **text, size_t *len)
{
    static const char marker[] = "</think>";
    const size_t n_marker = sizeof(marker) - 1;
    const char *end = *text + *len;
    const char *ptr = NULL;
    size_t n;

    for (const char *p = *text; (p = memmem(p, (size_t)(end - p), marker, n_marker)) != NULL;)
        ptr = p = p + n_marker;
    if (!ptr)
        return;
    while ((n = blank_len(ptr, (size_t)(end - ptr))) > 0)
        ptr += n;
    while (end > ptr) {
        const char *p = end - 1;

        while (p > ptr && ((unsigned char)*p & 0xC0) == 0x80)
            p--;
        if (blank_len(p, (size_t)(end - p)) != (size_t)(end - p))
            break;
        end = p;
    }
    *text = ptr;
    *len = (size_t)(end - ptr);
}

static void add_thinking(struct render *r, const struct sl_json *message)
{
    static const char *const fields[] = {"thinking", "reasoning", "reasoning_content"};
    size_t n_fields = r->traits->opens_thinking ? 3 : 1;

    for (size_t i = 0; i < n_fields; i++) {
        size_t len = 0;
        const char *text = sl_json_get_string(sl_json_find(message, fields[i]), &len);

        if (!text || (len == 0 && r->traits->opens_thinking))
            continue;
        sl_strbuf_add_str(&r->out, "<think>");
        sl_strbuf_add(&r->out, text, len);
        sl_strbuf_add_str(&r->out, "</think>");
        return;
    }
}

static void add_argument(struct render *r, const struct sl_json *value)
{
    bool escape = r->traits->opens_thinking;
    size_t len = 0;
    const char *text = sl_json_get_string(value, &len);

    if (!text) {
        if (sl_json_is(value, SL_JSON_OBJECT) || (escape && sl_json_is(value, SL_JSON_ARRAY)))
            add_json(&r->out, value);
        else
            sl_pyrepr_add_str(&r->out, value);
        return;
    }
    sl_strbuf_add(&r->out, "'", 1);
    for (size_t i = 0; i < len; i++) {
        if (escape && text[i] == '\n')
            sl_strbuf_add(&r->out, "\\n", 2);
        else if (escape && text[i] == '\r')
            sl_strbuf_add(&r->out, "\\r", 2);
        else {
            if (escape && (text[i] == '\\' || text[i] == '\''))
                sl_strbuf_add(&r->out, "\\", 1);
            sl_strbuf_add(&r->out, text + i, 1);
        }
    }
    sl_strbuf_add(&r->out, "'", 1);
}

static void add_arguments(struct render *r, const struct sl_json *arguments)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key;
    bool first = true;

    while (sl_json_next(arguments, &iter, &key, &value)) {
        if (!first)
            sl_strbuf_add(&r->out, ", ", 2);
        first = false;
        sl_strbuf_add_str(&r->out, key);
        sl_strbuf_add(&r->out, "=", 1);
        add_argument(r, value);
    }
}

/* name(key=value, ...). Arguments may be an object, or its JSON text as the OpenAI API
 * has it. */
static int add_call(struct render *r, size_t i, const struct sl_json *call)
{
    const struct sl_json *function = sl_json_find(call, "function");
    const struct sl_json *arguments;
    struct sl_json_doc *doc = NULL;
    const char *name, *text;
    size_t len = 0;
    int e = 0;

    function = function ? function : call;
    name = sl_json_get_string(sl_json_find(function, "name"), NULL);
    if (!name)
        return sl_diag_set(r->diag, -EBADMSG, "messages[%zu]: a tool call without a name", i);
    arguments = sl_json_find(function, "arguments");
    text = sl_json_get_string(arguments, &len);
    if (text && strspn(text, " \t\r\n") < len) {
        e = sl_json_parse(&doc, text, len, r->diag);
        if (e < 0)
            return sl_diag_prefix(r->diag, e, "messages[%zu]: arguments of %.60s", i, name);
        arguments = sl_json_root(doc);
    } else if (text) {
        arguments = NULL;
    }
    if (arguments && !sl_json_is(arguments, SL_JSON_OBJECT) && !sl_json_is(arguments, SL_JSON_NULL))
        e = sl_diag_set(r->diag, -EBADMSG,
                        "messages[%zu]: arguments of %.60s: an object expected, found %s", i, name,
                        sl_json_type_name(sl_json_get_type(arguments)));
    if (e == 0) {
        sl_strbuf_add_str(&r->out, name);
        sl_strbuf_add(&r->out, "(", 1);
        add_arguments(r, arguments);
        sl_strbuf_add(&r->out, ")", 1);
    }
    sl_json_free(doc);
    return e;
}

static int add_calls(struct render *r, size_t i, const struct sl_json *calls)
{
    int e;

    if (!calls || sl_json_is(calls, SL_JSON_NULL))
        return 0;
    if (!sl_json_is(calls, SL_JSON_ARRAY))
        return sl_diag_set(r->diag, -EBADMSG, "messages[%zu]: tool_calls is %s", i,
                           sl_json_type_name(sl_json_get_type(calls)));
    if (sl_json_n_items(calls) == 0 && r->traits->opens_thinking)
        return 0;
    sl_strbuf_add_str(&r->out, "<|tool_call_start|>[");
    for (size_t k = 0; k < sl_json_n_items(calls); k++) {
        if (k)
            sl_strbuf_add(&r->out, ", ", 2);
        e = add_call(r, i, sl_json_item(calls, k));
        if (e < 0)
            return e;
    }
    sl_strbuf_add_str(&r->out, "]<|tool_call_end|>");
    return 0;
}

static const char *role_of(const struct render *r, size_t i)
{
    return sl_json_get_string(sl_json_find(sl_json_item(r->messages, i), "role"), NULL);
}

static void add_turn(struct sl_strbuf *out, const char *role, const char *text, size_t len)
{
    sl_strbuf_add_str(out, "<|im_start|>");
    sl_strbuf_add_str(out, role);
    sl_strbuf_add(out, "\n", 1);
    sl_strbuf_add(out, text, len);
    sl_strbuf_add_str(out, "<|im_end|>\n");
}

static int add_assistant(struct render *r, size_t i)
{
    const struct sl_json *message = sl_json_item(r->messages, i);
    const char *text = r->text.ptr;
    size_t len = r->text.len;
    int e;

    sl_strbuf_add_str(&r->out, "<|im_start|>assistant\n");
    if (i >= r->past_end && r->traits->has_calls)
        add_thinking(r, message);
    if (i < r->past_end)
        cut_thinking(&text, &len);
    sl_strbuf_add(&r->out, text, len);
    if (r->traits->has_calls) {
        e = add_calls(r, i, sl_json_find(message, "tool_calls"));
        if (e < 0)
            return e;
    }
    sl_strbuf_add_str(&r->out, "<|im_end|>\n");
    return 0;
}

static int add_message(struct render *r, size_t i)
{
    const char *role = role_of(r, i);
    int e;

    e = load_content(r, i, false);
    if (e < 0)
        return e;
    sl_strbuf_add(&r->text, "", 0); /* ptr is not NULL from here on */
    if (r->text.error)
        return r->text.error;
    if (!strcmp(role, "assistant"))
        return add_assistant(r, i);
    if (!strcmp(role, "tool") && r->traits->wraps_results) {
        sl_strbuf_add_str(&r->out, "<|im_start|>tool\n<|tool_response_start|>");
        sl_strbuf_add(&r->out, r->text.ptr, r->text.len);
        sl_strbuf_add_str(&r->out, "<|tool_response_end|><|im_end|>\n");
        return 0;
    }
    add_turn(&r->out, role, r->text.ptr, r->text.len);
    return 0;
}

/* The system turn: the first message if it is one, and the tools. */
static int add_system(struct render *r)
{
    size_t len;
    int e;

    sl_strbuf_cut(&r->text, 0);
    if (r->traits->merges_system && !strcmp(role_of(r, 0), "system")) {
        e = load_content(r, 0, true);
        if (e < 0)
            return e;
        r->begin = 1;
    }
    if (r->tools) {
        if (r->text.len)
            sl_strbuf_add(&r->text, "\n", 1);
        sl_strbuf_add_str(&r->text, r->traits->tools_open);
        for (size_t i = 0; i < sl_json_n_items(r->tools); i++) {
            const struct sl_json *tool = sl_json_item(r->tools, i);
            const char *text = sl_json_get_string(tool, &len);

            if (i)
                sl_strbuf_add(&r->text, ", ", 2);
            if (text)
                sl_strbuf_add(&r->text, text, len);
            else
                add_json(&r->text, tool);
        }
        sl_strbuf_add_str(&r->text, r->traits->tools_close);
    }
    if (r->text.len)
        add_turn(&r->out, "system", r->text.ptr, r->text.len);
    return r->text.error;
}

/* Up to which message thinking is cut. */
static size_t find_past_end(const struct render *r)
{
    bool keep = r->traits->past == PAST_CUT_BEFORE_LAST_USER ? r->opts->preserve_thinking
                                                             : r->opts->keep_past_thinking;
    const char *role = r->traits->past == PAST_CUT_BEFORE_LAST_USER ? "user" : "assistant";

    if (r->traits->past == PAST_KEPT || keep)
        return 0;
    for (size_t i = r->n_messages; i > r->begin; i--)
        if (!strcmp(role_of(r, i - 1), role))
            return i - 1;
    return 0;
}

static int check_messages(struct render *r)
{
    if (!sl_json_is(r->messages, SL_JSON_ARRAY) || r->n_messages == 0)
        return sl_diag_set(r->diag, -EBADMSG, "messages: an array with at least one expected");
    for (size_t i = 0; i < r->n_messages; i++)
        if (!role_of(r, i))
            return sl_diag_set(r->diag, -EBADMSG, "messages[%zu]: no role", i);
    if (r->tools && !sl_json_is(r->tools, SL_JSON_ARRAY))
        return sl_diag_set(r->diag, -EBADMSG, "tools: an array expected, found %s",
                           sl_json_type_name(sl_json_get_type(r->tools)));
    if (r->tools && sl_json_n_items(r->tools) == 0)
        r->tools = NULL;
    if (r->tools && !r->traits->tools_open)
        return sl_diag_set(r->diag, -ENOTSUP,
                           "tools: this model's chat template is not known, so they cannot be "
                           "listed for it");
    return 0;
}

static int render(struct render *r)
{
    int e;

    e = check_messages(r);
    if (e < 0)
        return e;
    sl_strbuf_add_str(&r->out, r->opts->bos ? r->opts->bos : "");
    e = add_system(r);
    if (e < 0)
        return e;
    r->past_end = find_past_end(r);
    for (size_t i = r->begin; i < r->n_messages; i++) {
        e = add_message(r, i);
        if (e < 0)
            return e;
    }
    if (r->opts->add_generation_prompt)
        sl_strbuf_add_str(&r->out, r->traits->opens_thinking ? "<|im_start|>assistant\n<think>"
                                                             : "<|im_start|>assistant\n");
    return 0;
}

int sl_chat_render(const struct sl_chat_opts *opts, const char *messages_json,
                   const char *tools_json, char **ret_text, struct sl_diag *diag)
{
    struct render r = {
        .opts = opts,
        .traits = &all_traits[opts->template_kind],
        .diag = diag,
    };
    struct sl_json_doc *messages = NULL, *tools = NULL;
    int e;

    e = sl_json_parse(&messages, messages_json, strlen(messages_json), diag);
    if (e < 0) {
        (void)sl_diag_prefix(diag, e, "messages");
        goto out;
    }
    r.messages = sl_json_root(messages);
    r.n_messages = sl_json_n_items(r.messages);
    if (tools_json) {
        e = sl_json_parse(&tools, tools_json, strlen(tools_json), diag);
        if (e < 0) {
            (void)sl_diag_prefix(diag, e, "tools");
            goto out;
        }
        r.tools = sl_json_root(tools);
        if (sl_json_is(r.tools, SL_JSON_NULL))
            r.tools = NULL;
    }

    e = render(&r);
    if (e == 0)
        e = sl_strbuf_take(&r.out, ret_text, NULL);

out:
    if (e == -ENOMEM)
        (void)sl_diag_set(diag, e, "not enough memory for the conversation");
    sl_strbuf_done(&r.out);
    sl_strbuf_done(&r.text);
    sl_json_free(tools);
    sl_json_free(messages);
    return e;
}
