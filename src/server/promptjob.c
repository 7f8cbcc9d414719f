/*
 * Whether a reply thinks is told by the end of the prompt: what stands behind the opening of
 * the assistant's turn. Where messages end is told by the tokens that begin them: the end of
 * the first, which is the system's if there is one, and of the last but the one that is to
 * be said.
 */
#include "server/promptjob.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "text/vector.h"

#define OPENING "<|im_start|>assistant"

/* A job in the making. */
struct making {
    struct sl_genjob *job;
    const struct sl_genreq *req;
    const struct sl_textmodel *text;
    struct sl_apierror *error;
    uint32_t tokens_cap, bias_cap;
};

void sl_promptjob_free(struct sl_genjob *job)
{
    if (!job)
        return;
    free(job->tokens);
    free(job->prompt_text);
    free(job->turn_begin);
    free(job->bias);
    sluice_grammar_unref(job->grammar);
    free(job);
}

static int fail(struct making *m, int code, const char *what)
{
    struct sl_diag diag;

    (void)sl_diag_set(&diag, code, "%s: %s", what, sl_err_text(code));
    return sl_apierror_set_code(m->error, code, NULL, &diag);
}

static int add_tokens(struct making *m, const int32_t *ids, size_t n)
{
    struct sl_genjob *job = m->job;

    if (n > INT32_MAX - job->n_tokens)
        return fail(m, -E2BIG, "the prompt cannot be tokenised");
    if (sl_vector_grow(&job->tokens, &m->tokens_cap, job->n_tokens, (uint32_t)n) < 0)
        return fail(m, -ENOMEM, "the prompt cannot be tokenised");
    if (n)
        memcpy(job->tokens + job->n_tokens, ids, n * sizeof(*ids));
    job->n_tokens += (uint32_t)n;
    return 0;
}

static int add_text(struct making *m, const char *bytes, size_t len, uint32_t flags)
{
    int32_t *ids;
    int64_t n = sl_textmodel_tokenize(m->text, bytes, len, flags, &ids);
    int r;

    if (n < 0)
        return fail(m, (int)n, "the prompt cannot be tokenised");
    r = add_tokens(m, ids, (size_t)n);
    free(ids);
    return r;
}

static int check_token(struct making *m, int32_t id, const char *param)
{
    if (id >= 0 && (uint32_t)id < m->text->n_vocab)
        return 0;
    return sl_apierror_set(m->error, -ERANGE, 400, param,
                           "token %" PRId32 " is outside the vocabulary of %" PRIu32, id,
                           m->text->n_vocab);
}

static int add_part(struct making *m, const struct sl_genpart *part, bool is_first)
{
    if (part->text)
        return add_text(m, part->text, part->len,
                        SLUICE_TOKENIZE_SPECIAL | (is_first ? SLUICE_TOKENIZE_BOS : 0));
    for (size_t i = 0; i < part->n_tokens; i++) {
        int r = check_token(m, part->tokens[i], "prompt");

        if (r < 0)
            return r;
    }
    return add_tokens(m, part->tokens, part->n_tokens);
}

/* What stands behind the last opening of the assistant's turn, or NULL. */
static const char *find_turn(const char *prompt)
{
    const char *at = NULL, *next = prompt;

    while ((next = strstr(next, OPENING)) != NULL)
        at = next += strlen(OPENING);
    return at && *at == '\n' ? at + 1 : at;
}

/* The assistant's turn begins so, or does not (NULL): does the reply begin with thinking? */
static enum sl_genthink think_of(const char *turn, bool has_thinking)
{
    const char *open = NULL, *next = turn;

    if (!turn)
        return SL_GENTHINK_NEVER;
    for (; (next = strstr(next, "<think>")) != NULL; next++)
        open = next;
    if (open && !strstr(open, "</think>"))
        return SL_GENTHINK_OPEN;
    if (turn[strspn(turn, " \t\r\n")])
        return SL_GENTHINK_NEVER;
    return has_thinking ? SL_GENTHINK_MAY : SL_GENTHINK_NEVER;
}

static int set_turn(struct making *m, const char *prompt, bool has_thinking)
{
    const char *turn = find_turn(prompt);

    m->job->think = think_of(turn, has_thinking);
    free(m->job->turn_begin);
    m->job->turn_begin = turn && *turn ? strdup(turn) : NULL;
    return turn && *turn && !m->job->turn_begin ? fail(m, -ENOMEM, "a request") : 0;
}

static int make_chat(struct making *m, const struct sl_apienv *env,
                     const struct sl_genchat_recall *recall)
{
    struct sl_diag diag = {""};
    char *prompt;
    size_t len;
    int r = sl_genchat_render(m->req, env, &m->text->fn, recall, &prompt, &len, &diag);

    if (r < 0)
        return sl_apierror_set_code(m->error, r, NULL, &diag);
    r = set_turn(m, prompt, env->has_thinking);
    if (r == 0)
        r = add_text(m, prompt, len, SLUICE_TOKENIZE_SPECIAL);
    free(prompt);
    return r;
}

static int make_prompt(struct making *m, const struct sl_apienv *env,
                       const struct sl_genchat_recall *recall)
{
    if (m->req->input == SL_GENINPUT_CHAT)
        return make_chat(m, env, recall);
    for (size_t i = 0; i < m->req->n_parts; i++) {
        int r = add_part(m, &m->req->parts[i], i == 0);

        if (r == 0 && m->req->parts[i].text)
            r = set_turn(m, m->req->parts[i].text, env->has_thinking);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_bias(struct making *m, int32_t token, float bias)
{
    struct sl_genjob *job = m->job;

    if (sl_vector_grow(&job->bias, &m->bias_cap, job->n_bias, 1) < 0)
        return fail(m, -ENOMEM, "logit_bias");
    job->bias[job->n_bias++] = (struct sluice_logit_bias){.token = token, .bias = bias};
    return 0;
}

static int add_text_bias(struct making *m, const struct sl_genbias *bias)
{
    int32_t *ids;
    int64_t n = sl_textmodel_tokenize(m->text, bias->text, strlen(bias->text), 0, &ids);
    int r = 0;

    if (n < 0)
        return fail(m, (int)n, "logit_bias");
    for (int64_t i = 0; i < n && r == 0; i++)
        r = add_bias(m, ids[i], bias->bias);
    free(ids);
    return r;
}

static int make_bias(struct making *m)
{
    int r = 0;

    for (size_t i = 0; i < m->req->n_biases && r == 0; i++) {
        const struct sl_genbias *bias = &m->req->biases[i];

        if (bias->text) {
            r = add_text_bias(m, bias);
            continue;
        }
        r = check_token(m, bias->token, "logit_bias");
        if (r == 0)
            r = add_bias(m, bias->token, bias->bias);
    }
    for (uint32_t i = 0; m->req->flags & SL_GENREQ_IGNORE_EOS && i < m->text->n_eog && r == 0; i++)
        r = add_bias(m, m->text->eog[i], -INFINITY);
    return r;
}

/* Where messages begin, but for the first and the last. */
static void make_marks(struct making *m)
{
    struct sl_genjob *job = m->job;
    uint32_t n = 0, first = 0, before_last = 0, last = 0;

    for (uint32_t i = 0; i < job->n_tokens && m->text->message_begin >= 0; i++) {
        if (job->tokens[i] != m->text->message_begin)
            continue;
        if (n++ == 1)
            first = i;
        before_last = last;
        last = i;
    }
    if (n < 3)
        return;
    job->marks[job->n_marks++] = first;
    if (before_last > first)
        job->marks[job->n_marks++] = before_last;
}

static int make_text(struct making *m)
{
    const struct sl_apitext *fn = &m->text->fn;
    struct sl_genjob *job = m->job;
    struct sl_strbuf buf = {0};
    int r;

    if (!(m->req->flags & SL_GENREQ_PROMPT_TEXT))
        return 0;
    for (uint32_t i = 0; i < job->n_tokens; i++) {
        const char *piece;
        int len = fn->piece(fn->arg, job->tokens[i], &piece);

        sl_strbuf_add(&buf, piece, len > 0 ? (size_t)len : 0);
    }
    r = sl_strbuf_take(&buf, &job->prompt_text, &job->prompt_text_len);
    return r < 0 ? fail(m, r, "the prompt's text") : 0;
}

static int make_grammar(struct making *m)
{
    struct sl_diag diag = {""};
    int r = 0;

    if (m->req->grammar)
        r = sl_grammarcache_get(m->text->grammars, m->req->grammar, m->req->grammar_len,
                                &m->job->grammar, &diag);
    return r < 0 ? sl_apierror_set_code(m->error, r, NULL, &diag) : 0;
}

/* Where the system gives no random bits, the time has to do: nothing secret hangs on them. */
static uint64_t draw(uint32_t i)
{
    uint64_t bits;

    if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits))
        bits = (sl_clock_ns() + i) * 0x9E3779B97F4A7C15u;
    return bits;
}

int sl_promptjob_make(struct sl_genjob **ret_job, const struct sl_genreq *req,
                      const struct sl_apienv *env, const struct sl_textmodel *text,
                      const struct sl_genchat_recall *recall, struct sl_apierror *error)
{
    struct making m = {.req = req, .text = text, .error = error};
    int r;

    m.job = calloc(1, sizeof(*m.job));
    if (!m.job)
        return fail(&m, -ENOMEM, "a request");
    m.job->req = req;
    m.job->genid = (struct sl_genid){{draw(0), draw(1)}};
    /* 32 bits, as are easily written down and sent again */
    m.job->seed = req->is_seeded ? req->sampling.seed : draw(2) >> 32;
    r = make_prompt(&m, env, recall);
    if (r == 0 && m.job->n_tokens == 0)
        r = sl_apierror_set(error, -EINVAL, 400, NULL, "the prompt is empty");
    /* the scheduler would refuse it too, later: meanwhile it may hold much memory */
    if (r == 0 && m.job->n_tokens > env->n_ctx_tok)
        r = sl_apierror_set_context(error, m.job->n_tokens, env->n_ctx_tok);
    if (r == 0)
        r = make_bias(&m);
    if (r == 0)
        r = make_text(&m);
    if (r == 0)
        r = make_grammar(&m);
    if (r < 0) {
        sl_promptjob_free(m.job);
        return r;
    }
    make_marks(&m);
    *ret_job = m.job;
    return 0;
}
