/*
 * Models are told apart by clients by name and by digest. The digest is no hash of the file,
 * which may have tens of gigabytes: it is made of its name, size and time, and stays the same
 * as long as they do.
 */
#include "cli/serveenv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/benchrun.h"
#include "cli/metadata.h"
#include "model/engine.h"
#include "store/filetype.h"

static const char *file_type(const struct sl_gguf *gguf)
{
    const char *name = NULL;
    uint64_t type;

    if (sl_gguf_kv_u64(sl_gguf_kv_find(gguf, "general.file_type"), 0, &type))
        name = sl_filetype_name(type);
    return name ? name : "unknown";
}

static char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');

    return strndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t seed, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < n; i++)
        seed = (seed ^ at[i]) * 0x100000001B3u;
    return seed;
}

static char *make_digest(const char *name, uint64_t file_bytes, int64_t modified_s)
{
    uint64_t words[4];
    char *text = NULL;

    for (uint64_t i = 0; i < 4; i++) {
        words[i] = hash(0xCBF29CE484222325u + i, name, strlen(name));
        words[i] = hash(words[i], &file_bytes, sizeof(file_bytes));
        words[i] = hash(words[i], &modified_s, sizeof(modified_s));
    }
    if (asprintf(&text, "sha256:%016" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64, words[0],
                 words[1], words[2], words[3]) < 0)
        return NULL;
    return text;
}

static char *make_fingerprint(const char *digest)
{
    char *text = NULL;

    return asprintf(&text, "b%s-%.8s", sluice_version(), digest + strlen("sha256:")) < 0 ? NULL
                                                                                        : text;
}

static char *token_text(const struct sluice_model *model, int32_t id)
{
    const char *piece = "";
    int len = id < 0 ? 0 : sluice_token_piece(model, id, true, &piece);

    return strndup(piece, len > 0 ? (size_t)len : 0);
}

static char *template_text(const struct sl_gguf *gguf)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, "tokenizer.chat_template");
    struct sl_gguf_str str = {"", 0};
    uint64_t cursor = 0;

    if (kv && !sl_gguf_kv_str(kv, &cursor, &str))
        str.len = 0;
    return strndup(str.ptr, str.len);
}

static char *metadata_json(const struct sl_gguf *gguf)
{
    struct sl_jsonwriter w;
    char *text = NULL;
    size_t len;
    int r;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    for (uint32_t i = 0; i < sl_gguf_n_kv(gguf); i++) {
        const struct sl_gguf_kv *kv = sl_gguf_kv_at(gguf, i);

        sl_jsonwriter_key_len(&w, kv->key.ptr, kv->key.len);
        sl_metadata_write(&w, kv, false);
    }
    sl_jsonwriter_end_object(&w);
    r = sl_strbuf_take(&w.buf, &text, &len);
    return sl_jsonwriter_done(&w) < 0 || r < 0 ? NULL : text;
}

/* The model's settings, then what was given. */
static int set_sampling(struct sl_apienv *env, const struct sluice_model *text,
                        const struct sl_sampling_args *args)
{
    struct sluice_logit_bias *bias;
    int r = sl_options_sampler(args, text, &env->sampling, &bias);

    free(bias); /* a request's own, not a default */
    env->sampling.bias = NULL;
    env->sampling.n_bias = 0;
    env->n_predict_max = args->n_max ? (int64_t)args->n_max : -1;
    return r;
}

int sl_serveenv_init(struct sl_serveenv *e, const struct sluice_model *text,
                     const char *const *names, size_t n_names,
                     const struct sl_sampling_args *sampling)
{
    const struct sl_gguf *gguf = text->gguf;
    struct sluice_model_info info;
    struct stat st = {0};
    const char *slash;

    sluice_model_get_info(text, &info);
    (void)stat(info.path, &st); /* it is open; without them the times are 0 */
    slash = strrchr(info.path, '/');
    *e = (struct sl_serveenv){
        .model = n_names ? strdup(names[0]) : file_name(info.path),
        .digest = make_digest(slash ? slash + 1 : info.path, info.file_bytes, st.st_mtime),
        .chat_template = template_text(gguf),
        .bos = token_text(text, info.bos),
        .eos = token_text(text, info.eos),
        .model_info_json = metadata_json(gguf),
    };
    e->fingerprint = e->digest ? make_fingerprint(e->digest) : NULL;
    if (!e->model || !e->digest || !e->chat_template || !e->bos || !e->eos ||
        !e->model_info_json || !e->fingerprint)
        return -ENOMEM;
    e->env = (struct sl_apienv){
        .model = e->model,
        .aliases = n_names ? names + 1 : NULL,
        .n_aliases = n_names ? n_names - 1 : 0,
        .version = sluice_version(),
        .fingerprint = e->fingerprint,
        .path = info.path,
        .digest = e->digest,
        .architecture = info.architecture,
        .quantization = file_type(gguf),
        .chat_template = e->chat_template,
        .bos = e->bos,
        .eos = e->eos,
        .model_info_json = e->model_info_json,
        .has_tools = text->chat_template != SL_CHAT_CHATML,
        .has_calls = text->chat_template >= SL_CHAT_LFM25_THINKING,
        .has_thinking = text->chat_template >= SL_CHAT_LFM25_THINKING ||
                        strstr(e->chat_template, "<think>") != NULL,
        .n_ctx_train_tok = info.n_ctx_train,
        .n_vocab = info.n_vocab,
        .n_embd = text->hp.width,
        .n_params = sl_benchrun_n_params(text),
        .file_bytes = info.file_bytes,
        .started_s = (int64_t)time(NULL),
        .modified_s = st.st_mtime,
    };
    return set_sampling(&e->env, text, sampling);
}

void sl_serveenv_done(struct sl_serveenv *e)
{
    free(e->model);
    free(e->fingerprint);
    free(e->digest);
    free(e->chat_template);
    free(e->bos);
    free(e->eos);
    free(e->model_info_json);
    *e = (struct sl_serveenv){0};
}
