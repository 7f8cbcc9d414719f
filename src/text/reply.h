/*
 * A model's reply as it streams, split into text, reasoning and tool calls. Pure, no
 * I/O; one thread at a time per reply.
 *
 * The reply is fed as text, special tokens included: <|tool_call_start|> and
 * <|tool_call_end|> are single tokens whose pieces are just that text, so ids are not
 * needed. The end-of-turn token is the caller's to stop at. Wherever a marker's text
 * stands it is taken for the marker; an argument that spells one makes its call text.
 *
 * What comes out, in order, is the reply again: text between calls to the byte, also
 * calls that cannot be parsed, with their markers. Only the markers of what was split
 * off are missing, and blanks before <think> and after </think>.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_REPLY_HELD_BYTES_MAX ((size_t)4 << 20) /* of a call list; a longer one is text */

enum sl_reply_kind {
    SL_REPLY_TEXT = 0,
    SL_REPLY_REASONING,
    SL_REPLY_CALL,
};

/*
 * A call comes in one event when its list is complete, not piece by piece: until then it
 * may turn out to be no call, and nothing that was sent can be taken back. An API that
 * streams arguments cuts the JSON text as it likes. Pieces of text and reasoning are
 * never empty, and hold whole characters if the reply is UTF-8.
 */
struct sl_reply_event {
    enum sl_reply_kind kind;
    uint32_t i_call;  /* of a call: 0, 1, ... in the whole reply */
    const char *name; /* of a call, terminated; else NULL */
    const char *text; /* the piece; of a call its arguments, an object as JSON text */
    size_t len;
};

/* Called while a reply is fed or ended; what event points to lasts for the call. */
typedef void (*sl_reply_fn)(void *user, const struct sl_reply_event *event);

enum sl_reply_think {
    SL_REPLY_THINK_NONE = 0, /* <think> is text */
    SL_REPLY_THINK_SPLIT,    /* a reply that begins with <think> has reasoning */
    SL_REPLY_THINK_OPEN,     /* the prompt ended in <think>: the reply begins within it */
};

struct sl_reply_opts {
    enum sl_reply_think think;
    bool calls; /* split off tool calls; else their markers are text */
    /*
     * Tools of the request, borrowed, for models that forget the markers: a reply whose
     * text begins with "[name(" or with a JSON object "name" of one of them is held to
     * its end, and is calls if all of it can be parsed. None: n_tools 0.
     */
    const char *const *tools;
    size_t n_tools;
    sl_reply_fn fn;
    void *user; /* passed to fn */
};

struct sl_reply;

/* 0 or -ENOMEM. */
int sl_reply_new(struct sl_reply **ret_reply, const struct sl_reply_opts *opts);
void sl_reply_free(struct sl_reply *reply); /* NULL is allowed */

/*
 * Feed the next bytes, cut anywhere. 0 or -ENOMEM: the reply is then broken, and every
 * further call says so.
 */
int sl_reply_feed(struct sl_reply *reply, const char *text, size_t len);

/*
 * The reply is over, at its end or cut by a limit: what was held comes out. A list of
 * calls that lacks only its end marker is calls, an unfinished one is text, unfinished
 * thinking is reasoning. 0 or -ENOMEM. Nothing may be fed afterwards.
 */
int sl_reply_end(struct sl_reply *reply);
