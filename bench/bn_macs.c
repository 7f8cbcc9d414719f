/*
 * Every matrix of a layer is multiplied once for a token, of a stack of experts n_used are.
 * Logits come from output.weight, or from the embeddings where that is missing.
 */
#include "bench/bn_macs.h"

#include <string.h>

#include "loader/gguf.h"

static uint64_t matrix(const struct sl_gguf_tensor *t)
{
    return (uint64_t)t->ne[0] * t->ne[1];
}

int bn_macs_count(struct bn_macs *ret_macs, const char *path, uint32_t n_used,
                  struct sl_diag *diag)
{
    struct bn_macs macs = { 0 };
    const struct sl_gguf_tensor *head;
    struct sl_gguf *gguf;
    int r = sl_gguf_open(&gguf, path, SL_GGUF_HEADLESS, diag);

    if (r < 0)
        return r;
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        if (t->n_dims >= 2 && t->name.len > 4 && memcmp(t->name.ptr, "blk.", 4) == 0)
            macs.token += matrix(t) * (t->ne[2] > 1 ? n_used : 1);
    }
    head = sl_gguf_tensor_find(gguf, "output.weight");
    head = head ? head : sl_gguf_tensor_find(gguf, "token_embd.weight");
    macs.head = head ? matrix(head) : 0;
    sl_gguf_close(gguf);
    *ret_macs = macs;
    return 0;
}
