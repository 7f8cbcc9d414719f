/*
 * Special tokens in text.
 *
 * The rule is llama.cpp's: take the special tokens longest first, and cut each,
 * leftmost first, out of what earlier ones left of the text. Equally long ones go by
 * id here; llama.cpp's sort is not stable, so theirs may differ where such tokens
 * overlap. User-defined tokens are always cut, control and unknown ones where asked.
 *
 * Done literally that is one pass per token. Here one pass finds every occurrence
 * of every token: the tokens are sorted by bytes, and at each place the range of
 * those that agree with the text is narrowed byte by byte. Occurrences that touch
 * no other are taken at once. Where some overlap (a cluster), the rule is applied
 * to the cluster alone: sorted by token and place, one is taken if no byte of it is
 * taken yet. Since taken ones are at least as long, it is enough to look at its
 * first and last byte.
 */
#include "text/special.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct sl_str_view text;
    int32_t id;
    uint32_t order; /* 0: tried first */
    bool control;
};

struct sl_special {
    struct entry *entries; /* by bytes */
    uint32_t n;
    uint32_t first[257]; /* entries whose first byte is b: first[b] to first[b + 1] */
};

struct hits {
    struct sl_special_hit *at;
    size_t n, cap;
};

static int by_length(const void *pa, const void *pb)
{
    const struct entry *a = pa, *b = pb;

    if (a->text.len != b->text.len)
        return a->text.len > b->text.len ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static int by_bytes(const void *pa, const void *pb)
{
    const struct entry *a = pa, *b = pb;
    size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
    int d = memcmp(a->text.ptr, b->text.ptr, n);

    if (d != 0)
        return d;
    return (a->text.len > b->text.len) - (a->text.len < b->text.len);
}

static bool is_cut(const struct sl_vocab *vocab, int32_t id)
{
    return sl_vocab_is_special(vocab, id) || sl_vocab_type(vocab, id) == SL_TOKEN_USER_DEFINED;
}

int sl_special_new(struct sl_special **ret_special, const struct sl_vocab *vocab)
{
    const int32_t n_tokens = (int32_t)sl_vocab_n_tokens(vocab);
    struct sl_special *special;
    size_t n = 0;

    special = calloc(1, sizeof(*special));
    if (!special)
        return -ENOMEM;
    for (int32_t id = 0; id < n_tokens; id++)
        n += is_cut(vocab, id);
    special->entries = malloc((n + 1) * sizeof(*special->entries));
    if (!special->entries) {
        sl_special_free(special);
        return -ENOMEM;
    }

    for (int32_t id = 0; id < n_tokens; id++)
        if (is_cut(vocab, id) && sl_vocab_piece(vocab, id).len > 0)
            special->entries[special->n++] = (struct entry){
                .text = sl_vocab_piece(vocab, id),
                .id = id,
                .control = sl_vocab_is_special(vocab, id),
            };
    qsort(special->entries, special->n, sizeof(*special->entries), by_length);
    for (uint32_t i = 0; i < special->n; i++)
        special->entries[i].order = i;
    qsort(special->entries, special->n, sizeof(*special->entries), by_bytes);

    for (uint32_t i = 0; i < special->n; i++)
        special->first[(unsigned char)special->entries[i].text.ptr[0] + 1]++;
    for (int b = 0; b < 256; b++)
        special->first[b + 1] += special->first[b];

    *ret_special = special;
    return 0;
}

void sl_special_free(struct sl_special *special)
{
    if (!special)
        return;
    free(special->entries);
    free(special);
}

/* First entry of [lo, hi) whose byte at depth is at least (above: more than) byte.
 * All of them agree up to depth, and those that end there come first. */
static uint32_t narrow(const struct sl_special *special, uint32_t lo, uint32_t hi, size_t depth,
                       int byte)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct sl_str_view *text = &special->entries[mid].text;
        int b = depth < text->len ? (unsigned char)text->ptr[depth] : -1;

        if (b < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int push(struct hits *hits, struct sl_special_hit hit)
{
    if (hits->n == hits->cap) {
        size_t cap = hits->cap ? hits->cap * 2 : 64;
        struct sl_special_hit *at = realloc(hits->at, cap * sizeof(*at));

        if (!at)
            return -ENOMEM;
        hits->at = at;
        hits->cap = cap;
    }
    hits->at[hits->n++] = hit;
    return 0;
}

/* Every token that begins at off, shortest first. */
static int find_at(const struct sl_special *special, const char *text, size_t len, size_t off,
                   uint32_t flags, struct hits *hits)
{
    uint32_t lo = special->first[(unsigned char)text[off]];
    uint32_t hi = special->first[(unsigned char)text[off] + 1];

    for (size_t depth = 1; lo < hi; depth++) {
        const struct entry *e = &special->entries[lo];
        int byte;

        if (e->text.len == depth && (!e->control || (flags & SL_SPECIAL_CONTROL))) {
            struct sl_special_hit hit = {off, (uint32_t)depth, e->order, e->id};

            if (push(hits, hit) < 0)
                return -ENOMEM;
        }
        if (off + depth == len)
            break;
        byte = (unsigned char)text[off + depth];
        lo = narrow(special, lo, hi, depth, byte);
        hi = narrow(special, lo, hi, depth, byte + 1);
    }
    return 0;
}

static int by_order(const void *pa, const void *pb)
{
    const struct sl_special_hit *a = pa, *b = pb;

    if (a->i_special != b->i_special)
        return a->i_special < b->i_special ? -1 : 1;
    return (a->off > b->off) - (a->off < b->off);
}

static int by_place(const void *pa, const void *pb)
{
    const struct sl_special_hit *a = pa, *b = pb;

    return (a->off > b->off) - (a->off < b->off);
}

/* Keep, of n hits that overlap somewhere within span bytes from start, those that
 * the rule takes; they move to the front, in order of place. */
static int resolve(struct sl_special_hit *at, size_t n, size_t start, size_t span, size_t *ret_n)
{
    unsigned char *taken;
    size_t n_kept = 0;

    taken = calloc(span, 1);
    if (!taken)
        return -ENOMEM;
    qsort(at, n, sizeof(*at), by_order);
    for (size_t i = 0; i < n; i++) {
        struct sl_special_hit hit = at[i];
        unsigned char *bytes = taken + (hit.off - start);

        if (bytes[0] || bytes[hit.len - 1])
            continue;
        memset(bytes, 1, hit.len);
        at[n_kept++] = hit;
    }
    free(taken);
    qsort(at, n_kept, sizeof(*at), by_place);
    *ret_n = n_kept;
    return 0;
}

int sl_special_find(const struct sl_special *special, const char *text, size_t len, uint32_t flags,
                    struct sl_special_hit **ret_hits, size_t *ret_n)
{
    struct hits hits = {0};
    size_t n_out = 0;
    int r = 0;

    for (size_t off = 0; off < len && special->n > 0; off++) {
        unsigned char c = (unsigned char)text[off];

        if (special->first[c] == special->first[c + 1])
            continue;
        r = find_at(special, text, len, off, flags, &hits);
        if (r < 0)
            goto fail;
    }

    for (size_t i = 0, next; i < hits.n; i = next) {
        size_t start = hits.at[i].off, end = start + hits.at[i].len, n_kept = 1;

        for (next = i + 1; next < hits.n && hits.at[next].off < end; next++)
            if (hits.at[next].off + hits.at[next].len > end)
                end = hits.at[next].off + hits.at[next].len;
        if (next > i + 1) {
            r = resolve(hits.at + i, next - i, start, end - start, &n_kept);
            if (r < 0)
                goto fail;
        }
        memmove(hits.at + n_out, hits.at + i, n_kept * sizeof(*hits.at));
        n_out += n_kept;
    }

    *ret_hits = hits.at;
    *ret_n = n_out;
    return 0;

fail:
    free(hits.at);
    return r;
}
