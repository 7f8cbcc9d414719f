#include "fakeengine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIKELY 20.0f

/* Whatever NDEBUG says: these are the tests. */
#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "fakeengine.c:%d: %s\n", __LINE__, #condition);                     \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

struct fakesampler {
    bool has_grammar;
    uint64_t hash; /* of all that was accepted: a draw depends on it, as penalties would */
    struct sluice_logit_bias bias[8];
    uint32_t n_bias;
};

static uint32_t blocks_of(uint32_t n)
{
    return (n + 255) / 256;
}

static uint32_t n_free(const struct fakeengine *fake)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < fake->n_blocks; i++)
        n += fake->refs[i] == 0;
    return n;
}

static uint32_t take_block(struct fakeengine *fake)
{
    for (uint32_t i = 0; i < fake->n_blocks; i++)
        if (fake->refs[i] == 0) {
            fake->refs[i] = 1;
            return i;
        }
    abort();
}

static struct fakeengine_seq *get(struct fakeengine *fake, int seq)
{
    CHECK(seq >= 0 && seq < FAKE_SEQS && fake->seqs[seq].is_used);
    return &fake->seqs[seq];
}

static void truncate_to(struct fakeengine *fake, struct fakeengine_seq *s, uint32_t n)
{
    for (uint32_t i = blocks_of(n); i < blocks_of(s->n); i++)
        fake->refs[s->blocks[i]]--;
    s->n = n;
}

static int seq_new(void *arg)
{
    struct fakeengine *fake = arg;

    for (uint32_t i = 0; i < fake->opts.n_seq_max; i++)
        if (!fake->seqs[i].is_used) {
            fake->seqs[i].is_used = true;
            fake->seqs[i].n = fake->seqs[i].n_marked = fake->seqs[i].floor = 0;
            memset(fake->seqs[i].marks, 0, sizeof(fake->seqs[i].marks));
            return (int)i;
        }
    return -E2BIG;
}

static int seq_free(void *arg, int seq)
{
    struct fakeengine *fake = arg;
    struct fakeengine_seq *s = get(fake, seq);

    CHECK(!s->is_busy);
    truncate_to(fake, s, 0);
    s->is_used = false;
    return 0;
}

static int seq_fork(void *arg, int seq)
{
    struct fakeengine *fake = arg;
    struct fakeengine_seq *from = get(fake, seq), *to;
    int id = seq_new(arg);

    CHECK(!from->is_busy);
    if (id < 0)
        return id;
    to = get(fake, id);
    to->n = from->n;
    to->n_marked = from->n_marked;
    to->floor = from->floor;
    memcpy(to->marks, from->marks, sizeof(to->marks));
    memcpy(to->tokens, from->tokens, from->n * sizeof(int32_t));
    memcpy(to->blocks, from->blocks, sizeof(to->blocks));
    for (uint32_t i = 0; i < blocks_of(to->n); i++)
        fake->refs[to->blocks[i]]++;
    return id;
}

static int64_t seq_tokens(void *arg, int seq, const int32_t **ret_tokens)
{
    struct fakeengine_seq *s = get(arg, seq);

    if (ret_tokens)
        *ret_tokens = s->tokens;
    return s->n;
}

static int seq_rewind(void *arg, int seq, int64_t n_keep)
{
    struct fakeengine_seq *s = get(arg, seq);

    CHECK(n_keep >= 0 && n_keep <= s->n && !s->is_busy);
    /* what the store promises: nothing has to be computed */
    CHECK(n_keep >= s->floor || n_keep % 256 == 0 || n_keep == s->marks[0] ||
          n_keep == s->marks[1]);
    if (n_keep < s->floor)
        s->floor = (uint32_t)n_keep;
    truncate_to(arg, s, (uint32_t)n_keep);
    return 0;
}

static uint32_t blocks_needed(const struct fakeengine *fake, const struct fakeengine_seq *s,
                              uint32_t n)
{
    bool is_shared = s->n % 256 && fake->refs[s->blocks[s->n / 256]] > 1;

    return blocks_of(s->n + n) - blocks_of(s->n) + is_shared;
}

static void extend(struct fakeengine *fake, struct fakeengine_seq *s, const int32_t *tokens,
                   uint32_t n)
{
    if (s->n % 256 && fake->refs[s->blocks[s->n / 256]] > 1) {
        fake->refs[s->blocks[s->n / 256]]--;
        s->blocks[s->n / 256] = take_block(fake);
    }
    for (uint32_t i = blocks_of(s->n); i < blocks_of(s->n + n); i++)
        s->blocks[i] = take_block(fake);
    memcpy(s->tokens + s->n, tokens, n * sizeof(*tokens));
    s->n += n;
    s->floor = s->n > s->floor + 32 ? s->n - 32 : s->floor;
    fake->n_computed += n;
}

static int seq_mark(void *arg, int seq, int64_t pos)
{
    struct fakeengine_seq *s = get(arg, seq);

    CHECK(!s->is_busy && pos > s->n);
    if (s->marks[0] != pos && s->marks[1] != pos)
        s->marks[s->n_marked++ % 2] = (uint32_t)pos;
    return 0;
}

static int seq_save(void *arg, int seq, const char *path, uint64_t *ret_bytes)
{
    struct fakeengine *fake = arg;
    struct fakeengine_seq *s = get(fake, seq);

    CHECK(!s->is_busy && path);
    memcpy(fake->file, s->tokens, s->n * sizeof(*s->tokens));
    fake->n_file = s->n;
    *ret_bytes = s->n * sizeof(*s->tokens);
    return 0;
}

static int seq_load(void *arg, const char *path, uint64_t *ret_bytes)
{
    struct fakeengine *fake = arg;
    int seq;

    CHECK(path);
    if (blocks_of(fake->n_file) > n_free(fake))
        return -ENOMEM;
    seq = seq_new(arg);
    if (seq < 0)
        return seq;
    extend(fake, get(fake, seq), fake->file, fake->n_file);
    fake->n_computed -= fake->n_file;
    *ret_bytes = fake->n_file * sizeof(*fake->file);
    return seq;
}

static uint64_t hash_tokens(const int32_t *tokens, uint32_t n)
{
    uint64_t hash = 0xCBF29CE484222325u;

    for (uint32_t i = 0; i < n; i++)
        hash = (hash ^ (uint64_t)tokens[i]) * 0x100000001B3u;
    return hash ^ hash >> 29;
}

/* What comes after the tokens, and how sure that is: what a script says, samplers leave. */
static int32_t next_token(const int32_t *tokens, uint32_t n, float *ret_logit)
{
    uint64_t hash = hash_tokens(tokens, n);

    for (uint32_t p = 0; p < n; p++)
        if (tokens[p] == FAKE_SCRIPT) {
            *ret_logit = 2 * LIKELY;
            return n - p - 1 < p ? tokens[n - p - 1] : FAKE_EOS;
        }
    *ret_logit = LIKELY;
    return hash % 97 == 0 ? FAKE_EOS : (int32_t)('a' + hash % 26);
}

static void fill_logits(float *row, const struct fakeengine_seq *s)
{
    uint64_t hash = hash_tokens(s->tokens, s->n);
    int32_t next;
    float logit;

    for (uint32_t i = 0; i < FAKE_N_VOCAB; i++)
        row[i] = (float)((hash >> i % 32 ^ i * 2654435761u) % 1000) * 1e-3f;
    next = next_token(s->tokens, s->n, &logit);
    row[next] = logit;
}

static int check(struct fakeengine *fake, const struct sluice_batch *batch, uint32_t n,
                 uint32_t *ret_n_blocks)
{
    const struct sluice_session_opts *opts = &fake->opts;
    uint32_t n_blocks = 0, n_logits = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct fakeengine_seq *s = get(fake, batch[i].seq);

        CHECK(batch[i].n_tokens > 0 && batch[i].n_logits <= 1 && !s->is_busy);
        for (uint32_t k = 0; k < i; k++)
            CHECK(batch[k].seq != batch[i].seq);
        CHECK(s->n + batch[i].n_tokens <= opts->n_ctx);
        n_blocks += blocks_needed(fake, s, batch[i].n_tokens);
        n_logits += batch[i].n_logits;
    }
    CHECK(n_logits <= opts->n_logits);
    *ret_n_blocks = n_blocks;
    return n_blocks + fake->n_reserved > n_free(fake) ? -ENOMEM : 0;
}

static bool is_poisoned(const struct sluice_batch *batch, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < batch[i].n_tokens; k++)
            if (batch[i].tokens[k] == FAKE_POISON)
                return true;
    return false;
}

/* A failed step leaves its sequences up to 255 tokens shorter. */
static int fail(struct fakeengine *fake, const struct sluice_batch *batch, uint32_t n, int code)
{
    for (uint32_t i = 0; i < n; i++) {
        struct fakeengine_seq *s = get(fake, batch[i].seq);

        truncate_to(fake, s, s->n / 256 * 256);
        s->floor = s->n;
    }
    return code;
}

static uint64_t time_of(const struct fakeengine *fake, uint32_t n_rows)
{
    return n_rows * (uint64_t)FAKE_ROW_NS + (n_rows > 1 ? fake->prompt_ns : 0);
}

static int compute(struct fakeengine *fake, const struct sluice_batch *batch, uint32_t n,
                   bool is_prefill, const float **ret_logits)
{
    uint32_t n_rows = 0, row = 0;

    for (uint32_t i = 0; i < n; i++)
        n_rows += batch[i].n_tokens;
    if (!is_prefill) /* whose pieces took their time */
        fake->clock_ns += time_of(fake, n_rows);
    fake->n_rows_max = n_rows > fake->n_rows_max ? n_rows : fake->n_rows_max;
    if (++fake->n_steps == fake->fail_step)
        return fail(fake, batch, n, fake->fail_code);
    if (is_poisoned(batch, n))
        return fail(fake, batch, n, -EIO);
    for (uint32_t i = 0; i < n; i++) {
        struct fakeengine_seq *s = get(fake, batch[i].seq);

        extend(fake, s, batch[i].tokens, batch[i].n_tokens);
        if (batch[i].n_logits)
            fill_logits(fake->logits + (size_t)row++ * FAKE_N_VOCAB, s);
    }
    *ret_logits = fake->logits;
    return 0;
}

static int decode(void *arg, const struct sluice_batch *batch, uint32_t n,
                  const float **ret_logits)
{
    struct fakeengine *fake = arg;
    uint32_t n_rows = 0, n_blocks;
    int r = check(fake, batch, n, &n_blocks);

    for (uint32_t i = 0; i < n; i++)
        n_rows += batch[i].n_tokens;
    CHECK(n_rows <= (fake->n_prefill ? fake->opts.n_beside
                                      : fake->opts.n_chunk));
    return r < 0 ? r : compute(fake, batch, n, false, ret_logits);
}

static int prefill_begin(void *arg, const struct sluice_batch *batch, uint32_t n)
{
    struct fakeengine *fake = arg;
    uint32_t n_tokens = 0, n_blocks;
    int r = check(fake, batch, n, &n_blocks);

    CHECK(fake->n_prefill == 0 && n > 0);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n; i++) {
        fake->prefill[i] = batch[i];
        fake->prefill[i].tokens = fake->prefill_tokens + n_tokens;
        memcpy(fake->prefill_tokens + n_tokens, batch[i].tokens,
               batch[i].n_tokens * sizeof(int32_t));
        n_tokens += batch[i].n_tokens;
        get(fake, batch[i].seq)->is_busy = true;
    }
    CHECK(n_tokens <= fake->opts.n_chunk);
    fake->n_prefill = n;
    fake->n_reserved = n_blocks; /* taken now, as the real one does */
    fake->prefill_layers = FAKE_LAYERS;
    fake->n_prefills++;
    return 0;
}

static void end_prefill(struct fakeengine *fake)
{
    for (uint32_t i = 0; i < fake->n_prefill; i++)
        get(fake, fake->prefill[i].seq)->is_busy = false;
    fake->n_prefill = fake->n_reserved = 0;
}

static int prefill_advance(void *arg, uint64_t max_ns, const float **ret_logits)
{
    struct fakeengine *fake = arg;
    uint32_t n = fake->n_prefill, n_rows = 0;
    uint64_t layer_ns, past_ns = 0;

    CHECK(n > 0);
    fake->n_pieces++;
    for (uint32_t i = 0; i < n; i++)
        n_rows += fake->prefill[i].n_tokens;
    layer_ns = time_of(fake, n_rows) / FAKE_LAYERS;
    do {
        past_ns += layer_ns;
        fake->prefill_layers--;
    } while (fake->prefill_layers && past_ns + layer_ns <= max_ns);
    fake->clock_ns += past_ns + fake->slow_ns;
    fake->slow_ns = 0;
    if (fake->prefill_layers)
        return 1;
    end_prefill(fake);
    return compute(fake, fake->prefill, n, true, ret_logits);
}

static void prefill_drop(void *arg)
{
    struct fakeengine *fake = arg;
    uint32_t n = fake->n_prefill;

    CHECK(n > 0);
    end_prefill(fake);
    (void)fail(fake, fake->prefill, n, 0);
}

static const char *error_text(void *arg)
{
    return "the disk is gone";
}

static void counters(void *arg, struct sluice_counters *ret_counters)
{
    struct fakeengine *fake = arg;

    *ret_counters = (struct sluice_counters){.n_steps = fake->n_steps};
}

static int piece(void *arg, int32_t id, bool special, const char **ret_piece)
{
    static const char bytes[512] = {
#define TWO(b) b, 0
#define EIGHT(b) TWO(b), TWO(b + 1), TWO(b + 2), TWO(b + 3), TWO(b + 4), TWO(b + 5), TWO(b + 6), \
                 TWO(b + 7)
#define MANY(b) EIGHT(b), EIGHT(b + 8), EIGHT(b + 16), EIGHT(b + 24)
        MANY(0), MANY(32), MANY(64), MANY(96), MANY(-128), MANY(-96), MANY(-64), MANY(-32),
    };
    static const char *const names[] = {
        "<|im_end|>", "<think>", "</think>", "<|tool_call_start|>", "<|tool_call_end|>",
        "<|im_start|>", "<|script|>", "<|poison|>",
    };

    if (id < 0 || id >= FAKE_N_VOCAB)
        return -ERANGE;
    if (id < 256) {
        *ret_piece = &bytes[id * 2];
        return 1;
    }
    *ret_piece = special ? names[id - 256] : "";
    return (int)strlen(*ret_piece);
}

static bool is_eog(void *arg, int32_t id)
{
    return id == FAKE_EOS;
}

static int sampler_new(void *arg, void **ret_sampler, const struct sluice_sampler_opts *opts,
                       struct sluice_error *error)
{
    struct fakesampler *sampler = calloc(1, sizeof(*sampler));

    if (!sampler)
        return -ENOMEM;
    sampler->hash = opts->seed;
    sampler->n_bias = opts->n_bias < 8 ? opts->n_bias : 8;
    if (sampler->n_bias)
        memcpy(sampler->bias, opts->bias, sampler->n_bias * sizeof(*sampler->bias));
    ((struct fakeengine *)arg)->n_samplers++;
    *ret_sampler = sampler;
    return 0;
}

static void sampler_free(void *arg, void *sampler)
{
    if (sampler)
        ((struct fakeengine *)arg)->n_samplers--;
    free(sampler);
}

static void sampler_accept(void *arg, void *sampler, int32_t token)
{
    struct fakesampler *s = sampler;

    s->hash = (s->hash ^ (uint64_t)token) * 0x100000001B3u;
}

static int sampler_set_grammar(void *arg, void *sampler, const char *gbnf, size_t len,
                               struct sluice_error *error)
{
    struct fakesampler *s = sampler;

    s->has_grammar = gbnf && strncmp(gbnf, "root", 4) != 0; /* such fits what comes anyway */
    return 0;
}

/* Compiled grammars are their texts. */
struct sluice_grammar *fakeengine_grammar(char *text)
{
    return (struct sluice_grammar *)(void *)text;
}

static int sampler_use_grammar(void *arg, void *sampler, struct sluice_grammar *grammar)
{
    const char *text = (const char *)(void *)grammar;

    if (text && strcmp(text, "none left") == 0)
        return -ENOMEM;
    return sampler_set_grammar(arg, sampler, text, text ? strlen(text) : 0, NULL);
}

static int32_t sampler_sample(void *arg, void *sampler, const float *logits)
{
    struct fakesampler *s = sampler;
    int32_t best = 0;
    float most = -1e30f;

    for (int32_t i = 0; i < FAKE_N_VOCAB; i++) {
        float logit = logits[i];

        for (uint32_t k = 0; k < s->n_bias; k++)
            logit += s->bias[k].token == i ? s->bias[k].bias : 0;
        if (logit > most) {
            most = logit;
            best = i;
        }
    }
    if (s->has_grammar && best != FAKE_EOS && best != 'Z')
        return '0' + (int32_t)(s->hash % 10);
    if (s->has_grammar && best == 'Z')
        return -EBADMSG;
    if (best >= 'a' && best <= 'z' && most <= LIKELY)
        return 'a' + (int32_t)((uint64_t)(best - 'a') + s->hash % 26) % 26;
    return best;
}

void fakeengine_init(struct fakeengine *fake, struct sl_enginefn *fn,
                     const struct sluice_session_opts *opts)
{
    *fn = (struct sl_enginefn){
        .arg = fake, .opts = *opts, .n_vocab = FAKE_N_VOCAB,
        .n_layers = FAKE_LAYERS, .seq_new = seq_new,
        .seq_free = seq_free, .seq_fork = seq_fork, .seq_tokens = seq_tokens,
        .seq_rewind = seq_rewind, .seq_mark = seq_mark, .seq_save = seq_save, .seq_load = seq_load,
        .decode = decode, .prefill_begin = prefill_begin,
        .prefill_advance = prefill_advance, .prefill_drop = prefill_drop, .error = error_text,
        .counters = counters, .piece = piece, .is_eog = is_eog, .sampler_new = sampler_new,
        .sampler_free = sampler_free, .sampler_accept = sampler_accept,
        .sampler_set_grammar = sampler_set_grammar,
        .sampler_use_grammar = sampler_use_grammar, .sampler_sample = sampler_sample,
    };
    memset(fake, 0, sizeof(*fake));
    fake->opts = *opts;
    fake->n_blocks = blocks_of(opts->n_ctx);
    fake->logits = calloc((size_t)opts->n_logits * FAKE_N_VOCAB, sizeof(float));
    if (!fake->logits)
        abort();
}

void fakeengine_done(struct fakeengine *fake)
{
    uint32_t refs[FAKE_CTX_MAX / 256 + 1] = {0};

    for (uint32_t i = 0; i < FAKE_SEQS; i++)
        for (uint32_t b = 0; fake->seqs[i].is_used && b < blocks_of(fake->seqs[i].n); b++)
            refs[fake->seqs[i].blocks[b]]++;
    if (memcmp(refs, fake->refs, sizeof(refs)) || fake->n_samplers)
        abort();
    free(fake->logits);
}

uint32_t fakeengine_n_seqs(const struct fakeengine *fake)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < FAKE_SEQS; i++)
        n += fake->seqs[i].is_used;
    return n;
}
