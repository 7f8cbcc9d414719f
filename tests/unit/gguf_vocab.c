/*
 * The vocabulary inside a GGUF file, for tests of the text layer, which knows nothing
 * of files.
 */
#include "tests/unit/gguf_vocab.h"

#include <errno.h>
#include <stdlib.h>

#include "loader/gguf.h"

/* NULL: missing, or no memory. */
static struct sl_str_view *read_strings(const struct sl_gguf *gguf, const char *key,
                                        uint32_t *ret_n)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, key);
    struct sl_str_view *strings;
    uint64_t cursor = 0;

    if (!kv)
        return NULL;
    strings = calloc(kv->n_items + 1, sizeof(*strings));
    for (uint64_t i = 0; strings && i < kv->n_items; i++) {
        struct sl_gguf_str str;

        if (!sl_gguf_kv_str(kv, &cursor, &str)) {
            free(strings);
            return NULL;
        }
        strings[i] = (struct sl_str_view){str.ptr, str.len};
    }
    *ret_n = (uint32_t)kv->n_items;
    return strings;
}

static int32_t read_i32(const struct sl_gguf *gguf, const char *key, uint64_t i, int32_t fallback)
{
    uint64_t value;

    if (!sl_gguf_kv_u64(sl_gguf_kv_find(gguf, key), i, &value))
        return fallback;
    return (int32_t)value;
}

int gguf_vocab_read(struct sl_vocab **ret_vocab, const char *path, struct sl_diag *diag)
{
    struct sl_vocab_opts opts = {.pre = {"", 0}};
    struct sl_str_view *tokens = NULL, *merges = NULL;
    struct sl_gguf *gguf = NULL;
    struct sl_gguf_str pre;
    int32_t *types = NULL;
    uint64_t cursor = 0;
    int r;

    r = sl_gguf_open(&gguf, path, 0, diag);
    if (r < 0)
        return r;
    tokens = read_strings(gguf, "tokenizer.ggml.tokens", &opts.n_tokens);
    merges = read_strings(gguf, "tokenizer.ggml.merges", &opts.n_merges);
    types = calloc((size_t)opts.n_tokens + 1, sizeof(*types));
    if (!tokens || !merges || !types) {
        r = sl_diag_set(diag, -EBADMSG, "%s: no vocabulary", path);
        goto out;
    }
    for (uint32_t i = 0; i < opts.n_tokens; i++)
        types[i] = read_i32(gguf, "tokenizer.ggml.token_type", i, SL_TOKEN_NORMAL);
    opts.tokens = tokens;
    opts.merges = merges;
    opts.types = types;
    opts.bos = read_i32(gguf, "tokenizer.ggml.bos_token_id", 0, -1);
    opts.eos = read_i32(gguf, "tokenizer.ggml.eos_token_id", 0, -1);
    opts.pad = read_i32(gguf, "tokenizer.ggml.padding_token_id", 0, -1);
    opts.add_bos = read_i32(gguf, "tokenizer.ggml.add_bos_token", 0, 1);
    opts.add_eos = read_i32(gguf, "tokenizer.ggml.add_eos_token", 0, 0);
    if (sl_gguf_kv_str(sl_gguf_kv_find(gguf, "tokenizer.ggml.pre"), &cursor, &pre))
        opts.pre = (struct sl_str_view){pre.ptr, pre.len};
    r = sl_vocab_new(ret_vocab, &opts, diag);

out:
    free(tokens);
    free(merges);
    free(types);
    sl_gguf_close(gguf);
    return r;
}
