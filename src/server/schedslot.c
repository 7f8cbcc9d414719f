/*
 * A grammar is for what comes after thinking. Where the prompt opens the thinking, it is set
 * behind </think>. Where the model may think or not, its first token is drawn without the
 * grammar: if that is <think>, it stands; if not, it is drawn again from the same logits with
 * the grammar set. A first token that only begins <think>, in vocabularies where it is none by
 * itself, stands too, and a grammar of the rest sees to it that the marker becomes whole. What
 * the last token of </think> has behind it is not told: no grammar has seen it.
 */
#include "server/schedslot.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "server/tokenprob.h"

#define TOP_MAX 128

static double ms_between(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns && to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-6 : 0;
}

/* Events that nobody takes end the request. */
static int tell(struct sl_schedslot *slot, struct sl_genevent *event)
{
    int r;

    if (slot->is_over)
        return -ECANCELED;
    slot->counts.total_ms = ms_between(slot->job->came_ns, sl_clock_ns());
    event->counts = slot->counts;
    r = slot->sink->event(slot->sink->arg, slot->job, event);
    if (r < 0)
        slot->is_over = true;
    return r < 0 ? -ECANCELED : 0;
}

static int on_out(void *arg, struct sl_genevent *event)
{
    return tell(arg, event);
}

void sl_schedslot_refuse(const struct sl_sched_sink *sink, struct sl_genjob *job,
                         const struct sl_apierror *error)
{
    struct sl_genevent event = {.kind = SL_GENEVENT_ERROR, .error = error};

    event.counts.n_prompt_tok = job->n_tokens;
    event.counts.total_ms = ms_between(job->came_ns, sl_clock_ns());
    /* the last of its events: whether anybody listens does not matter */
    if (sink->event(sink->arg, job, &event) == 0)
        (void)sink->flush(sink->arg, job);
}

void sl_schedslot_fail(struct sl_schedslot *slot, int code, const char *text)
{
    struct sl_genevent event = {.kind = SL_GENEVENT_ERROR};
    struct sl_apierror error = {0};
    struct sl_diag diag = {""};

    (void)sl_diag_set(&diag, code, "%s", text && *text ? text : sl_err_text(code));
    (void)sl_apierror_set_code(&error, code, NULL, &diag); /* code is known */
    event.error = &error;
    (void)tell(slot, &event); /* it is over either way */
    sl_schedslot_flush(slot);
    slot->has_failed = slot->is_over = true;
}

/* The sampler after the prompt. */
static int open_sampler(struct sl_schedslot *slot, struct sl_diag *diag)
{
    const struct sl_enginefn *engine = slot->engine;
    const struct sl_genjob *job = slot->job;
    struct sluice_sampler_opts opts = job->req->sampling;
    struct sluice_error *error = (struct sluice_error *)diag;
    int r;

    opts.seed = job->seed;
    opts.bias = job->bias;
    opts.n_bias = job->n_bias;
    r = engine->sampler_new(engine->arg, &slot->sampler, &opts, error);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < job->n_tokens; i++)
        engine->sampler_accept(engine->arg, slot->sampler, job->tokens[i]);
    slot->wants_grammar = job->grammar && job->think != SL_GENTHINK_NEVER;
    if (slot->wants_grammar || !job->grammar)
        return 0;
    r = engine->sampler_use_grammar(engine->arg, slot->sampler, job->grammar);
    return r < 0 ? sl_diag_set(diag, r, "the grammar cannot be used: %s", sl_err_text(r)) : 0;
}

int sl_schedslot_open(struct sl_schedslot *slot, struct sl_genjob *job, uint64_t order)
{
    static const enum sl_thinkscan_state states[] = {
        [SL_GENTHINK_NEVER] = SL_THINKSCAN_SAYS,
        [SL_GENTHINK_MAY] = SL_THINKSCAN_BEGINS,
        [SL_GENTHINK_OPEN] = SL_THINKSCAN_THINKS,
    };
    struct sl_diag diag = {""};
    struct sl_apierror error = {0};
    int r;

    assert(!slot->job && job->n_tokens > 0 && job->n_tokens <= slot->engine->opts.n_ctx);
    slot->job = job;
    slot->seq = -1;
    slot->order = order;
    slot->n_tokens = job->n_tokens;
    slot->n_past = slot->n_told = 0;
    slot->has_started = slot->is_suspect = slot->wants_grammar = false;
    slot->has_failed = slot->is_over = false;
    slot->think = (struct sl_thinkscan){.state = states[job->think]};
    slot->counts = (struct sl_gencounts){.n_prompt_tok = job->n_tokens};
    slot->start_ns = slot->first_ns = 0;
    memcpy(slot->tokens, job->tokens, job->n_tokens * sizeof(*slot->tokens));
    r = sl_genout_new(&slot->out, job, on_out, slot);
    if (r < 0)
        (void)sl_diag_set(&diag, r, "not enough memory for a request");
    else
        r = open_sampler(slot, &diag);
    if (r < 0) {
        (void)sl_apierror_set_code(&error, r, NULL, &diag); /* code is known */
        sl_schedslot_refuse(slot->sink, job, &error);
        sl_schedslot_close(slot);
    }
    return r;
}

void sl_schedslot_close(struct sl_schedslot *slot)
{
    slot->engine->sampler_free(slot->engine->arg, slot->sampler);
    sl_genout_free(slot->out);
    slot->sampler = NULL;
    slot->out = NULL;
    slot->job = NULL;
    slot->seq = -1;
}

void sl_schedslot_start(struct sl_schedslot *slot, uint32_t n_cached)
{
    struct sl_genevent event = {
        .kind = SL_GENEVENT_START,
        .start = {.slot = slot->index,
                  .seed = slot->job->seed,
                  .prompt = slot->job->prompt_text ? slot->job->prompt_text : "",
                  .prompt_len = slot->job->prompt_text_len},
    };

    slot->n_past = n_cached;
    if (slot->has_started)
        return;
    slot->has_started = true;
    slot->start_ns = sl_clock_ns();
    slot->counts.n_cached_tok = n_cached;
    if (tell(slot, &event) < 0)
        return;
    slot->n_told = UINT32_MAX; /* nothing, not even that nothing was computed */
    sl_schedslot_progress(slot);
}

void sl_schedslot_progress(struct sl_schedslot *slot)
{
    uint32_t n = slot->n_past < slot->job->n_tokens ? slot->n_past : slot->job->n_tokens;
    struct sl_genevent event = {
        .kind = SL_GENEVENT_PROGRESS,
        .progress = {.total = slot->job->n_tokens, .cached = slot->counts.n_cached_tok,
                     .processed = n},
    };

    if (slot->first_ns || (slot->n_told != UINT32_MAX && n <= slot->n_told))
        return; /* it speaks already, or what was set aside is computed again */
    slot->n_told = n;
    slot->counts.prompt_ms = ms_between(slot->start_ns, sl_clock_ns());
    event.progress.ms = slot->counts.prompt_ms;
    if (slot->job->req->flags & SL_GENREQ_PROGRESS)
        (void)tell(slot, &event); /* is_over says what became of it */
}

void sl_schedslot_flush(struct sl_schedslot *slot)
{
    if (!slot->is_over && slot->sink->flush(slot->sink->arg, slot->job) < 0)
        slot->is_over = true;
}

static void finish(struct sl_schedslot *slot, enum sl_genfinish reason)
{
    struct sl_genevent event = {.kind = SL_GENEVENT_FINISH, .finish = {.reason = reason}};
    int r = sl_genout_end(slot->out);
    const char *turn;
    size_t turn_len;

    event.finish.word = sl_genout_word(slot->out);
    if (r < 0 && r != -ECANCELED) {
        sl_schedslot_fail(slot, r, NULL);
        return;
    }
    if (sl_genout_n_calls(slot->out)) {
        sl_genout_turn(slot->out, &turn, &turn_len);
        slot->sink->turn(slot->sink->arg, slot->job, sl_genout_n_calls(slot->out), turn,
                         turn_len);
    }
    if (tell(slot, &event) == 0)
        sl_schedslot_flush(slot);
    slot->is_over = true;
}

static struct sl_genprob prob_of(const struct sl_schedslot *slot, int32_t id, float logprob)
{
    struct sl_genprob prob = {.token = id, .logprob = logprob, .piece = ""};
    int len = slot->engine->piece(slot->engine->arg, id, true, &prob.piece);

    prob.len = len > 0 ? (size_t)len : 0;
    return prob;
}

static int tell_token(struct sl_schedslot *slot, int32_t id, const float *logits)
{
    const struct sl_genreq *req = slot->job->req;
    uint32_t n_top = req->n_top < TOP_MAX ? req->n_top : TOP_MAX;
    struct sl_tokenprob top[TOP_MAX];
    struct sl_genprob probs[TOP_MAX];
    struct sl_genevent event = {.kind = SL_GENEVENT_TOKEN};
    float logprob = 0;

    if (!(req->flags & (SL_GENREQ_TOKENS | SL_GENREQ_LOGPROBS)))
        return 0;
    if (req->flags & SL_GENREQ_LOGPROBS)
        event.token.n_top =
            sl_tokenprob_get(logits, slot->engine->n_vocab, id, n_top, &logprob, top);
    for (uint32_t i = 0; i < event.token.n_top; i++)
        probs[i] = prob_of(slot, top[i].token, top[i].logprob);
    event.token.chosen = prob_of(slot, id, logprob);
    event.token.top = probs;
    return tell(slot, &event);
}

/* What a token adds to the reply's text: of special ones, only what sl_reply knows. */
static size_t text_of(const struct sl_schedslot *slot, int32_t id, const char **ret_text)
{
    static const char *const markers[] = {"<think>", "</think>", "<|tool_call_start|>",
                                          "<|tool_call_end|>"};
    const struct sl_enginefn *engine = slot->engine;
    int len = engine->piece(engine->arg, id, false, ret_text);

    if (len != 0)
        return len > 0 ? (size_t)len : 0;
    len = engine->piece(engine->arg, id, true, ret_text);
    for (size_t i = 0; len > 0 && i < sizeof(markers) / sizeof(markers[0]); i++)
        if (strlen(markers[i]) == (size_t)len && memcmp(markers[i], *ret_text, (size_t)len) == 0)
            return (size_t)len;
    return 0;
}

static int use_grammar(struct sl_schedslot *slot, struct sluice_grammar *grammar)
{
    return slot->engine->sampler_use_grammar(slot->engine->arg, slot->sampler, grammar);
}

/* Have the reply go on with the rest of <think>, which is not empty. */
static int force_rest(struct sl_schedslot *slot, const char *rest)
{
    char gbnf[32];
    int len = snprintf(gbnf, sizeof(gbnf), "root ::= \"%s\"", rest);

    return slot->engine->sampler_set_grammar(slot->engine->arg, slot->sampler, gbnf, (size_t)len,
                                             NULL);
}

static int32_t draw(struct sl_schedslot *slot, const float *logits)
{
    const struct sl_enginefn *engine = slot->engine;
    int32_t id = engine->sampler_sample(engine->arg, slot->sampler, logits);
    const char *text, *rest = NULL;
    int r;

    if (id < 0 || !slot->wants_grammar || slot->think.state == SL_THINKSCAN_THINKS)
        return id;
    if (slot->think.state == SL_THINKSCAN_BEGINS) {
        size_t len = text_of(slot, id, &text);

        rest = sl_thinkscan_rest(&slot->think, text, len);
    }
    if (rest) { /* the marker is forced once; what follows then fits */
        r = *rest && slot->think.n_matched == 0 ? force_rest(slot, rest) : 0;
        return r < 0 ? r : id;
    }
    slot->wants_grammar = false;
    r = use_grammar(slot, slot->job->grammar);
    return r < 0 ? r : engine->sampler_sample(engine->arg, slot->sampler, logits);
}

static void count_token(struct sl_schedslot *slot)
{
    uint64_t now_ns = sl_clock_ns();

    if (slot->first_ns == 0) {
        slot->first_ns = now_ns;
        slot->counts.prompt_ms = ms_between(slot->start_ns, now_ns);
    }
    slot->counts.predicted_ms = ms_between(slot->first_ns, now_ns);
    slot->counts.n_predicted_tok++;
}

/*
 * The text of a token that was drawn: does it begin or end the thinking? Returns how much of
 * it counts. A grammar that forced <think> is taken away behind it.
 */
static int64_t follow_thinking(struct sl_schedslot *slot, const char *text, size_t len)
{
    enum sl_thinkscan_state before = slot->think.state;
    size_t used = sl_thinkscan_feed(&slot->think, text, len);
    bool thinks = slot->think.state == SL_THINKSCAN_THINKS;
    int r = 0;

    slot->counts.n_reasoning_tok += thinks || before == SL_THINKSCAN_THINKS;
    if (thinks && before == SL_THINKSCAN_BEGINS && slot->wants_grammar)
        r = use_grammar(slot, NULL);
    return r < 0 ? r : slot->wants_grammar ? (int64_t)used : (int64_t)len;
}

/* What went wrong when a token was drawn, in words. */
static const char *draw_error(int32_t code)
{
    return code == -E2BIG    ? "the grammar is too ambiguous to go on"
           : code == -EBADMSG ? "no token goes on as the grammar wants"
                              : NULL;
}

static void say(struct sl_schedslot *slot, int32_t id, const float *logits)
{
    const struct sl_genjob *job = slot->job;
    int64_t most = job->req->n_predict_max;
    const char *text;
    int64_t len;
    int r;

    slot->engine->sampler_accept(slot->engine->arg, slot->sampler, id);
    count_token(slot);
    if (slot->engine->is_eog(slot->engine->arg, id)) {
        finish(slot, SL_GENFINISH_EOS);
        return;
    }
    r = tell_token(slot, id, logits);
    len = (int64_t)text_of(slot, id, &text);
    len = follow_thinking(slot, text, (size_t)len);
    if (r == 0)
        r = len < 0 ? (int)len : sl_genout_feed(slot->out, text, (size_t)len);
    if (r < 0 && r != -ECANCELED)
        sl_schedslot_fail(slot, r, NULL);
    else if (r > 0)
        finish(slot, SL_GENFINISH_WORD);
    else if (r == 0 && most >= 0 && slot->counts.n_predicted_tok >= most)
        finish(slot, SL_GENFINISH_LENGTH);
    else if (r == 0 && slot->n_tokens == slot->engine->opts.n_ctx)
        finish(slot, SL_GENFINISH_CONTEXT);
    else if (r == 0)
        slot->tokens[slot->n_tokens++] = id;
}

void sl_schedslot_speak(struct sl_schedslot *slot, const float *logits)
{
    int32_t id;

    assert(slot->n_past == slot->n_tokens);
    sl_schedslot_progress(slot);
    if (slot->is_over)
        return;
    if (slot->job->req->n_predict_max == 0) {
        finish(slot, SL_GENFINISH_LENGTH);
        return;
    }
    id = draw(slot, logits);
    if (id < 0)
        sl_schedslot_fail(slot, id, draw_error(id));
    else
        say(slot, id, logits);
}
