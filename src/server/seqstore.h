/*
 * Sequences that nobody computes just now, kept because a later prompt may begin as they do:
 * the prefix cache. A new prompt begins as a fork of the one that saves most; the store keeps
 * its own. The least recently useful are given up when there are too many, or when the
 * context has no room left (sl_seqstore_evict, by whoever meets -ENOMEM). Owned by the
 * scheduler; engine thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/enginefn.h"

/* What sluice.h says of going back: so far for nothing; further, to any multiple of so many
 * for nothing, to other positions by computing from there. */
#define SL_SEQSTORE_FREE_TOK 32
#define SL_SEQSTORE_BLOCK_TOK 256

enum sl_seqstore_kind {
    SL_SEQSTORE_REPLY = 0, /* where a request ended; of two that are the same this counts */
    SL_SEQSTORE_PROMPT,    /* where its prompt ended */
    SL_SEQSTORE_MESSAGE,   /* where all messages but the last ended, which may be changed */
    SL_SEQSTORE_FIRST,     /* where the first message ended, which chats have in common */
};

struct sl_seqstore;

/* At most n_max sequences, at least 1; engine is borrowed. 0 or -ENOMEM. */
int sl_seqstore_new(struct sl_seqstore **ret_store, const struct sl_enginefn *engine,
                    uint32_t n_max);
void sl_seqstore_free(struct sl_seqstore *store); /* frees its sequences; NULL is allowed */

/*
 * A sequence, the caller's, that holds the first ret_n_kept of n tokens, at least one and less
 * than n, and for which nothing had to be computed. -ENOENT: there is none to begin with;
 * -E2BIG: no sequence is free; or what the engine said.
 */
int sl_seqstore_fork(struct sl_seqstore *store, const int32_t *tokens, uint32_t n,
                     uint32_t *ret_n_kept);

/*
 * Tell how far back a sequence of the caller's is free to go, beyond what its last tokens allow:
 * to position n, 0 of one that is new. Those that were forked here are known.
 */
void sl_seqstore_set_floor(struct sl_seqstore *store, int seq, uint32_t n);

/* Take a sequence over from the caller; slot is whose it was. If it is empty, or another
 * holds the same, it is freed instead. */
void sl_seqstore_put(struct sl_seqstore *store, int seq, enum sl_seqstore_kind kind,
                     uint32_t slot);

/* Count as used what holds just these tokens. */
void sl_seqstore_touch(struct sl_seqstore *store, const int32_t *tokens, uint32_t n);

/* Keep a copy of the first n_tok tokens of a sequence that stays the caller's: all of them, or
 * up to a position that it is free to go back to. If that fails there is none, which only
 * costs time later. */
void sl_seqstore_copy(struct sl_seqstore *store, int seq, uint32_t n_tok,
                      enum sl_seqstore_kind kind, uint32_t slot);

/* Give one up. Returns false if there is none. */
bool sl_seqstore_evict(struct sl_seqstore *store);

/* The one that the slot's last request left, else any of the slot's; it stays the store's.
 * -ENOENT: there is none. */
int sl_seqstore_find(const struct sl_seqstore *store, uint32_t slot);

/* Give up those of a slot. Returns the tokens of the longest, 0 if there was none. */
uint32_t sl_seqstore_erase(struct sl_seqstore *store, uint32_t slot);

uint32_t sl_seqstore_n(const struct sl_seqstore *store);

/* Of all of them; what several share counts each time. */
uint64_t sl_seqstore_n_tok(const struct sl_seqstore *store);
