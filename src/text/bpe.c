/*
 * Byte-pair merging: the merge of lowest rank first, among equals the leftmost,
 * until no neighbours can merge.
 *
 * Symbols are a doubly linked list over an array, one per byte at first; a symbol
 * lives where its first byte is. Candidates lie in a binary heap as one number,
 * rank << 32 | left symbol, so that its order is the order of the rule. A candidate
 * grows stale when either neighbour is merged away; it is then not searched for but
 * recognised when it comes up: the pair that is there now is not the pair of its
 * rank. Each merge takes one candidate and adds two at most, so 2 n places suffice,
 * and the time is O(n log n) whatever the piece: 1 MB of spaces, merged sixteen times
 * over, takes 0.3 s (binary heap 0.35 s).
 */
#include "text/bpe.h"

#include <errno.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define ARITY 4 /* of the heap: four children lie side by side in memory */

struct sl_bpe_symbol {
    int32_t id; /* -1: a byte that has no token */
    uint32_t prev, next;
};

static int grow(struct sl_bpe *bpe, size_t len)
{
    size_t cap = bpe->cap ? bpe->cap : 256;

    if (len <= bpe->cap)
        return 0;
    while (cap < len)
        cap *= 2;
    sl_bpe_done(bpe);
    bpe->symbols = malloc(cap * sizeof(*bpe->symbols));
    bpe->heap = malloc(2 * cap * sizeof(*bpe->heap));
    if (!bpe->symbols || !bpe->heap) {
        sl_bpe_done(bpe);
        return -ENOMEM;
    }
    bpe->cap = cap;
    return 0;
}

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    const uint64_t x = heap[i];

    for (;;) {
        size_t first = ARITY * i + 1, least = first;
        size_t end = first + ARITY < n ? first + ARITY : n;

        if (first >= n)
            break;
        for (size_t child = first + 1; child < end; child++)
            if (heap[child] < heap[least])
                least = child;
        if (heap[least] >= x)
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = x;
}

static void heap_push(uint64_t *heap, size_t *n, uint64_t x)
{
    size_t i = (*n)++;

    while (i > 0 && heap[(i - 1) / ARITY] > x) {
        heap[i] = heap[(i - 1) / ARITY];
        i = (i - 1) / ARITY;
    }
    heap[i] = x;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0];

    heap[0] = heap[--*n];
    sift_down(heap, *n, 0);
    return top;
}

/* The candidate of symbol i and its right neighbour, or UINT64_MAX: none. */
static uint64_t candidate(const struct sl_bpe *bpe, const struct sl_vocab *vocab, uint32_t i)
{
    const struct sl_bpe_symbol *s = &bpe->symbols[i];
    int32_t rank;

    if (s->next == NONE || s->id < 0)
        return UINT64_MAX;
    rank = sl_vocab_merge_rank(vocab, s->id, bpe->symbols[s->next].id);
    return rank < 0 ? UINT64_MAX : (uint64_t)rank << 32 | i;
}

static size_t start(struct sl_bpe *bpe, const struct sl_vocab *vocab, const char *piece, size_t len)
{
    size_t n_heap = 0;

    for (size_t i = 0; i < len; i++)
        bpe->symbols[i] = (struct sl_bpe_symbol){
            .id = sl_vocab_find_bytes(vocab, piece + i, 1),
            .prev = i > 0 ? (uint32_t)i - 1 : NONE,
            .next = i + 1 < len ? (uint32_t)i + 1 : NONE,
        };
    for (size_t i = 0; i + 1 < len; i++) {
        uint64_t x = candidate(bpe, vocab, (uint32_t)i);

        if (x != UINT64_MAX)
            bpe->heap[n_heap++] = x;
    }
    for (size_t i = (n_heap + ARITY - 2) / ARITY; i-- > 0;) /* those with children */
        sift_down(bpe->heap, n_heap, i);
    return n_heap;
}

int64_t sl_bpe_run(struct sl_bpe *bpe, const struct sl_vocab *vocab, const char *piece, size_t len)
{
    struct sl_bpe_symbol *symbols;
    size_t n_heap, n_out = 0;

    if (grow(bpe, len) < 0)
        return -ENOMEM;
    symbols = bpe->symbols;
    n_heap = start(bpe, vocab, piece, len);

    while (n_heap > 0) {
        uint64_t x = heap_pop(bpe->heap, &n_heap);
        const struct sl_merge *m = sl_vocab_merge(vocab, (int32_t)(x >> 32));
        uint32_t left = (uint32_t)x, right = symbols[left].next, next;

        if (symbols[left].id != m->left || right == NONE || symbols[right].id != m->right)
            continue;
        next = symbols[right].next;
        symbols[left].id = m->merged;
        symbols[left].next = next;
        symbols[right].id = -1; /* its own candidates are stale now */
        if (next != NONE)
            symbols[next].prev = left;

        x = candidate(bpe, vocab, left);
        if (x != UINT64_MAX)
            heap_push(bpe->heap, &n_heap, x);
        x = symbols[left].prev != NONE ? candidate(bpe, vocab, symbols[left].prev) : UINT64_MAX;
        if (x != UINT64_MAX)
            heap_push(bpe->heap, &n_heap, x);
    }

    for (uint32_t i = 0; i != NONE; i = symbols[i].next)
        if (symbols[i].id >= 0)
            symbols[n_out++].id = symbols[i].id; /* n_out <= i: still unread after i */
    return (int64_t)n_out;
}

int32_t sl_bpe_id(const struct sl_bpe *bpe, size_t i)
{
    return bpe->symbols[i].id;
}

void sl_bpe_done(struct sl_bpe *bpe)
{
    free(bpe->symbols);
    free(bpe->heap);
    *bpe = (struct sl_bpe){0};
}
