/*
 * A state machine over the bytes that are not yet given out:
 *
 *   BEGIN ----> REASONING ----> AFTER ----> TEXT <----> CALLS
 *     |                           |           ^
 *     +---------------------------+---> BARE -+
 *
 *   BEGIN      nothing but blanks yet: thinking, bare calls, or text
 *   REASONING  up to </think>
 *   AFTER      blanks after it are dropped; then bare calls, or text
 *   TEXT       up to a start marker; held is at most the beginning of one
 *   CALLS      held begins with a start marker; up to an end marker
 *   BARE       calls without a start marker, held up to an end marker or the end; a start
 *              marker makes them text
 *
 * Each step takes something off the front of held, changes the state, or waits for more.
 * seen is how much of held was searched for a marker in vain, so that bytes are searched
 * once however they come.
 */
#include "text/reply.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "text/toolcall.h"

#define THINK_START "<think>"
#define THINK_END "</think>"
#define BLANKS " \t\r\n"
/* Longest beginning that is looked at to tell bare calls and thinking from text. */
#define BEGIN_BYTES_MAX 512

enum state { BEGIN, REASONING, AFTER, TEXT, CALLS, BARE };

struct sl_reply {
    struct sl_reply_opts opts;
    enum state state;
    struct sl_strbuf held; /* from front on */
    size_t front;
    size_t seen;
    uint32_t n_calls;
    int error;
};

static const char *held(const struct sl_reply *reply)
{
    return reply->held.ptr + reply->front;
}

static size_t held_len(const struct sl_reply *reply)
{
    return reply->held.len - reply->front;
}

static void drop(struct sl_reply *reply, size_t len)
{
    reply->front += len;
    reply->seen = 0;
}

/* Give out the first len held bytes. */
static void give(struct sl_reply *reply, enum sl_reply_kind kind, size_t len)
{
    struct sl_reply_event event = {.kind = kind, .text = held(reply), .len = len};

    if (len)
        reply->opts.fn(reply->opts.user, &event);
    drop(reply, len);
}

static void give_calls(struct sl_reply *reply, const struct sl_toolcalls *calls)
{
    for (size_t i = 0; i < calls->n; i++) {
        struct sl_reply_event event = {
            .kind = SL_REPLY_CALL,
            .i_call = reply->n_calls++,
            .name = calls->calls[i].name,
            .text = calls->calls[i].arguments,
            .len = calls->calls[i].arguments_len,
        };

        reply->opts.fn(reply->opts.user, &event);
    }
}

static bool is_tool(const struct sl_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->opts.n_tools; i++)
        if (!strcmp(reply->opts.tools[i], name))
            return true;
    return false;
}

/* Bare calls must be of known tools, all of them. */
static bool is_allowed(const struct sl_reply *reply, const struct sl_toolcalls *calls)
{
    for (size_t i = 0; reply->state == BARE && i < calls->n; i++)
        if (!is_tool(reply, calls->calls[i].name))
            return false;
    return true;
}

/* Parse [from, to) of what is held; then [0, end) is done with, as calls or as text. */
static int give_list(struct sl_reply *reply, size_t from, size_t to, size_t end)
{
    struct sl_toolcalls calls = {0};
    int r = sl_toolcall_parse(&calls, held(reply) + from, to - from);

    if (r == -ENOMEM)
        return r;
    if (r == 0 && is_allowed(reply, &calls)) {
        give_calls(reply, &calls);
        drop(reply, end);
    } else {
        give(reply, SL_REPLY_TEXT, end);
    }
    sl_toolcall_done(&calls);
    return 0;
}

/* Bytes at the end of text that begin a marker, or a character, that is not whole. */
static size_t unfinished(const char *text, size_t len, const char *marker)
{
    size_t n = strlen(marker) - 1;

    for (n = n < len ? n : len; n > 0; n--)
        if (memcmp(text + len - n, marker, n) == 0)
            return n;
    for (n = 1; n <= 3 && n <= len; n++) {
        unsigned char c = (unsigned char)text[len - n];

        if (c >= 0xC0)
            return n < (c >= 0xF0 ? 4u : c >= 0xE0 ? 3u : 2u) ? n : 0;
        if (c < 0x80)
            return 0;
    }
    return 0;
}

static bool is_at(const char *text, size_t len, const char *marker)
{
    return len >= strlen(marker) && memcmp(text, marker, strlen(marker)) == 0;
}

/*
 * The nearer of the two markers of a list in what is held, from seen or from least on,
 * or NULL; seen then moves to where the next search begins.
 */
static const char *find_list_marker(struct sl_reply *reply, size_t least, bool *ret_is_end)
{
    const size_t longest = strlen(SL_TOOLCALL_START);
    size_t from = reply->seen > least ? reply->seen : least;
    size_t len = held_len(reply);
    const char *end = held(reply) + len;

    for (const char *p = held(reply) + from; (p = memchr(p, '<', (size_t)(end - p))); p++) {
        size_t left = (size_t)(end - p);

        *ret_is_end = is_at(p, left, SL_TOOLCALL_END);
        if (*ret_is_end || is_at(p, left, SL_TOOLCALL_START))
            return p;
    }
    reply->seen = len > least + longest ? len - longest : least;
    return NULL;
}

/*
 * Give out what is certainly not the marker, as kind. True when the marker has been
 * found: it is then the first thing held.
 */
static bool run_to(struct sl_reply *reply, enum sl_reply_kind kind, const char *marker)
{
    size_t len = held_len(reply);
    const char *found = memmem(held(reply), len, marker, strlen(marker));

    give(reply, kind, found ? (size_t)(found - held(reply))
                            : len - unfinished(held(reply), len, marker));
    return found != NULL;
}

enum match { MATCH_NO, MATCH_YES, MATCH_MORE };

/* A cursor over a beginning. */
struct begin {
    const char *text;
    size_t len;
};

static enum match match_word(struct begin *b, const char *word)
{
    size_t n = strlen(word), most = n < b->len ? n : b->len;

    if (memcmp(b->text, word, most) != 0)
        return MATCH_NO;
    if (most < n)
        return MATCH_MORE;
    b->text += n;
    b->len -= n;
    return MATCH_YES;
}

static void skip_blanks(struct begin *b)
{
    while (b->len && b->text[0] != '\0' && strchr(BLANKS, b->text[0])) {
        b->text++;
        b->len--;
    }
}

/* The name of a tool and then the byte that ends it. */
static enum match match_tool(const struct sl_reply *reply, struct begin b, const char *end)
{
    enum match best = MATCH_NO;

    for (size_t i = 0; i < reply->opts.n_tools; i++) {
        struct begin at = b;
        enum match match = match_word(&at, reply->opts.tools[i]);

        if (match == MATCH_YES)
            match = match_word(&at, end);
        if (match == MATCH_YES)
            return match;
        best = match == MATCH_MORE ? match : best;
    }
    return best;
}

/* Whether b begins as calls of known tools do: [name( or {"name": "name", in a list or not. */
static enum match match_bare(const struct sl_reply *reply, struct begin b)
{
    static const char *const words[] = {"{", "\"name\"", ":", "\""};
    enum match match = match_word(&b, "[");
    bool list = match == MATCH_YES;

    skip_blanks(&b);
    if (b.len == 0)
        return MATCH_MORE;
    if (b.text[0] != '{')
        return list ? match_tool(reply, b, "(") : MATCH_NO;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        skip_blanks(&b);
        match = match_word(&b, words[i]);
        if (match != MATCH_YES)
            return match;
    }
    return match_tool(reply, b, "\"");
}

/* BEGIN and AFTER, decided by the first bytes alone. True when the state has changed. */
static bool begin_step(struct sl_reply *reply)
{
    bool thinks = reply->state == BEGIN && reply->opts.think == SL_REPLY_THINK_SPLIT;
    struct begin b = {held(reply), held_len(reply)};
    enum match think = MATCH_NO, bare = MATCH_NO;
    size_t len;

    if (reply->state == AFTER) {
        skip_blanks(&b);
        drop(reply, held_len(reply) - b.len);
    }
    len = b.len = b.len < BEGIN_BYTES_MAX ? b.len : BEGIN_BYTES_MAX;
    skip_blanks(&b);
    if (thinks) {
        struct begin at = b;

        think = match_word(&at, THINK_START);
        if (think == MATCH_YES) {
            drop(reply, len - at.len);
            reply->state = REASONING;
            return true;
        }
    }
    if (reply->opts.calls && reply->opts.n_tools)
        bare = match_bare(reply, b);
    if (bare == MATCH_YES)
        reply->state = BARE;
    else if (len == BEGIN_BYTES_MAX || (think == MATCH_NO && bare == MATCH_NO && b.len))
        reply->state = TEXT;
    else
        return false;
    return true;
}

static bool text_step(struct sl_reply *reply)
{
    if (!reply->opts.calls) {
        give(reply, SL_REPLY_TEXT,
             held_len(reply) - unfinished(held(reply), held_len(reply), "<"));
        return false;
    }
    if (!run_to(reply, SL_REPLY_TEXT, SL_TOOLCALL_START))
        return false;
    reply->state = CALLS;
    return true;
}

/* True when there is more to do. */
static bool calls_step(struct sl_reply *reply)
{
    const size_t n_start = strlen(SL_TOOLCALL_START), n_end = strlen(SL_TOOLCALL_END);
    bool is_end;
    const char *marker = find_list_marker(reply, n_start, &is_end);
    size_t to = marker ? (size_t)(marker - held(reply)) : held_len(reply);

    if (to + (marker ? n_end : 0) > SL_REPLY_HELD_BYTES_MAX) {
        give(reply, SL_REPLY_TEXT, n_start); /* which begins nothing, then */
        reply->state = TEXT;
    } else if (!marker) {
        return false;
    } else if (is_end) {
        reply->error = give_list(reply, n_start, to, to + n_end);
        reply->state = TEXT;
    } else {
        give(reply, SL_REPLY_TEXT, to);
    }
    return true;
}

static bool bare_step(struct sl_reply *reply)
{
    bool is_end;
    const char *marker = find_list_marker(reply, 0, &is_end);
    size_t to = marker ? (size_t)(marker - held(reply)) : held_len(reply);

    if (to > SL_REPLY_HELD_BYTES_MAX || (marker && !is_end))
        reply->seen = 0; /* no list: text, from the beginning */
    else if (marker)
        reply->error = give_list(reply, 0, to, to + strlen(SL_TOOLCALL_END));
    else
        return false;
    reply->state = TEXT;
    return true;
}

static bool step(struct sl_reply *reply)
{
    switch (reply->state) {
    case BEGIN:
    case AFTER: return begin_step(reply);
    case REASONING:
        if (!run_to(reply, SL_REPLY_REASONING, THINK_END))
            return false;
        drop(reply, strlen(THINK_END));
        reply->state = AFTER;
        return true;
    case TEXT: return text_step(reply);
    case CALLS: return calls_step(reply);
    case BARE: return bare_step(reply);
    }
    return false;
}

int sl_reply_new(struct sl_reply **ret_reply, const struct sl_reply_opts *opts)
{
    struct sl_reply *reply = calloc(1, sizeof(*reply));

    assert(opts->fn);
    if (!reply)
        return -ENOMEM;
    reply->opts = *opts;
    reply->state = opts->think == SL_REPLY_THINK_OPEN ? REASONING : BEGIN;
    *ret_reply = reply;
    return 0;
}

void sl_reply_free(struct sl_reply *reply)
{
    if (!reply)
        return;
    sl_strbuf_done(&reply->held);
    free(reply);
}

int sl_reply_feed(struct sl_reply *reply, const char *text, size_t len)
{
    size_t n;

    if (reply->error)
        return reply->error;
    sl_strbuf_add(&reply->held, text, len);
    reply->error = reply->held.error;
    while (reply->error == 0 && step(reply))
        ;
    if (reply->error)
        return reply->error;
    n = held_len(reply);
    if (reply->front && n)
        memmove(reply->held.ptr, held(reply), n);
    sl_strbuf_cut(&reply->held, n);
    reply->front = 0;
    return 0;
}

int sl_reply_end(struct sl_reply *reply)
{
    size_t n_start = reply->state == CALLS ? strlen(SL_TOOLCALL_START) : 0;
    size_t len = held_len(reply);

    if (reply->error || len == 0)
        return reply->error;
    if (reply->state == CALLS || reply->state == BARE)
        reply->error = give_list(reply, n_start, len, len);
    else
        give(reply, reply->state == REASONING ? SL_REPLY_REASONING : SL_REPLY_TEXT, len);
    return reply->error;
}
