/*
 * A fork shares the blocks of what it was forked from, so a copy costs little more than its
 * number. A sequence whose tokens are the beginning of another's is therefore worth little:
 * the other can be gone back from, at most 255 tokens of work away. When numbers are short,
 * the oldest of such ones is given up before any other. When it is room that is short, they
 * free none, and the oldest of all goes. What chats have in common counts as used whenever a
 * prompt begins with it.
 *
 * Nothing is indexed: a prompt is compared with each sequence, 64 times 32,768 tokens in
 * about a millisecond, and only until the first difference.
 *
 * Invariants: the first n of list are in use, each seq is the store's alone; no two hold the
 * same tokens.
 */
#include "server/seqstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    int seq;
    enum sl_seqstore_kind kind;
    uint32_t slot;
    uint64_t used; /* when it was last of use; greater is later */
};

struct sl_seqstore {
    const struct sl_enginefn *engine; /* borrowed */
    struct entry *list;               /* [n_max] */
    uint32_t n, n_max;
    uint64_t clock;
};

int sl_seqstore_new(struct sl_seqstore **ret_store, const struct sl_enginefn *engine,
                    uint32_t n_max)
{
    struct sl_seqstore *store = calloc(1, sizeof(*store));

    assert(n_max > 0);
    if (!store)
        return -ENOMEM;
    store->engine = engine;
    store->n_max = n_max;
    store->list = calloc(n_max, sizeof(*store->list));
    if (!store->list) {
        free(store);
        return -ENOMEM;
    }
    *ret_store = store;
    return 0;
}

static void remove_entry(struct sl_seqstore *store, uint32_t i)
{
    /* of a sequence that exists */
    (void)store->engine->seq_free(store->engine->arg, store->list[i].seq);
    store->list[i] = store->list[--store->n];
}

void sl_seqstore_free(struct sl_seqstore *store)
{
    if (!store)
        return;
    while (store->n)
        remove_entry(store, store->n - 1);
    free(store->list);
    free(store);
}

static uint32_t tokens_of(const struct sl_seqstore *store, int seq, const int32_t **ret_tokens)
{
    int64_t n = store->engine->seq_tokens(store->engine->arg, seq, ret_tokens);

    return n > 0 ? (uint32_t)n : 0;
}

static uint32_t common(const int32_t *a, uint32_t n_a, const int32_t *b, uint32_t n_b)
{
    uint32_t n = n_a < n_b ? n_a : n_b, i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* How many tokens a fork of the entry could keep without computing any. */
static uint32_t kept(const struct sl_seqstore *store, const struct entry *entry,
                     const int32_t *tokens, uint32_t n_most)
{
    const int32_t *past;
    uint32_t n_past = tokens_of(store, entry->seq, &past);
    uint32_t n = common(past, n_past, tokens, n_most);

    if (n_past - n <= SL_SEQSTORE_FREE_TOK)
        return n;
    return n / SL_SEQSTORE_BLOCK_TOK * SL_SEQSTORE_BLOCK_TOK;
}

/* Count what all chats of this prompt have in common as used. */
static void touch_messages(struct sl_seqstore *store, const int32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < store->n; i++) {
        const int32_t *past;
        uint32_t n_past;

        if (store->list[i].kind != SL_SEQSTORE_MESSAGE)
            continue;
        n_past = tokens_of(store, store->list[i].seq, &past);
        if (common(past, n_past, tokens, n) == n_past)
            store->list[i].used = ++store->clock;
    }
}

int sl_seqstore_fork(struct sl_seqstore *store, const int32_t *tokens, uint32_t n,
                     uint32_t *ret_n_kept)
{
    const struct sl_enginefn *engine = store->engine;
    struct entry *best = NULL;
    uint32_t best_n = 0;
    int seq, r;

    for (uint32_t i = 0; i < store->n && n > 1; i++) {
        uint32_t n_kept = kept(store, &store->list[i], tokens, n - 1);

        if (n_kept > best_n || (n_kept && n_kept == best_n && store->list[i].used > best->used)) {
            best = &store->list[i];
            best_n = n_kept;
        }
    }
    if (!best)
        return -ENOENT;
    best->used = ++store->clock;
    touch_messages(store, tokens, n);
    seq = engine->seq_fork(engine->arg, best->seq);
    if (seq < 0)
        return seq;
    r = engine->seq_rewind(engine->arg, seq, best_n);
    if (r < 0) {
        (void)engine->seq_free(engine->arg, seq); /* it was just made */
        return r;
    }
    *ret_n_kept = best_n;
    return seq;
}

/* An entry that holds the same tokens, or NULL. */
static struct entry *find_same(struct sl_seqstore *store, int seq)
{
    const int32_t *tokens;
    uint32_t n = tokens_of(store, seq, &tokens);

    for (uint32_t i = 0; i < store->n; i++) {
        const int32_t *past;
        uint32_t n_past = tokens_of(store, store->list[i].seq, &past);

        if (n_past == n && memcmp(past, tokens, n * sizeof(*tokens)) == 0)
            return &store->list[i];
    }
    return NULL;
}

/* Whether another entry begins with all that this one holds. */
static bool is_beginning(const struct sl_seqstore *store, uint32_t which)
{
    const int32_t *tokens;
    uint32_t n = tokens_of(store, store->list[which].seq, &tokens);

    for (uint32_t i = 0; i < store->n; i++) {
        const int32_t *past;
        uint32_t n_past = tokens_of(store, store->list[i].seq, &past);

        if (i != which && n_past >= n && common(past, n_past, tokens, n) == n)
            return true;
    }
    return false;
}

static uint32_t find_oldest(const struct sl_seqstore *store)
{
    uint32_t oldest = 0;

    for (uint32_t i = 1; i < store->n; i++)
        if (store->list[i].used < store->list[oldest].used)
            oldest = i;
    return oldest;
}

bool sl_seqstore_evict(struct sl_seqstore *store)
{
    if (store->n == 0)
        return false;
    remove_entry(store, find_oldest(store));
    return true;
}

/* Make room for one more. */
static void make_room(struct sl_seqstore *store)
{
    uint32_t found = UINT32_MAX;

    if (store->n < store->n_max)
        return;
    for (uint32_t i = 0; i < store->n; i++)
        if ((found == UINT32_MAX || store->list[i].used < store->list[found].used) &&
            is_beginning(store, i))
            found = i;
    remove_entry(store, found != UINT32_MAX ? found : find_oldest(store));
}

void sl_seqstore_put(struct sl_seqstore *store, int seq, enum sl_seqstore_kind kind,
                     uint32_t slot)
{
    struct entry *same = find_same(store, seq);

    if (same) {
        same->used = ++store->clock;
        same->slot = slot;
        same->kind = kind < same->kind ? kind : same->kind;
    }
    if (same || tokens_of(store, seq, NULL) == 0) {
        (void)store->engine->seq_free(store->engine->arg, seq); /* the caller's, so it exists */
        return;
    }
    make_room(store);
    store->list[store->n++] =
        (struct entry){.seq = seq, .kind = kind, .slot = slot, .used = ++store->clock};
}

void sl_seqstore_copy(struct sl_seqstore *store, int seq, enum sl_seqstore_kind kind,
                      uint32_t slot)
{
    struct entry *same = find_same(store, seq);
    int copy;

    if (same) {
        same->used = ++store->clock;
        return;
    }
    if (tokens_of(store, seq, NULL) == 0)
        return;
    make_room(store);
    copy = store->engine->seq_fork(store->engine->arg, seq);
    if (copy >= 0)
        sl_seqstore_put(store, copy, kind, slot);
}

int sl_seqstore_find(const struct sl_seqstore *store, uint32_t slot)
{
    const struct entry *found = NULL;

    for (uint32_t i = 0; i < store->n; i++) {
        const struct entry *entry = &store->list[i];
        bool is_reply = entry->kind == SL_SEQSTORE_REPLY;

        if (entry->slot == slot &&
            (!found || (is_reply && found->kind != SL_SEQSTORE_REPLY) ||
             (is_reply == (found->kind == SL_SEQSTORE_REPLY) && entry->used > found->used)))
            found = entry;
    }
    return found ? found->seq : -ENOENT;
}

uint32_t sl_seqstore_erase(struct sl_seqstore *store, uint32_t slot)
{
    uint32_t most = 0;

    for (uint32_t i = 0; i < store->n;) {
        uint32_t n = tokens_of(store, store->list[i].seq, NULL);

        if (store->list[i].slot != slot) {
            i++;
            continue;
        }
        most = n > most ? n : most;
        remove_entry(store, i);
    }
    return most;
}

uint32_t sl_seqstore_n(const struct sl_seqstore *store)
{
    return store->n;
}

uint64_t sl_seqstore_n_tok(const struct sl_seqstore *store)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < store->n; i++)
        n += tokens_of(store, store->list[i].seq, NULL);
    return n;
}
