/*
 * Tokens are sorted by part and bytes; then each adds the bytes by which it goes beyond what
 * it shares with the one before in its part. Two tokens of the same bytes are two nodes beside each
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
    uint32_t part;
};

static int by_part(const void *pa, const void *pb)
{
    const struct word *a = pa, *b = pb;
    int c = (a->part > b->part) - (a->part < b->part);

    if (c == 0)
        c = memcmp(a->text.ptr, b->text.ptr,
                   a->text.len < b->text.len ? a->text.len : b->text.len);
    if (c == 0 && a->text.len != b->text.len)
        c = a->text.len < b->text.len ? -1 : 1;
    return c ? c : (a->token > b->token) - (a->token < b->token);
}

static uint32_t part_of(const struct sl_str_view *text)
{
    size_t n_chars;
    enum sl_alphabet alphabet = sl_alphabet_of(text->ptr, text->len, &n_chars);

    return n_chars <= SL_TOKENTRIE_CHARS_MAX ? (uint32_t)alphabet : SL_TOKENTRIE_PARTS - 1;
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
            words[n++] = (struct word){text, id, part_of(&text)};
    }
    return n;
}

/* Close the subtrees of path that are deeper than depth. */
static void close_path(struct sl_tokentrie_part *part, const uint32_t *path, uint32_t from,
                       uint32_t to)
{
    for (uint32_t d = from; d < to; d++)
        part->nodes[path[d]].size = part->n_nodes - path[d];
}

static int add_words(struct sl_tokentrie_part *part, const struct word *words, uint32_t n)
{
    uint32_t path[SL_TOKENTRIE_BYTES_MAX], n_path = 0, cap = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct sl_str_view *text = &words[i].text;
        uint32_t shared = 0;

        while (shared < n_path && shared < text->len &&
               part->nodes[path[shared]].byte == (uint8_t)text->ptr[shared])
            shared++;
        if (shared == text->len)
            shared--; /* the same bytes again */
        close_path(part, path, shared, n_path);
        if (sl_vector_grow(&part->nodes, &cap, part->n_nodes, (uint32_t)text->len) < 0)
            return -ENOMEM;
        for (n_path = shared; n_path < text->len; n_path++) {
            path[n_path] = part->n_nodes;
            part->nodes[part->n_nodes++] = (struct sl_tokentrie_node){
                .token = -1, .depth = (uint16_t)(n_path + 1), .byte = (uint8_t)text->ptr[n_path]};
        }
        part->nodes[part->n_nodes - 1].token = words[i].token;
        part->bits[words[i].token / 64] |= (uint64_t)1 << (words[i].token % 64);
    }
    close_path(part, path, 0, n_path);
    return 0;
}

/* Of n words sorted by part. */
static int add_parts(struct sl_tokentrie *trie, const struct word *words, uint32_t n)
{
    const size_t n_words = (sl_vocab_n_tokens(trie->vocab) + 63) / 64;
    uint32_t first = 0;

    for (uint32_t p = 0; p < SL_TOKENTRIE_PARTS; p++) {
        uint32_t end = first;
        int r;

        trie->parts[p].bits = calloc(n_words, sizeof(*trie->parts[p].bits));
        if (!trie->parts[p].bits)
            return -ENOMEM;
        while (end < n && words[end].part == p)
            end++;
        r = add_words(&trie->parts[p], words + first, end - first);
        if (r < 0)
            return r;
        first = end;
    }
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
        qsort(words, n, sizeof(*words), by_part);
    r = add_parts(trie, words, n);
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
    for (uint32_t p = 0; p < SL_TOKENTRIE_PARTS; p++) {
        free(trie->parts[p].nodes);
        free(trie->parts[p].bits);
    }
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
