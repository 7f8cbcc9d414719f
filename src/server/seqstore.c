/*
 * A fork shares the blocks of what it was forked from, so a copy costs little more than its
 * number. A sequence whose tokens are the beginning of another's is therefore worth little:
 * the other can be gone back from, at most 255 tokens of work away. When numbers are short,
 * the oldest of such ones is given up before any other, but for what chats have in common:
 * that is of use as long as any of them goes on or a new one begins, so it goes by its age
 * alone. When it is room that is short, beginnings free none, and the oldest of all goes.
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
    uint32_t *floors; /* [n_seq_max] of each sequence: it is free to go back so far, as far as its
                         last tokens allow; what was gone back in before remembers less */
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
    store->floors = calloc(engine->opts.n_seq_max, sizeof(*store->floors));
    if (!store->list || !store->floors) {
        sl_seqstore_free(store);
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
    free(store->floors);
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

void sl_seqstore_set_floor(struct sl_seqstore *store, int seq, uint32_t n)
{
    store->floors[seq] = n;
}

/* The lowest position that the sequence's last tokens are free to go back to. */
static uint32_t floor_of(const struct sl_seqstore *store, int seq)
{
    uint32_t n_tok = tokens_of(store, seq, NULL);
    uint32_t last = n_tok > SL_SEQSTORE_FREE_TOK ? n_tok - SL_SEQSTORE_FREE_TOK : 0;

    return store->floors[seq] > last ? store->floors[seq] : last;
}

/* A fork of the sequence that has its first n tokens. Returns it, or what the engine said. */
static int fork_at(struct sl_seqstore *store, int seq, uint32_t n)
{
    const struct sl_enginefn *engine = store->engine;
    uint32_t floor = floor_of(store, seq);
    int fork = engine->seq_fork(engine->arg, seq), r;

    if (fork < 0)
        return fork;
    r = engine->seq_rewind(engine->arg, fork, n);
    if (r < 0) {
        (void)engine->seq_free(engine->arg, fork); /* it was just made */
        return r;
    }
    store->floors[fork] = n < floor ? n : floor;
    return fork;
}

/* How many tokens a fork of the entry could keep without computing any. */
static uint32_t kept(const struct sl_seqstore *store, const struct entry *entry,
                     const int32_t *tokens, uint32_t n_most)
{
    const int32_t *past;
    uint32_t n_past = tokens_of(store, entry->seq, &past);
    uint32_t n = common(past, n_past, tokens, n_most);

    if (n >= floor_of(store, entry->seq))
        return n;
    return n / SL_SEQSTORE_BLOCK_TOK * SL_SEQSTORE_BLOCK_TOK;
}

int sl_seqstore_fork(struct sl_seqstore *store, const int32_t *tokens, uint32_t n,
                     uint32_t *ret_n_kept)
{
    struct entry *best = NULL;
    uint32_t best_n = 0;
    int seq;

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
    seq = fork_at(store, best->seq, best_n);
    if (seq >= 0)
        *ret_n_kept = best_n;
    return seq;
}

/* The entry that holds just these tokens, or NULL. */
static struct entry *find_same(struct sl_seqstore *store, const int32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < store->n; i++) {
        const int32_t *past;
        uint32_t n_past = tokens_of(store, store->list[i].seq, &past);

        if (n_past == n && memcmp(past, tokens, n * sizeof(*tokens)) == 0)
            return &store->list[i];
    }
    return NULL;
}

void sl_seqstore_touch(struct sl_seqstore *store, const int32_t *tokens, uint32_t n)
{
    struct entry *same = find_same(store, tokens, n);

    if (same)
        same->used = ++store->clock;
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
            store->list[i].kind != SL_SEQSTORE_FIRST && is_beginning(store, i))
            found = i;
    remove_entry(store, found != UINT32_MAX ? found : find_oldest(store));
}

void sl_seqstore_put(struct sl_seqstore *store, int seq, enum sl_seqstore_kind kind,
                     uint32_t slot)
{
    const int32_t *tokens = NULL;
    uint32_t n_tok = tokens_of(store, seq, &tokens);
    struct entry *same = find_same(store, tokens, n_tok);

    if (same) {
        same->used = ++store->clock;
        same->slot = slot;
        same->kind = kind < same->kind ? kind : same->kind;
    }
    if (same || n_tok == 0) {
        (void)store->engine->seq_free(store->engine->arg, seq); /* the caller's, so it exists */
        return;
    }
    make_room(store);
    store->list[store->n++] =
        (struct entry){.seq = seq, .kind = kind, .slot = slot, .used = ++store->clock};
}

void sl_seqstore_copy(struct sl_seqstore *store, int seq, uint32_t n_tok,
                      enum sl_seqstore_kind kind, uint32_t slot)
{
    const int32_t *tokens = NULL;
    struct entry *same;
    int copy;

    (void)tokens_of(store, seq, &tokens); /* n_tok or more */
    assert(n_tok > 0 && tokens);
    same = find_same(store, tokens, n_tok);
    if (same) {
        same->used = ++store->clock;
        return;
    }
    make_room(store);
    copy = fork_at(store, seq, n_tok);
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
