/*
 * What sequences remember: the KV cache in blocks of 256 positions, and the recent
 * inputs of the short convolutions. All sequences of a session share one pool of
 * blocks; a block that several of them share is copied before one of them writes.
 * Called by the session (bookkeeping, between steps) and by attn.c and conv.c (data,
 * inside a step). Bookkeeping: one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "kernels/kernels.h"
#include "model/hparams.h"

/* A live sequence can be rewound this far without computing anything. */
#define SL_REWIND_FREE 32u
#define SL_SEQS_MAX 256u
#define SL_MARKS_MAX 16u

struct sl_timeline_opts {
    uint32_t n_ctx;  /* positions over all sequences; rounded up to whole blocks */
    uint32_t n_seqs; /* 1..SL_SEQS_MAX */
    uint32_t n_marks; /* of a sequence, 0..SL_MARKS_MAX */
    enum sl_kv_type kv_type;
};

struct sl_seq {
    bool is_used;
    uint32_t n_tok;        /* tokens computed */
    int64_t ring_lo;       /* oldest position whose inputs the ring holds; before 0 they
                              are zeros */
    int32_t *tokens;       /* [n_ctx] */
    uint32_t *blocks;      /* [n_blocks]: the pool index of each block in use */
    float *ring;           /* [n_conv_layers][ring_len][width]: convolution inputs, position p
                              in row p % ring_len */
    uint32_t *marks;       /* [n_marks]: positions to go back to; 0: none. Of those up to n_tok
                              mark_rows has the inputs, the others are still to come */
    float *mark_rows;      /* [n_marks][n_conv_layers][n_taps - 1][width]: what a snapshot has */
    uint32_t n_marked;     /* marks set so far */
};

struct sl_timeline {
    /* set once */
    const struct sl_hparams *hp; /* borrowed */
    struct sl_timeline_opts opts;
    uint32_t n_blocks;
    uint32_t ring_len; /* SL_REWIND_FREE + n_taps - 1 */
    size_t block_bytes, kv_head_bytes, snapshot_off;
    uint32_t head_base[SL_LAYERS_MAX]; /* KV heads in attention layers before this one */
    uint32_t conv_index[SL_LAYERS_MAX]; /* convolution layers before this one */
    /* owned by the thread that calls */
    char *block_data;    /* [n_blocks][block_bytes] */
    uint32_t *refs;      /* [n_blocks] */
    uint32_t *free_list; /* [n_free] */
    uint32_t n_free;
    struct sl_seq *seqs; /* [n_seqs] */
};

/* Lay out the timeline in an arena: called twice, see base/arena.h. hp must outlive it. */
void sl_timeline_layout(struct sl_timeline *tl, const struct sl_hparams *hp,
                        const struct sl_timeline_opts *opts, struct sl_arena *arena);
/* After the second layout: all blocks free, no sequences. */
void sl_timeline_reset(struct sl_timeline *tl);

/* Index, or -E2BIG when all are in use. */
int sl_timeline_new_seq(struct sl_timeline *tl);
void sl_timeline_free_seq(struct sl_timeline *tl, uint32_t seq);
int sl_timeline_fork(struct sl_timeline *tl, uint32_t seq);

/* Make pos, beyond n_tok, a position to go back to, in place of the oldest mark. */
void sl_timeline_mark(struct sl_timeline *tl, uint32_t seq, uint32_t pos);

/* Blocks that appending n_more tokens to a sequence would take from the free ones,
 * copies of shared blocks included. */
uint32_t sl_timeline_blocks_needed(const struct sl_timeline *tl, uint32_t seq, uint32_t n_more);

/* Make the positions [n_tok, n_tok + n_more) writable. The caller has checked that
 * there are enough free blocks (asserted). */
void sl_timeline_extend(struct sl_timeline *tl, uint32_t seq, uint32_t n_more);

/* Record that the tokens have been computed. */
void sl_timeline_commit(struct sl_timeline *tl, uint32_t seq, const int32_t *tokens,
                        uint32_t n_more);

/* Whether there would be a block for what a rewind has to compute again. */
bool sl_timeline_can_rewind(const struct sl_timeline *tl, uint32_t seq, uint32_t n_keep);

/*
 * Forget positions from n_keep on. Returns the position at which the sequence now
 * stands: n_keep, or an earlier block boundary if convolution inputs must be computed
 * again from there (at most 255; the caller has asked sl_timeline_can_rewind); the tokens
 * up to n_keep are then still in seq->tokens.
 */
uint32_t sl_timeline_rewind(struct sl_timeline *tl, uint32_t seq, uint32_t n_keep);

/* A block of a sequence, KV data and snapshot: block_bytes. */
void *sl_timeline_block(const struct sl_timeline *tl, uint32_t seq, uint32_t i_block);

/* KV data of a block of a sequence: one KV head of an attention layer. */
void *sl_timeline_kv(const struct sl_timeline *tl, uint32_t seq, uint32_t layer, uint32_t head,
                     uint32_t i_block);

/* Ring row of position pos of a convolution layer; pos >= ring_lo, or any position for
 * writing. Positions before 0 read as zeros: sl_timeline_ring returns NULL for them. */
float *sl_timeline_ring(const struct sl_timeline *tl, uint32_t seq, uint32_t layer, int64_t pos);

/* The rows of mark i, as of a snapshot. */
float *sl_timeline_mark_rows(const struct sl_timeline *tl, uint32_t seq, uint32_t layer,
                             uint32_t i_mark);

/* Snapshot of a convolution layer at the end of a block: rows of positions end -
 * (n_taps - 1) .. end - 1, oldest first. */
float *sl_timeline_snapshot(const struct sl_timeline *tl, uint32_t seq, uint32_t layer,
                            uint32_t i_block);
