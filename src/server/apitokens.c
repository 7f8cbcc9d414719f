#include "server/apitokens.h"

#include <errno.h>
#include <stdlib.h>

#include "server/apijson.h"
#include "text/vector.h"

void sl_apitokens_done(struct sl_apitokens *t)
{
    free(t->list);
    sl_strbuf_done(&t->pieces);
    *t = (struct sl_apitokens){0};
}

void sl_apitokens_clear(struct sl_apitokens *t)
{
    t->n = 0;
    sl_strbuf_cut(&t->pieces, 0);
}

static void add_prob(struct sl_apitokens *t, const struct sl_genprob *prob, uint32_t n_top)
{
    t->list[t->n++] = (struct sl_apitoken){.id = prob->token,
                                           .logprob = prob->logprob,
                                           .piece_off = t->pieces.len,
                                           .piece_len = prob->len,
                                           .n_top = n_top};
    sl_strbuf_add(&t->pieces, prob->piece, prob->len);
}

int sl_apitokens_add(struct sl_apitokens *t, const struct sl_genevent *event)
{
    if (sl_vector_grow(&t->list, &t->cap, t->n, 1 + event->token.n_top) < 0)
        return -ENOMEM;
    add_prob(t, &event->token.chosen, event->token.n_top);
    for (uint32_t i = 0; i < event->token.n_top; i++)
        add_prob(t, &event->token.top[i], 0);
    return t->pieces.error;
}

void sl_apitokens_write_ids(const struct sl_apitokens *t, struct sl_jsonwriter *w)
{
    sl_jsonwriter_begin_array(w);
    for (uint32_t i = 0; i < t->n; i += 1 + t->list[i].n_top)
        sl_jsonwriter_i64(w, t->list[i].id);
    sl_jsonwriter_end_array(w);
}

/* The members of one token, within its object. */
static void write_token(const struct sl_apitokens *t, uint32_t i, uint32_t flags,
                        struct sl_jsonwriter *w)
{
    const struct sl_apitoken *token = &t->list[i];
    const char *piece = token->piece_len ? t->pieces.ptr + token->piece_off : "";

    if (flags & SL_APITOKENS_IDS)
        sl_apijson_i64(w, "id", token->id);
    sl_apijson_text_len(w, "token", piece, token->piece_len);
    sl_apijson_array(w, "bytes");
    for (size_t k = 0; k < token->piece_len; k++)
        sl_jsonwriter_i64(w, (unsigned char)piece[k]);
    sl_jsonwriter_end_array(w);
    sl_apijson_f64(w, "logprob", (double)token->logprob);
}

void sl_apitokens_write_probs(const struct sl_apitokens *t, uint32_t first, uint32_t flags,
                              struct sl_jsonwriter *w)
{
    sl_jsonwriter_begin_array(w);
    for (uint32_t i = first; i < t->n; i += 1 + t->list[i].n_top) {
        sl_jsonwriter_begin_object(w);
        write_token(t, i, flags, w);
        if (t->list[i].n_top || !(flags & SL_APITOKENS_NO_TOP)) {
            sl_apijson_array(w, "top_logprobs");
            for (uint32_t k = i + 1; k <= i + t->list[i].n_top; k++) {
                sl_jsonwriter_begin_object(w);
                write_token(t, k, flags, w);
                sl_jsonwriter_end_object(w);
            }
            sl_jsonwriter_end_array(w);
        }
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_array(w);
}
