/* The functions of sluice.h, with the model or the session taken from arg. */
#include "server/enginefn.h"

static struct sluice_model *model(void *arg)
{
    return ((struct sl_enginefn_sluice *)arg)->model;
}

static struct sluice_session *session(void *arg)
{
    return ((struct sl_enginefn_sluice *)arg)->session;
}

static int seq_new(void *arg)
{
    return sluice_seq_new(session(arg));
}

static int seq_free(void *arg, int seq)
{
    return sluice_seq_free(session(arg), seq);
}

static int seq_fork(void *arg, int seq)
{
    return sluice_seq_fork(session(arg), seq);
}

static int64_t seq_tokens(void *arg, int seq, const int32_t **ret_tokens)
{
    return sluice_seq_tokens(session(arg), seq, ret_tokens);
}

static int seq_rewind(void *arg, int seq, int64_t n_keep)
{
    return sluice_seq_rewind(session(arg), seq, n_keep);
}

static int seq_mark(void *arg, int seq, int64_t pos)
{
    return sluice_seq_mark(session(arg), seq, pos);
}

static int seq_save(void *arg, int seq, const char *path, uint64_t *ret_bytes)
{
    return sluice_seq_save(session(arg), seq, path, ret_bytes);
}

static int seq_load(void *arg, const char *path, uint64_t *ret_bytes)
{
    return sluice_seq_load(session(arg), path, ret_bytes);
}

static int decode(void *arg, const struct sluice_batch *batch, uint32_t n_batch,
                  const float **ret_logits)
{
    return sluice_decode(session(arg), batch, n_batch, ret_logits);
}

static int prefill_begin(void *arg, const struct sluice_batch *batch, uint32_t n_batch)
{
    return sluice_prefill_begin(session(arg), batch, n_batch);
}

static int prefill_advance(void *arg, uint64_t max_ns, const float **ret_logits)
{
    return sluice_prefill_advance(session(arg), max_ns, ret_logits);
}

static void prefill_drop(void *arg)
{
    sluice_prefill_drop(session(arg));
}

static const char *error_text(void *arg)
{
    return sluice_session_error(session(arg));
}

static void counters(void *arg, struct sluice_counters *ret_counters)
{
    sluice_session_get_counters(session(arg), ret_counters);
}

static int piece(void *arg, int32_t id, bool special, const char **ret_piece)
{
    return sluice_token_piece(model(arg), id, special, ret_piece);
}

static bool is_eog(void *arg, int32_t id)
{
    return sluice_token_is_eog(model(arg), id);
}

static int sampler_new(void *arg, void **ret_sampler, const struct sluice_sampler_opts *opts,
                       struct sluice_error *error)
{
    struct sluice_sampler *sampler;
    int r = sluice_sampler_new(&sampler, model(arg), opts, error);

    if (r == 0)
        *ret_sampler = sampler;
    return r;
}

static void sampler_free(void *arg, void *sampler)
{
    sluice_sampler_free(sampler);
}

static void sampler_accept(void *arg, void *sampler, int32_t token)
{
    sluice_sampler_accept(sampler, token);
}

static int sampler_set_grammar(void *arg, void *sampler, const char *gbnf, size_t len,
                               struct sluice_error *error)
{
    return sluice_sampler_set_grammar(sampler, gbnf, len, error);
}

static int sampler_use_grammar(void *arg, void *sampler, struct sluice_grammar *grammar)
{
    return sluice_sampler_use_grammar(sampler, grammar);
}

static int32_t sampler_sample(void *arg, void *sampler, const float *logits)
{
    return sluice_sampler_sample(sampler, logits);
}

static void give_back(void *arg)
{
    sluice_model_rest(model(arg));
}

static size_t experts(void *arg, struct sluice_expert *ret_experts, size_t cap)
{
    return sluice_model_get_experts(model(arg), ret_experts, cap);
}

void sl_enginefn_init(struct sl_enginefn *fn, struct sl_enginefn_sluice *sluice)
{
    struct sluice_model_info info;

    sluice_model_get_info(sluice->model, &info);
    *fn = (struct sl_enginefn){
        .arg = sluice,
        .n_vocab = info.n_vocab,
        .is_streaming = info.is_streaming,
        .n_layers = info.n_layers,
        .n_moe_layers = info.n_moe_layers,
        .first_moe_layer = info.n_layers - info.n_moe_layers,
        .n_experts = info.n_experts,
        .n_experts_used = info.n_experts_used,
        .seq_new = seq_new,
        .seq_free = seq_free,
        .seq_fork = seq_fork,
        .seq_tokens = seq_tokens,
        .seq_rewind = seq_rewind,
        .seq_mark = seq_mark,
        .seq_save = seq_save,
        .seq_load = seq_load,
        .decode = decode,
        .prefill_begin = prefill_begin,
        .prefill_advance = prefill_advance,
        .prefill_drop = prefill_drop,
        .error = error_text,
        .counters = counters,
        .piece = piece,
        .is_eog = is_eog,
        .sampler_new = sampler_new,
        .sampler_free = sampler_free,
        .sampler_accept = sampler_accept,
        .sampler_set_grammar = sampler_set_grammar,
        .sampler_use_grammar = sampler_use_grammar,
        .sampler_sample = sampler_sample,
        .give_back = info.is_streaming ? give_back : NULL,
        .experts = info.n_moe_layers ? experts : NULL,
    };
    sluice_session_get_opts(sluice->session, &fn->opts);
}
