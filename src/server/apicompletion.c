/*
 * Keys and their order are llama.cpp's; log-probabilities have the form of chats there, and
 * usage is in a stream's last piece whether asked for or not. Ids begin with cmpl-.
 */
#include "server/apicompletion.h"

#include "server/apiformat.h"
#include "server/apijson.h"
#include "server/apioptions.h"
#include "server/apiprompt.h"
#include "server/apiusage.h"
#include "server/sse.h"

#define DONE "data: [DONE]\n\n"

static void parse(struct sl_apiobject *o)
{
    struct sl_genreq *gen = &o->parse->call->gen;
    int64_t n;

    sl_apioptions_read(o);
    sl_apioptions_read_probs(o);
    if (sl_apiobject_i64(o, "logprobs", 0, SL_APIOPTIONS_TOP_MAX, &n)) {
        gen->flags |= SL_GENREQ_LOGPROBS;
        gen->n_top = (uint32_t)n;
    }
    gen->reasoning = SL_GENREASONING_TEXT;
    sl_apiformat_read_grammar(o);
    sl_apiformat_read_response(o, "response_format");
    sl_apiprompt_read(o, "prompt");
    sl_apiformat_finish(o->parse);
}

/* The beginning of a reply or a piece, up to usage. */
static void write_head(struct sl_apiwriter *w, const char *text, size_t len, const char *reason)
{
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_array(&w->w, "choices");
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_text_len(&w->w, "text", text, len);
    sl_apijson_i64(&w->w, "index", 0);
    if (w->call->gen.flags & SL_GENREQ_LOGPROBS && w->tokens.n) {
        sl_apijson_object(&w->w, "logprobs");
        sl_jsonwriter_key(&w->w, "content");
        sl_apitokens_write_probs(&w->tokens, 0, SL_APITOKENS_IDS, &w->w);
        sl_jsonwriter_end_object(&w->w);
    } else {
        sl_apijson_null(&w->w, "logprobs");
    }
    sl_apitokens_clear(&w->tokens);
    sl_apijson_text(&w->w, "finish_reason", reason);
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_array(&w->w);
    sl_apijson_i64(&w->w, "created", sl_apiwriter_created_s(w));
    sl_apijson_text(&w->w, "model", w->env->model);
    sl_apijson_text(&w->w, "system_fingerprint", w->env->fingerprint);
    sl_apijson_text(&w->w, "object", "text_completion");
}

static void write_id(struct sl_apiwriter *w)
{
    char id[SL_GENID_BYTES];

    sl_genid_make(id, &w->id, "cmpl-", 0);
    sl_apijson_text(&w->w, "id", id);
}

static void write_end(struct sl_apiwriter *w, const char *text, size_t len)
{
    bool is_full = w->finish == SL_GENFINISH_LENGTH || w->finish == SL_GENFINISH_CONTEXT;

    write_head(w, text, len, is_full ? "length" : "stop");
    sl_apiusage_write(&w->counts, &w->w);
    write_id(w);
    sl_apiusage_write_timings(&w->counts, &w->w);
    sl_jsonwriter_end_object(&w->w);
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    switch (event->kind) {
    case SL_GENEVENT_TEXT: write_head(w, event->text.ptr, event->text.len, NULL); break;
    case SL_GENEVENT_PROGRESS: write_head(w, "", 0, NULL); break;
    case SL_GENEVENT_FINISH:
        write_end(w, "", 0);
        sl_apiwriter_send_event(w, NULL);
        sl_strbuf_add_str(w->out, DONE);
        return;
    default: return;
    }
    write_id(w);
    if (event->kind == SL_GENEVENT_PROGRESS)
        sl_apiusage_write_progress(event, &w->w);
    else if (w->call->gen.flags & SL_GENREQ_TIMINGS)
        sl_apiusage_write_timings(&w->counts, &w->w);
    sl_jsonwriter_end_object(&w->w);
    sl_apiwriter_send_event(w, NULL);
}

static void tell_all(struct sl_apiwriter *w)
{
    write_end(w, w->text.len ? w->text.ptr : "", w->text.len);
}

static const struct sl_apivoice voice = {
    .stream_type = SL_SSE_TYPE,
    .tell = tell,
    .tell_all = tell_all,
};

static const struct sl_apiendpoint endpoints[] = {
    {
        .method = SL_HTTP_POST,
        .pattern = "/v1/completions",
        .form = SL_APIFORM_OPENAI,
        .work = SL_APIWORK_GENERATE,
        .flags = SL_APIENDPOINT_BODY,
        .parse = parse,
        .voice = &voice,
    },
};

struct sl_apilist sl_apicompletion_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
