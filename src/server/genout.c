/*
 * Three stages: bytes to whole characters (sl_utf8_stream), characters to what is before a
 * stop string (stopscan), and that to text, reasoning and calls (sl_reply). Stop strings are
 * looked for in all that the model says, as llama.cpp does, also in reasoning and calls.
 */
#include "server/genout.h"

#include <errno.h>
#include <stdlib.h>

#include "base/strbuf.h"
#include "server/stopscan.h"
#include "text/reply.h"
#include "text/tokenizer.h"

#define PART_BYTES 256 /* of a piece, at a time */

struct sl_genout {
    const struct sl_genjob *job; /* borrowed */
    sl_genout_fn fn;
    void *arg;
    struct sl_utf8_stream characters;
    struct sl_stopscan stops;
    struct sl_reply *reply;
    struct sl_strbuf shown; /* what the stop strings let through of the piece at hand */
    struct sl_strbuf turn;
    uint32_t n_calls;
    uint32_t word;
    bool is_stopped;
    int error; /* the first that fn returned */
};

static void tell(struct sl_genout *out, struct sl_genevent event)
{
    if (out->error == 0)
        out->error = out->fn(out->arg, &event);
}

static void tell_call(struct sl_genout *out, const struct sl_reply_event *from)
{
    char id[SL_GENID_BYTES];
    struct sl_genevent event = {
        .kind = SL_GENEVENT_CALL_BEGIN,
        .call = {.i_call = from->i_call, .id = id, .name = from->name},
    };

    sl_genid_call(id, &out->job->genid, from->i_call);
    out->n_calls = from->i_call + 1;
    tell(out, event);
    if (from->len)
        tell(out, (struct sl_genevent){.kind = SL_GENEVENT_CALL_ARGUMENTS,
                                       .text = {.ptr = from->text, .len = from->len}});
    event.kind = SL_GENEVENT_CALL_END;
    tell(out, event);
}

static void on_reply(void *arg, const struct sl_reply_event *from)
{
    struct sl_genout *out = arg;

    if (from->kind == SL_REPLY_CALL)
        tell_call(out, from);
    else
        tell(out, (struct sl_genevent){
                      .kind = from->kind == SL_REPLY_TEXT ? SL_GENEVENT_TEXT
                                                          : SL_GENEVENT_REASONING,
                      .text = {.ptr = from->text, .len = from->len}});
}

static enum sl_reply_think reply_think(const struct sl_genjob *job)
{
    if (job->req->reasoning == SL_GENREASONING_TEXT || job->think == SL_GENTHINK_NEVER)
        return SL_REPLY_THINK_NONE;
    return job->think == SL_GENTHINK_OPEN ? SL_REPLY_THINK_OPEN : SL_REPLY_THINK_SPLIT;
}

int sl_genout_new(struct sl_genout **ret_out, const struct sl_genjob *job, sl_genout_fn fn,
                  void *arg)
{
    const struct sl_genreq *req = job->req;
    bool has_calls = req->flags & SL_GENREQ_CALLS;
    struct sl_genout *out = calloc(1, sizeof(*out));
    struct sl_reply_opts opts = {
        .think = reply_think(job),
        .calls = has_calls,
        .tools = (const char *const *)req->tool_names,
        .n_tools = has_calls ? req->n_tool_names : 0,
        .fn = on_reply,
        .user = out,
    };
    int r;

    if (!out)
        return -ENOMEM;
    out->job = job;
    out->fn = fn;
    out->arg = arg;
    r = sl_stopscan_init(&out->stops, req->stops, req->n_stops);
    if (r == 0)
        r = sl_reply_new(&out->reply, &opts);
    if (r == 0 && has_calls && job->turn_begin)
        sl_strbuf_add_str(&out->turn, job->turn_begin);
    r = r == 0 ? out->turn.error : r;
    if (r < 0) {
        sl_genout_free(out);
        return r;
    }
    *ret_out = out;
    return 0;
}

void sl_genout_free(struct sl_genout *out)
{
    if (!out)
        return;
    sl_stopscan_done(&out->stops);
    sl_reply_free(out->reply);
    sl_strbuf_done(&out->shown);
    sl_strbuf_done(&out->turn);
    free(out);
}

/* Hand on what the stop strings have let through. */
static int hand_on(struct sl_genout *out)
{
    int r = out->shown.error;

    if (r < 0 || out->shown.len == 0)
        return r;
    if (out->job->req->flags & SL_GENREQ_CALLS)
        sl_strbuf_add(&out->turn, out->shown.ptr, out->shown.len);
    r = sl_reply_feed(out->reply, out->shown.ptr, out->shown.len);
    sl_strbuf_cut(&out->shown, 0);
    if (r == 0)
        r = out->turn.error;
    return r < 0 ? r : out->error;
}

int sl_genout_feed(struct sl_genout *out, const char *piece, size_t len)
{
    char text[3 * PART_BYTES + 9];
    int stopped = 0;

    while (len && !stopped) {
        size_t part = len < PART_BYTES ? len : PART_BYTES;
        size_t n = sl_utf8_stream_feed(&out->characters, piece, part, text);
        int r;

        piece += part;
        len -= part;
        stopped = sl_stopscan_feed(&out->stops, text, n, &out->shown, &out->word);
        if (stopped < 0)
            return stopped;
        r = hand_on(out);
        if (r < 0)
            return r;
    }
    out->is_stopped = stopped;
    return stopped;
}

int sl_genout_end(struct sl_genout *out)
{
    int r;

    sl_stopscan_end(&out->stops, &out->shown);
    r = hand_on(out);
    if (r == 0)
        r = sl_reply_end(out->reply);
    return r < 0 ? r : out->error;
}

const char *sl_genout_word(const struct sl_genout *out)
{
    return out->is_stopped ? out->stops.words[out->word].text : NULL;
}

void sl_genout_turn(const struct sl_genout *out, const char **ret_text, size_t *ret_len)
{
    *ret_text = out->turn.ptr ? out->turn.ptr : "";
    *ret_len = out->turn.len;
}

uint32_t sl_genout_n_calls(const struct sl_genout *out)
{
    return out->n_calls;
}
