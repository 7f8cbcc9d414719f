/*
 * Text to ids, in four steps, each in its own file:
 *
 *   special.c   special tokens are cut out; what lies between is text
 *   here        text is cut at bytes that are not UTF-8; each such byte is a piece
 *   split.c     valid text is cut into pieces by the model's expression
 *   bpe.c       a piece that is a token as a whole is that token (the lfm2 rule:
 *               ignore_merges), else its bytes are merged
 *
 * For valid UTF-8 the ids are llama.cpp's. For other bytes llama.cpp puts U+FFFD or
 * stops; here no byte is lost: the pieces of the ids give back the input, as long as
 * the vocabulary has the 256 byte tokens. A byte without a token is left out, as
 * llama.cpp does.
 *
 * Calls share nothing but the tokenizer, which they only read.
 */
#include "text/tokenizer.h"

#include <errno.h>
#include <stdlib.h>

#include "text/bpe.h"
#include "text/special.h"
#include "text/split.h"
#include "text/utf8.h"

struct sl_tokenizer {
    const struct sl_vocab *vocab; /* borrowed */
    struct sl_special *special;
    struct sl_split *split;
};

/* One call of encode. */
struct job {
    const struct sl_vocab *vocab;
    struct sl_split_cursor *cursor;
    struct sl_bpe bpe;
    int32_t *ids;
    size_t cap;
    size_t n; /* ids there are; the first cap of them are written */
};

int sl_tokenizer_new(struct sl_tokenizer **ret_tok, const struct sl_vocab *vocab,
                     struct sl_diag *diag)
{
    struct sl_tokenizer *tok;
    int r = -ENOMEM;

    tok = calloc(1, sizeof(*tok));
    if (!tok)
        goto fail;
    tok->vocab = vocab;
    r = sl_special_new(&tok->special, vocab);
    if (r < 0)
        goto fail;
    r = sl_split_new(&tok->split, diag);
    if (r < 0)
        goto fail;
    *ret_tok = tok;
    return 0;

fail:
    if (r == -ENOMEM)
        sl_diag_set(diag, r, "not enough memory for the tokenizer");
    sl_tokenizer_free(tok);
    return r;
}

void sl_tokenizer_free(struct sl_tokenizer *tok)
{
    if (!tok)
        return;
    sl_special_free(tok->special);
    sl_split_free(tok->split);
    free(tok);
}

static void emit(struct job *job, int32_t id)
{
    if (job->n < job->cap)
        job->ids[job->n] = id;
    job->n++;
}

static int encode_piece(struct job *job, const char *piece, size_t len)
{
    int32_t id = sl_vocab_find_bytes(job->vocab, piece, len);
    int64_t n;

    if (id >= 0) {
        emit(job, id);
        return 0;
    }
    n = sl_bpe_run(&job->bpe, job->vocab, piece, len);
    if (n < 0)
        return (int)n;
    for (size_t i = 0; i < (size_t)n; i++)
        emit(job, sl_bpe_id(&job->bpe, i));
    return 0;
}

static int encode_text(struct job *job, const char *text, size_t len)
{
    int r;

    while (len > 0) {
        size_t valid = sl_utf8_valid_len(text, len);

        for (size_t off = 0; off < valid;) {
            int64_t end = sl_split_next(job->cursor, text, valid, off);

            if (end < 0)
                return (int)end;
            r = encode_piece(job, text + off, (size_t)end - off);
            if (r < 0)
                return r;
            off = (size_t)end;
        }
        text += valid;
        len -= valid;
        if (len > 0) {
            r = encode_piece(job, text, 1);
            if (r < 0)
                return r;
            text++;
            len--;
        }
    }
    return 0;
}

static int encode_parts(struct job *job, const char *text, size_t len,
                        const struct sl_special_hit *hits, size_t n_hits)
{
    size_t off = 0;
    int r;

    for (size_t i = 0; i < n_hits; i++) {
        r = encode_text(job, text + off, hits[i].off - off);
        if (r < 0)
            return r;
        emit(job, hits[i].id);
        off = hits[i].off + hits[i].len;
    }
    return encode_text(job, text + off, len - off);
}

int64_t sl_tokenizer_encode(const struct sl_tokenizer *tok, const char *text, size_t len,
                            uint32_t flags, int32_t *ids, size_t cap)
{
    const struct sl_vocab *vocab = tok->vocab;
    struct job job = {.vocab = vocab, .ids = ids, .cap = cap};
    struct sl_special_hit *hits = NULL;
    size_t n_hits = 0;
    int r;

    if (len > SL_TOKENIZER_TEXT_BYTES_MAX)
        return -E2BIG;
    job.cursor = sl_split_cursor_new(tok->split);
    if (!job.cursor)
        return -ENOMEM;
    r = sl_special_find(tok->special, text, len,
                        flags & SL_TOKENIZER_SPECIAL ? SL_SPECIAL_CONTROL : 0, &hits, &n_hits);
    if (r < 0)
        goto out;

    if ((flags & SL_TOKENIZER_BOS) && sl_vocab_add_bos(vocab) && sl_vocab_bos(vocab) >= 0)
        emit(&job, sl_vocab_bos(vocab));
    r = encode_parts(&job, text, len, hits, n_hits);
    if (r < 0)
        goto out;
    if ((flags & SL_TOKENIZER_BOS) && sl_vocab_add_eos(vocab) && sl_vocab_eos(vocab) >= 0)
        emit(&job, sl_vocab_eos(vocab));

out:
    free(hits);
    sl_bpe_done(&job.bpe);
    sl_split_cursor_free(job.cursor);
    return r < 0 ? r : (int64_t)job.n;
}

bool sl_tokenizer_has_jit(const struct sl_tokenizer *tok)
{
    return sl_split_has_jit(tok->split);
}
