/*
 * What a schema costs: compiled once, and then at every token, where the sampler may draw only
 * what goes on as the schema wants.
 *
 *     structured MODEL SCHEMAS [--texts N] [--tokens N] [--seed N]
 *
 * Of MODEL only the vocabulary counts. SCHEMAS is a JSON array like
 * tests/golden/schemas/supported.json: "name", "schema", and "valid", values of it. Each of these
 * is imposed on a sampler as text, token by token, as the tokenizer has it; then N texts are
 * drawn blindly, each token as likely as any other that is allowed, which leads to corners
 * where no model goes. A text ends after N tokens at the latest.
 *
 * A line of JSON on stdout for each schema and one for all together: times of compiling in
 * ms, and for values and drawn texts the time that a token takes beyond what it takes without
 * a grammar, in us: half of them, 99 of 100, the worst, and the mean. It is the thread's own
 * time, so that others who compute meanwhile do not count. The last line has these
 * as shares of a step of 8 and of 50 ms: a fast machine, and two cores with 24B.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/jsonwriter.h"
#include "sluice.h"
#include "text/schema.h"
#include "text/vector.h"

#define TOKENS_MAX 65536u
#define SCHEMAS_BYTES_MAX ((size_t)64 << 20)
#define PLAIN_TOKENS 200u /* drawn without a grammar, for comparison */

struct args {
    const char *model, *schemas;
    uint32_t n_texts, n_tokens, seed;
};

struct times {
    double *us;
    uint32_t n, cap;
    double sum;
};

struct bench {
    struct args args;
    struct sluice_model *model;
    uint32_t n_vocab;
    float *logits;
    uint64_t random;
    double plain_us; /* of a token without a grammar */
    struct times values, drawn; /* of all schemas */
    double compile_ms_max, set_ms_max;
    uint32_t n_schemas, n_not_taken;
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    unsigned long value = arg ? strtoul(arg, NULL, 10) : 0;

    switch (key) {
    case 't': args->n_texts = (uint32_t)value; break;
    case 'n': args->n_tokens = (uint32_t)(value < TOKENS_MAX ? value : TOKENS_MAX); break;
    case 's': args->seed = (uint32_t)value; break;
    case ARGP_KEY_ARG:
        if (args->schemas)
            argp_usage(state);
        else if (args->model)
            args->schemas = arg;
        else
            args->model = arg;
        break;
    case ARGP_KEY_END:
        if (!args->schemas)
            argp_usage(state);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* Linux has it */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double us_since(uint64_t start_ns)
{
    return (double)(now_ns() - start_ns) * 1e-3;
}

static int add_time(struct times *times, double us)
{
    if (sl_vector_grow(&times->us, &times->cap, times->n, 1) < 0)
        return -ENOMEM;
    times->us[times->n++] = us;
    times->sum += us;
    return 0;
}

static int add_times(struct times *to, const struct times *from)
{
    int r = 0;

    for (uint32_t i = 0; i < from->n && r == 0; i++)
        r = add_time(to, from->us[i]);
    return r;
}

static int by_value(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;

    return (a > b) - (a < b);
}

/* Sorts. */
static double percentile(struct times *times, double share)
{
    if (times->n == 0)
        return 0;
    qsort(times->us, times->n, sizeof(*times->us), by_value);
    return times->us[(uint32_t)((times->n - 1) * share)];
}

/* xorshift64* */
static uint64_t draw(struct bench *b)
{
    b->random ^= b->random >> 12;
    b->random ^= b->random << 25;
    b->random ^= b->random >> 27;
    return b->random * 0x2545F4914F6CDD1Du;
}

static int new_sampler(struct bench *b, struct sluice_sampler **ret_sampler)
{
    struct sluice_sampler_opts opts = {.top_p = 1, .repeat_penalty = 1};

    return sluice_sampler_new(ret_sampler, b->model, &opts, NULL);
}

/*
 * One token: the time of drawing it and of telling the sampler. The logits are of want alone,
 * or at random (want -1). Returns the token drawn, or a negative errno.
 */
static int32_t one_token(struct bench *b, struct sluice_sampler *sampler, int32_t want,
                         double *ret_us)
{
    uint64_t start;
    int32_t token;

    for (uint32_t i = 0; i < b->n_vocab; i++)
        b->logits[i] = want < 0 ? (float)(draw(b) >> 40) : 0;
    if (want >= 0)
        b->logits[want] = 1;
    start = now_ns();
    token = sluice_sampler_sample(sampler, b->logits);
    if (token >= 0 && (want < 0 || token == want))
        sluice_sampler_accept(sampler, token);
    *ret_us = us_since(start);
    return token;
}

/* What a token takes without a grammar: half of them take less. */
static int measure_plain(struct bench *b)
{
    struct sluice_sampler *sampler = NULL;
    struct times times = {0};
    int r = new_sampler(b, &sampler);

    for (uint32_t i = 0; i < PLAIN_TOKENS && r == 0; i++) {
        double us;

        (void)one_token(b, sampler, -1, &us); /* without a grammar it cannot fail */
        r = add_time(&times, us);
    }
    b->plain_us = percentile(&times, 0.5);
    free(times.us);
    sluice_sampler_free(sampler);
    return r;
}

/* A text under the grammar: ids, or drawn where ids is NULL. Returns 1 if it was followed to
 * its end, 0 if the grammar does not take it, or a negative errno. */
static int follow(struct bench *b, const struct sl_strbuf *gbnf, const int32_t *ids, uint32_t n,
                  struct times *times)
{
    struct sluice_sampler *sampler = NULL;
    uint64_t start;
    int r = new_sampler(b, &sampler);

    if (r < 0)
        return r;
    start = now_ns();
    r = sluice_sampler_set_grammar(sampler, gbnf->ptr, gbnf->len, NULL);
    if (us_since(start) * 1e-3 > b->set_ms_max)
        b->set_ms_max = us_since(start) * 1e-3;
    for (uint32_t i = 0; i < n && r == 0; i++) {
        double us;
        int32_t token = one_token(b, sampler, ids ? ids[i] : -1, &us);

        r = token < 0 ? token : add_time(times, us > b->plain_us ? us - b->plain_us : 0);
        if (r == 0 && ids && token != ids[i]) {
            sluice_sampler_free(sampler);
            return 0;
        }
        if (token >= 0 && sluice_token_is_eog(b->model, token))
            break;
    }
    sluice_sampler_free(sampler);
    return r < 0 ? r : 1;
}

static int follow_value(struct bench *b, const struct sl_strbuf *gbnf, const struct sl_json *value,
                        struct times *times)
{
    int32_t *ids = malloc(TOKENS_MAX * sizeof(*ids));
    struct sl_jsonwriter w;
    int64_t n = -ENOMEM;
    int r;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_value(&w, value);
    if (ids && !w.buf.error)
        n = sluice_tokenize(b->model, w.buf.ptr, w.buf.len, 0, ids, TOKENS_MAX);
    r = n < 0 ? (int)n
              : follow(b, gbnf, ids, n < b->args.n_tokens ? (uint32_t)n : b->args.n_tokens,
                       times);
    b->n_not_taken += r == 0; /* its members have another order than the schema's */
    free(ids);
    (void)sl_jsonwriter_done(&w); /* its error was seen */
    return r < 0 ? r : 0;
}

static void write_times(struct sl_jsonwriter *w, const char *name, struct times *times)
{
    sl_jsonwriter_key(w, name);
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_key(w, "n_tokens");
    sl_jsonwriter_u64(w, times->n);
    sl_jsonwriter_key(w, "p50_us");
    sl_jsonwriter_f64(w, percentile(times, 0.5));
    sl_jsonwriter_key(w, "p99_us");
    sl_jsonwriter_f64(w, percentile(times, 0.99));
    sl_jsonwriter_key(w, "worst_us");
    sl_jsonwriter_f64(w, percentile(times, 1));
    sl_jsonwriter_key(w, "mean_us");
    sl_jsonwriter_f64(w, times->n ? times->sum / times->n : 0);
    sl_jsonwriter_end_object(w);
}

static int print_schema(const char *name, double compile_ms, size_t gbnf_bytes,
                        struct times *values, struct times *drawn)
{
    struct sl_jsonwriter w;
    int r;

    sl_jsonwriter_init(&w, stdout, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_key(&w, "name");
    sl_jsonwriter_string(&w, name);
    sl_jsonwriter_key(&w, "compile_ms");
    sl_jsonwriter_f64(&w, compile_ms);
    sl_jsonwriter_key(&w, "gbnf_bytes");
    sl_jsonwriter_u64(&w, gbnf_bytes);
    write_times(&w, "values", values);
    write_times(&w, "drawn", drawn);
    sl_jsonwriter_end_object(&w);
    r = sl_jsonwriter_done(&w);
    putchar('\n');
    return r;
}

static int measure_schema(struct bench *b, const struct sl_json *entry)
{
    const char *name = sl_json_get_string(sl_json_find(entry, "name"), NULL);
    const struct sl_json *valid = sl_json_find(entry, "valid");
    struct times values = {0}, drawn = {0};
    struct sl_strbuf gbnf = {0};
    struct sl_diag diag = {""};
    uint64_t start = now_ns();
    double ms;
    int r = sl_schema_compile(sl_json_find(entry, "schema"), 0, &gbnf, &diag);

    ms = us_since(start) * 1e-3;
    b->compile_ms_max = ms > b->compile_ms_max ? ms : b->compile_ms_max;
    if (r < 0)
        fprintf(stderr, "structured: %s: %s\n", name ? name : "?", diag.text);
    for (size_t i = 0; i < sl_json_n_items(valid) && r == 0; i++)
        r = follow_value(b, &gbnf, sl_json_item(valid, i), &values);
    for (uint32_t i = 0; i < b->args.n_texts && r >= 0; i++)
        r = follow(b, &gbnf, NULL, b->args.n_tokens, &drawn);
    if (r >= 0)
        r = print_schema(name ? name : "?", ms, gbnf.len, &values, &drawn);
    if (r >= 0)
        r = add_times(&b->values, &values);
    if (r >= 0)
        r = add_times(&b->drawn, &drawn);
    b->n_schemas++;
    free(values.us);
    free(drawn.us);
    sl_strbuf_done(&gbnf);
    return r;
}

static void write_share(struct sl_jsonwriter *w, const char *name, struct times *times,
                        double step_ms)
{
    sl_jsonwriter_key(w, name);
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_key(w, "mean");
    sl_jsonwriter_f64(w, times->n ? times->sum / times->n / step_ms * 0.1 : 0);
    sl_jsonwriter_key(w, "p99");
    sl_jsonwriter_f64(w, percentile(times, 0.99) / step_ms * 0.1);
    sl_jsonwriter_key(w, "worst");
    sl_jsonwriter_f64(w, percentile(times, 1) / step_ms * 0.1);
    sl_jsonwriter_end_object(w);
}

static int print_all(struct bench *b)
{
    struct sl_jsonwriter w;
    int r;

    sl_jsonwriter_init(&w, stdout, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_key(&w, "n_schemas");
    sl_jsonwriter_u64(&w, b->n_schemas);
    sl_jsonwriter_key(&w, "n_vocab");
    sl_jsonwriter_u64(&w, b->n_vocab);
    sl_jsonwriter_key(&w, "n_values_not_taken");
    sl_jsonwriter_u64(&w, b->n_not_taken);
    sl_jsonwriter_key(&w, "compile_ms_worst");
    sl_jsonwriter_f64(&w, b->compile_ms_max);
    sl_jsonwriter_key(&w, "set_grammar_ms_worst");
    sl_jsonwriter_f64(&w, b->set_ms_max);
    sl_jsonwriter_key(&w, "plain_us");
    sl_jsonwriter_f64(&w, b->plain_us);
    write_times(&w, "values", &b->values);
    write_times(&w, "drawn", &b->drawn);
    write_share(&w, "values_percent_of_8ms", &b->values, 8);
    write_share(&w, "values_percent_of_50ms", &b->values, 50);
    write_share(&w, "drawn_percent_of_8ms", &b->drawn, 8);
    write_share(&w, "drawn_percent_of_50ms", &b->drawn, 50);
    sl_jsonwriter_end_object(&w);
    r = sl_jsonwriter_done(&w);
    putchar('\n');
    return r;
}

static int read_schemas(const char *path, struct sl_json_doc **ret_doc, struct sl_diag *diag)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, SCHEMAS_BYTES_MAX + 1);
    size_t len = file && text ? fread(text, 1, SCHEMAS_BYTES_MAX, file) : 0;
    int r;

    /* NUL in a value, which no request may have: another control character does as well */
    for (char *at = text; at && (at = strstr(at, "\\u0000")) != NULL;)
        at[5] = '1';
    r = len ? sl_json_parse(ret_doc, text, len, diag)
            : sl_diag_set(diag, -EIO, "%s cannot be read", path);

    if (file)
        fclose(file);
    free(text);
    return r;
}

static int run(struct bench *b, struct sl_diag *diag)
{
    struct sluice_model_opts opts = {.n_threads = 1, .flags = SLUICE_MODEL_TEXT};
    struct sluice_model_info info;
    struct sl_json_doc *doc = NULL;
    int r = read_schemas(b->args.schemas, &doc, diag);

    if (r == 0)
        r = sluice_model_open(&b->model, b->args.model, &opts, (struct sluice_error *)diag);
    if (r < 0)
        goto done;
    sluice_model_get_info(b->model, &info);
    b->n_vocab = info.n_vocab;
    b->logits = calloc(info.n_vocab, sizeof(*b->logits));
    r = b->logits ? measure_plain(b) : -ENOMEM;
    for (size_t i = 0; i < sl_json_n_items(sl_json_root(doc)) && r >= 0; i++)
        r = measure_schema(b, sl_json_item(sl_json_root(doc), i));
    if (r >= 0)
        r = print_all(b);
done:
    free(b->logits);
    free(b->values.us);
    free(b->drawn.us);
    sluice_model_close(b->model);
    if (doc)
        sl_json_free(doc);
    return r;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"texts", 't', "N", 0, "Texts drawn for each schema, default 4", 0},
        {"tokens", 'n', "N", 0, "Of a text at most, default 200", 0},
        {"seed", 's', "N", 0, "Of what is drawn, default 1", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "MODEL SCHEMAS",
        .doc = "Measure what JSON schemas cost at every token.",
    };
    struct bench b = {.args = {.n_texts = 4, .n_tokens = 200, .seed = 1}};
    struct sl_diag diag = {""};
    int r;

    argp_parse(&argp, argc, argv, 0, NULL, &b.args);
    b.random = 0x9E3779B97F4A7C15u + b.args.seed;
    r = run(&b, &diag);
    if (r < 0)
        fprintf(stderr, "structured: %s\n", diag.text[0] ? diag.text : sl_err_text(r));
    return r < 0;
}
