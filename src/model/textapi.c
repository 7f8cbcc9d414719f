/*
 * The public text functions: thin, they check arguments and hand on to src/text.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine.h"
#include "text/grammar.h"
#include "text/sampler.h"
#include "text/tokenmask.h"

_Static_assert(SLUICE_TOKENIZE_BOS == (int)SL_TOKENIZER_BOS &&
                   SLUICE_TOKENIZE_SPECIAL == (int)SL_TOKENIZER_SPECIAL, "same flags");
_Static_assert(sizeof(struct sluice_logit_bias) == sizeof(struct sl_logit_bias), "same layout");

int64_t sluice_tokenize(const struct sluice_model *model, const char *text, size_t len,
                        uint32_t flags, int32_t *ids, size_t cap)
{
    if (flags & ~(uint32_t)(SLUICE_TOKENIZE_BOS | SLUICE_TOKENIZE_SPECIAL) || (!text && len) ||
        (!ids && cap))
        return -EINVAL;
    return sl_tokenizer_encode(model->tokenizer, text, len, flags, ids, cap);
}

int sluice_token_piece(const struct sluice_model *model, int32_t id, bool special,
                       const char **ret_piece)
{
    struct sl_str_view piece;

    if (id < 0 || (uint32_t)id >= sl_vocab_n_tokens(model->vocab))
        return -ERANGE;
    if (!special && sl_vocab_is_special(model->vocab, id)) {
        *ret_piece = "";
        return 0;
    }
    piece = sl_vocab_piece(model->vocab, id);
    *ret_piece = piece.ptr;
    return (int)piece.len;
}

bool sluice_token_is_eog(const struct sluice_model *model, int32_t id)
{
    return id >= 0 && (uint32_t)id < sl_vocab_n_tokens(model->vocab) &&
           sl_vocab_is_eog(model->vocab, id);
}

int sluice_chat_render(const struct sluice_model *model, const char *messages_json,
                       const char *tools_json, bool add_generation_prompt, char **ret_text,
                       struct sluice_error *error)
{
    int32_t bos = sl_vocab_bos(model->vocab);
    struct sl_str_view piece = bos < 0 ? (struct sl_str_view){ "", 0 }
                                       : sl_vocab_piece(model->vocab, bos);
    struct sl_chat_opts opts = {
        .template_kind = model->chat_template,
        .add_generation_prompt = add_generation_prompt,
    };
    char *bos_text;
    int r;

    if (!messages_json || !ret_text)
        return sl_diag_set((struct sl_diag *)error, -EINVAL, "no messages given");
    bos_text = strndup(piece.ptr, piece.len);
    if (!bos_text)
        return sl_diag_set((struct sl_diag *)error, -ENOMEM, "not enough memory for the chat");
    opts.bos = bos_text;
    r = sl_chat_render(&opts, messages_json, tools_json, ret_text, (struct sl_diag *)error);
    free(bos_text);
    return r;
}

/*
 * Recommended settings, from the model cards: LFM2-24B-A2B temperature 0.1, top-k 50,
 * repetition penalty 1.05; LFM2.5-8B-A1B (always reasoning) 0.2, top-k 80, 1.05; the
 * other LFM2 models 0.3, min-p 0.15, 1.05. Told apart by shape and chat template, since
 * names in files vary.
 */
void sluice_sampler_opts_default(const struct sluice_model *model,
                                 struct sluice_sampler_opts *ret_opts)
{
    struct sluice_sampler_opts o = {
        .temperature = 0.3f,
        .top_p = 1,
        .min_p = 0.15f,
        .repeat_penalty = 1.05f,
        .penalty_last_n = 64,
    };

    if (model->hp.is_moe && model->hp.n_layers == 40) {
        o.temperature = 0.1f;
        o.top_k = 50;
        o.min_p = 0;
    } else if (model->hp.is_moe && model->chat_template == SL_CHAT_LFM25_THINKING) {
        o.temperature = 0.2f;
        o.top_k = 80;
        o.min_p = 0;
    }
    *ret_opts = o;
}

struct sluice_grammar {
    /* set once, then read only */
    struct sl_grammar *grammar;
    struct sl_tokenmask *start; /* at a text's beginning, for samplers to copy; borrows grammar */
    uint32_t n_vocab;

    /* atomic; the release of each who lets go pairs with the acquire of the last */
    atomic_uint n_refs;
};

struct sluice_sampler {
    struct sl_sampler *inner;
    const struct sluice_model *model; /* borrowed */
    /* NULL without a grammar; mask borrows of grammar, which is referred to */
    struct sluice_grammar *grammar;
    struct sl_tokenmask *mask;
    int grammar_error; /* an accepted token broke the grammar */
};

int sluice_sampler_new(struct sluice_sampler **ret_sampler, const struct sluice_model *model,
                       const struct sluice_sampler_opts *opts, struct sluice_error *error)
{
    struct sl_sampler_opts o;
    struct sluice_sampler *sampler;
    int r;

    if (!ret_sampler || !opts || (opts->n_bias && !opts->bias))
        return sl_diag_set((struct sl_diag *)error, -EINVAL, "no sampler options given");
    o = (struct sl_sampler_opts){
        .n_vocab = model->weights.n_vocab,
        .temperature = opts->temperature,
        .top_k = opts->top_k,
        .top_p = opts->top_p,
        .min_p = opts->min_p,
        .repeat_penalty = opts->repeat_penalty,
        .presence_penalty = opts->presence_penalty,
        .frequency_penalty = opts->frequency_penalty,
        .penalty_last_n = opts->penalty_last_n,
        .seed = opts->seed,
        .bias = (const struct sl_logit_bias *)opts->bias,
        .n_bias = opts->n_bias,
    };
    sampler = calloc(1, sizeof(*sampler));
    if (!sampler)
        return sl_diag_set((struct sl_diag *)error, -ENOMEM, "not enough memory for the sampler");
    sampler->model = model;
    r = sl_sampler_new(&sampler->inner, &o, (struct sl_diag *)error);
    if (r < 0) {
        sluice_sampler_free(sampler);
        return r;
    }
    *ret_sampler = sampler;
    return 0;
}

static void drop_grammar(struct sluice_sampler *sampler)
{
    sl_tokenmask_free(sampler->mask);
    sluice_grammar_unref(sampler->grammar);
    sampler->mask = NULL;
    sampler->grammar = NULL;
    sampler->grammar_error = 0;
    if (sampler->inner)
        sl_sampler_set_allowed(sampler->inner, NULL);
}

void sluice_sampler_free(struct sluice_sampler *sampler)
{
    if (!sampler)
        return;
    drop_grammar(sampler);
    sl_sampler_free(sampler->inner);
    free(sampler);
}

int sluice_grammar_new(struct sluice_grammar **ret_grammar, const struct sluice_model *model,
                       const char *gbnf, size_t len, struct sluice_error *error)
{
    struct sl_diag *diag = (struct sl_diag *)error;
    struct sluice_grammar *grammar;
    const struct sl_tokentrie *trie;
    int r;

    if (!gbnf)
        return sl_diag_set(diag, -EINVAL, "no grammar given");
    grammar = calloc(1, sizeof(*grammar));
    if (!grammar)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the grammar");
    grammar->n_vocab = sl_vocab_n_tokens(model->vocab);
    atomic_init(&grammar->n_refs, 1);
    r = sl_grammar_new(&grammar->grammar, gbnf, len, diag);
    if (r < 0)
        goto fail;
    r = sl_tokentrie_share_get(model->trie, &trie);
    r = r < 0 ? sl_diag_set(diag, r, "not enough memory for the grammar")
              : sl_tokenmask_new(&grammar->start, grammar->grammar, trie, diag);
    if (r < 0)
        goto fail;
    *ret_grammar = grammar;
    return 0;

fail:
    sluice_grammar_unref(grammar);
    return r;
}

struct sluice_grammar *sluice_grammar_ref(struct sluice_grammar *grammar)
{
    atomic_fetch_add_explicit(&grammar->n_refs, 1, memory_order_relaxed);
    return grammar;
}

void sluice_grammar_unref(struct sluice_grammar *grammar)
{
    if (!grammar || atomic_fetch_sub_explicit(&grammar->n_refs, 1, memory_order_acq_rel) != 1)
        return;
    sl_tokenmask_free(grammar->start);
    sl_grammar_free(grammar->grammar);
    free(grammar);
}

size_t sluice_grammar_bytes(const struct sluice_grammar *grammar)
{
    return sizeof(*grammar) + sl_grammar_bytes(grammar->grammar);
}

int sluice_sampler_use_grammar(struct sluice_sampler *sampler, struct sluice_grammar *grammar)
{
    struct sl_tokenmask *mask;
    int r;

    if (!grammar) {
        drop_grammar(sampler);
        return 0;
    }
    if (grammar->n_vocab != sl_vocab_n_tokens(sampler->model->vocab))
        return -EINVAL;
    r = sl_tokenmask_clone(&mask, grammar->start);
    if (r < 0)
        return r;
    (void)sluice_grammar_ref(grammar); /* before its last one may go */
    drop_grammar(sampler);
    sampler->grammar = grammar;
    sampler->mask = mask;
    return 0;
}

int sluice_sampler_set_grammar(struct sluice_sampler *sampler, const char *gbnf, size_t len,
                               struct sluice_error *error)
{
    struct sluice_grammar *grammar = NULL;
    int r = gbnf ? sluice_grammar_new(&grammar, sampler->model, gbnf, len, error) : 0;

    if (r < 0)
        return r;
    r = sluice_sampler_use_grammar(sampler, grammar);
    sluice_grammar_unref(grammar);
    return r < 0 ? sl_diag_set((struct sl_diag *)error, r, "not enough memory for the grammar")
                 : r;
}

void sluice_sampler_accept(struct sluice_sampler *sampler, int32_t token)
{
    sl_sampler_accept(sampler->inner, token);
    if (sampler->mask && sampler->grammar_error == 0) {
        int r = sl_tokenmask_accept(sampler->mask, token);

        sampler->grammar_error = r < 0 ? r : r == 0 ? -EBADMSG : 0;
    }
}

int32_t sluice_sampler_sample(struct sluice_sampler *sampler, const float *logits)
{
    const uint64_t *allowed;
    int64_t n;

    if (sampler->mask) {
        n = sampler->grammar_error ? sampler->grammar_error
                                   : sl_tokenmask_fill(sampler->mask, &allowed);
        if (n <= 0)
            return n < 0 ? (int32_t)n : -EBADMSG;
        sl_sampler_set_allowed(sampler->inner, allowed);
    }
    return sl_sampler_sample(sampler->inner, logits);
}
