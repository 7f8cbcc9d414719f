/*
 * Tokens are sorted by their bytes; then each adds the bytes by which it goes beyond what
 * it shares with the one before. Two tokens of the same bytes are two nodes beside each
 * other, the first without a subtree. 65,536 tokens make some 150,000 nodes in 15 ms, which
 * is why it is shared: where two threads want the first one, both make it, and one is kept.
 */
#include "text/tokentrie.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "text/vector.h"

struct word {
    struct sl_str_view text;
    int32_t token;
};

static int by_bytes(const void *pa, const void *pb)
{
    const struct word *a = pa, *b = pb;
    int c = memcmp(a->text.ptr, b->text.ptr, a->text.len < b->text.len ? a->text.len : b->text.len);

    if (c == 0 && a->text.len != b->text.len)
        c = a->text.len < b->text.len ? -1 : 1;
    return c ? c : (a->token > b->token) - (a->token < b->token);
}

static uint32_t collect(struct sl_tokentrie *trie, struct word *words)
{
    uint32_t n = 0;

    for (int32_t id = 0; id < (int32_t)sl_vocab_n_tokens(trie->vocab); id++) {
        struct sl_str_view text = sl_vocab_piece(trie->vocab, id);

        if (sl_vocab_is_eog(trie->vocab, id))
            trie->ends[trie->n_ends++] = id;
        else if (!sl_vocab_is_special(trie->vocab, id) && text.len > 0 &&
                 text.len <= SL_TOKENTRIE_BYTES_MAX)
            words[n++] = (struct word){text, id};
    }
    return n;
}

/* Close the subtrees of path that are deeper than depth. */
static void close_path(struct sl_tokentrie *trie, const uint32_t *path, uint32_t from, uint32_t to)
{
    for (uint32_t d = from; d < to; d++)
        trie->nodes[path[d]].size = trie->n_nodes - path[d];
}

static int add_words(struct sl_tokentrie *trie, const struct word *words, uint32_t n)
{
    uint32_t path[SL_TOKENTRIE_BYTES_MAX], n_path = 0, cap = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct sl_str_view *text = &words[i].text;
        uint32_t shared = 0;

        while (shared < n_path && shared < text->len &&
               trie->nodes[path[shared]].byte == (uint8_t)text->ptr[shared])
            shared++;
        if (shared == text->len)
            shared--; /* the same bytes again */
        close_path(trie, path, shared, n_path);
        if (sl_vector_grow(&trie->nodes, &cap, trie->n_nodes, (uint32_t)text->len) < 0)
            return -ENOMEM;
        for (n_path = shared; n_path < text->len; n_path++) {
            path[n_path] = trie->n_nodes;
            trie->nodes[trie->n_nodes++] = (struct sl_tokentrie_node){
                .token = -1, .depth = (uint16_t)(n_path + 1), .byte = (uint8_t)text->ptr[n_path]};
        }
        trie->nodes[trie->n_nodes - 1].token = words[i].token;
    }
    close_path(trie, path, 0, n_path);
    return 0;
}

int sl_tokentrie_new(struct sl_tokentrie **ret_trie, const struct sl_vocab *vocab)
{
    const uint32_t n_tokens = sl_vocab_n_tokens(vocab);
    struct sl_tokentrie *trie = calloc(1, sizeof(*trie));
    struct word *words = malloc(n_tokens * sizeof(*words));
    uint32_t n;
    int r = -ENOMEM;

    if (!trie || !words)
        goto fail;
    trie->vocab = vocab;
    trie->ends = malloc(n_tokens * sizeof(*trie->ends));
    if (!trie->ends)
        goto fail;
    n = collect(trie, words);
    if (n > 1)
        qsort(words, n, sizeof(*words), by_bytes);
    r = add_words(trie, words, n);
    if (r < 0)
        goto fail;
    free(words);
    *ret_trie = trie;
    return 0;

fail:
    free(words);
    sl_tokentrie_free(trie);
    return r;
}

void sl_tokentrie_free(struct sl_tokentrie *trie)
{
    if (!trie)
        return;
    free(trie->nodes);
    free(trie->ends);
    free(trie);
}

struct sl_tokentrie_share {
    /* set once, then read only */
    const struct sl_vocab *vocab;

    /* atomic; the release of who made it pairs with the acquires of who takes it */
    _Atomic(struct sl_tokentrie *) trie; /* NULL: not made */
};

int sl_tokentrie_share_new(struct sl_tokentrie_share **ret_share, const struct sl_vocab *vocab)
{
    struct sl_tokentrie_share *share = calloc(1, sizeof(*share));

    if (!share)
        return -ENOMEM;
    share->vocab = vocab;
    *ret_share = share;
    return 0;
}

void sl_tokentrie_share_free(struct sl_tokentrie_share *share)
{
    if (!share)
        return;
    sl_tokentrie_free(atomic_load_explicit(&share->trie, memory_order_acquire));
    free(share);
}

int sl_tokentrie_share_get(struct sl_tokentrie_share *share,
                           const struct sl_tokentrie **ret_trie)
{
    struct sl_tokentrie *trie = atomic_load_explicit(&share->trie, memory_order_acquire);
    struct sl_tokentrie *mine = NULL;

    if (!trie) {
        int r = sl_tokentrie_new(&mine, share->vocab);

        if (r < 0)
            return r;
        if (atomic_compare_exchange_strong_explicit(&share->trie, &trie, mine,
                                                    memory_order_acq_rel, memory_order_acquire))
            trie = mine;
        else
            sl_tokentrie_free(mine);
    }
    *ret_trie = trie;
    return 0;
}
