/*
 * Any bytes as a reply: in pieces it gives the same as whole; without calls and reasoning
 * it is its own text again; arguments are JSON; and calls, rendered and read back, are
 * the same calls. The first byte chooses how the reply is split and cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "text/reply.h"
#include "text/toolcall.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition)
{
    if (!condition)
        abort();
}

/* What came out: pieces in a row joined, a byte before each new kind. */
struct heard {
    struct sl_strbuf log;   /* everything */
    struct sl_strbuf text;  /* text pieces alone */
    struct sl_strbuf calls; /* calls as a JSON array, still open */
    uint32_t n_calls;
    int last; /* kind, -1 at the beginning */
    int has_reasoning, has_nul;
};

static void hear(void *user, const struct sl_reply_event *event)
{
    struct heard *heard = user;

    require(event->len > 0);
    if (event->kind == SL_REPLY_CALL) {
        require(event->i_call == heard->n_calls);
        require(event->name[0] != '\0' && strlen(event->text) == event->len);
        sl_strbuf_add_fmt(&heard->log, "\x01%s\x02%s", event->name, event->text);
        sl_strbuf_add_fmt(&heard->calls, "%s{\"name\":\"%s\",\"arguments\":%s}",
                          heard->n_calls ? "," : "[", event->name, event->text);
        heard->n_calls++;
        heard->has_nul |= strstr(event->text, "\\u0000") != NULL;
    } else {
        require(event->name == NULL);
        if (heard->last != (int)event->kind)
            sl_strbuf_add(&heard->log, event->kind == SL_REPLY_TEXT ? "\x03" : "\x04", 1);
        sl_strbuf_add(&heard->log, event->text, event->len);
        if (event->kind == SL_REPLY_TEXT)
            sl_strbuf_add(&heard->text, event->text, event->len);
        heard->has_reasoning |= event->kind == SL_REPLY_REASONING;
    }
    heard->last = (int)event->kind;
}

static void done(struct heard *heard)
{
    sl_strbuf_done(&heard->log);
    sl_strbuf_done(&heard->text);
    sl_strbuf_done(&heard->calls);
}

static void run(struct heard *heard, const char *text, size_t len, size_t step, uint8_t choice)
{
    static const char *const tools[] = {"f", "get_weather", "a.b"};
    struct sl_reply_opts opts = {
        .think = (enum sl_reply_think)(choice % 3),
        .calls = (choice & 4) == 0,
        .tools = tools,
        .n_tools = choice & 8 ? 3 : 0,
        .fn = hear,
        .user = heard,
    };
    struct sl_reply *reply = NULL;

    *heard = (struct heard){.last = -1};
    require(sl_reply_new(&reply, &opts) == 0);
    for (size_t i = 0; i < len; i += step)
        require(sl_reply_feed(reply, text + i, step < len - i ? step : len - i) == 0);
    require(sl_reply_end(reply) == 0);
    sl_reply_free(reply);
    sl_strbuf_add(&heard->log, "", 0);
}

static int same(const struct sl_strbuf *a, const struct sl_strbuf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->ptr, b->ptr, a->len) == 0);
}

/* NUL in a string is the one thing that we print and base/json does not read. */
static void check_rendered(struct heard *heard)
{
    struct sl_json_doc *doc = NULL;
    struct heard again;
    char *text = NULL;
    size_t len = 0;

    if (heard->n_calls == 0 || heard->n_calls > SL_TOOLCALL_N_MAX || heard->has_nul)
        return;
    sl_strbuf_add_str(&heard->calls, "]");
    require(sl_json_parse(&doc, heard->calls.ptr, heard->calls.len, NULL) == 0);
    require(sl_toolcall_render(sl_json_root(doc), &text, &len, NULL) == 0);
    run(&again, text, len, len, 0);
    sl_strbuf_add_str(&again.calls, "]");
    require(again.text.len == 0 && same(&heard->calls, &again.calls));
    done(&again);
    free(text);
    sl_json_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct heard whole, parts;
    const char *text;

    if (n == 0)
        return 0;
    text = (const char *)data + 1;
    run(&whole, text, n - 1, n, data[0]);
    run(&parts, text, n - 1, (size_t)(data[0] >> 4) + 1, data[0]);
    require(same(&whole.log, &parts.log));
    if (whole.n_calls == 0 && !whole.has_reasoning && data[0] % 3 == SL_REPLY_THINK_NONE)
        require(whole.text.len == n - 1 &&
                (n == 1 || memcmp(whole.text.ptr, text, n - 1) == 0));
    check_rendered(&whole);
    done(&whole);
    done(&parts);
    return 0;
}
