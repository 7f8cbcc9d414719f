/*
 * A block holds, for 256 positions, K and V of every attention layer and KV head
 * (sl_kernels_kv_bytes each), and behind them the snapshot: the last n_taps - 1
 * convolution inputs of every convolution layer at the block's end, written when the
 * block becomes full. So any block boundary is a place to go back to, and any other
 * position is reached by computing at most 255 tokens again.
 *
 * Between boundaries the ring of a sequence keeps the inputs of its last 32 +
 * n_taps - 1 positions: going back r <= 32 tokens just moves n_tok. Positions that
 * were marked before they were computed have a snapshot of the sequence's own: what is
 * in it is told by n_tok alone, so that a step that is undone undoes it too.
 *
 * Invariants: refs[b] is the number of sequences whose table names b; b is in the
 * free list exactly when refs[b] is 0; a sequence of n tokens names ceil(n / 256)
 * blocks; positions are only written in blocks with refs 1.
 */
#include "model/timeline.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static uint32_t blocks_of(uint64_t n_tok)
{
    return (uint32_t)((n_tok + SL_KV_BLOCK_TOK - 1) / SL_KV_BLOCK_TOK);
}

static size_t snapshot_floats(const struct sl_hparams *hp)
{
    return (size_t)(hp->n_taps - 1) * hp->width;
}

void sl_timeline_layout(struct sl_timeline *tl, const struct sl_hparams *hp,
                        const struct sl_timeline_opts *opts, struct sl_arena *arena)
{
    uint32_t n_heads = 0, n_conv = 0;
    size_t ring_bytes;

    *tl = (struct sl_timeline){ .hp = hp, .opts = *opts };
    tl->n_blocks = blocks_of(opts->n_ctx);
    tl->ring_len = SL_REWIND_FREE + hp->n_taps - 1;
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        tl->head_base[i] = n_heads;
        tl->conv_index[i] = n_conv;
        n_heads += hp->n_heads_kv[i];
        n_conv += hp->n_heads_kv[i] == 0;
    }
    tl->kv_head_bytes = n_heads ? sl_kernels_kv_bytes(opts->kv_type, hp->head_dim) : 0;
    tl->snapshot_off = n_heads * tl->kv_head_bytes;
    tl->block_bytes = sl_align_up(
        tl->snapshot_off + n_conv * snapshot_floats(hp) * sizeof(float), SL_ARENA_ALIGN);
    tl->block_data = sl_arena_take(arena, tl->block_bytes * tl->n_blocks);
    tl->refs = sl_arena_take(arena, sizeof(*tl->refs) * tl->n_blocks);
    tl->free_list = sl_arena_take(arena, sizeof(*tl->free_list) * tl->n_blocks);
    tl->seqs = sl_arena_take(arena, sizeof(*tl->seqs) * opts->n_seqs);
    ring_bytes = sizeof(float) * n_conv * tl->ring_len * hp->width;
    for (uint32_t i = 0; i < opts->n_seqs; i++) {
        int32_t *tokens = sl_arena_take(arena, sizeof(*tokens) * tl->n_blocks * SL_KV_BLOCK_TOK);
        uint32_t *blocks = sl_arena_take(arena, sizeof(*blocks) * tl->n_blocks);
        float *ring = sl_arena_take(arena, ring_bytes);
        uint32_t *marks = sl_arena_take(arena, sizeof(*marks) * opts->n_marks);
        float *mark_rows =
            sl_arena_take(arena, sizeof(float) * opts->n_marks * n_conv * snapshot_floats(hp));

        if (tl->seqs)
            tl->seqs[i] = (struct sl_seq){ .tokens = tokens, .blocks = blocks, .ring = ring,
                                           .marks = marks, .mark_rows = mark_rows };
    }
}

void sl_timeline_reset(struct sl_timeline *tl)
{
    tl->n_free = tl->n_blocks;
    for (uint32_t i = 0; i < tl->n_blocks; i++) {
        tl->refs[i] = 0;
        tl->free_list[i] = tl->n_blocks - 1 - i;
    }
}

static uint32_t take_block(struct sl_timeline *tl)
{
    uint32_t b;

    assert(tl->n_free > 0);
    b = tl->free_list[--tl->n_free];
    tl->refs[b] = 1;
    return b;
}

static void drop_block(struct sl_timeline *tl, uint32_t b)
{
    assert(tl->refs[b] > 0);
    if (--tl->refs[b] == 0)
        tl->free_list[tl->n_free++] = b;
}

static char *block_ptr(const struct sl_timeline *tl, uint32_t b)
{
    return tl->block_data + (size_t)b * tl->block_bytes;
}

int sl_timeline_new_seq(struct sl_timeline *tl)
{
    for (uint32_t i = 0; i < tl->opts.n_seqs; i++) {
        struct sl_seq *seq = &tl->seqs[i];

        if (seq->is_used)
            continue;
        seq->is_used = true;
        seq->n_tok = 0;
        seq->ring_lo = -(int64_t)tl->ring_len;
        seq->n_marked = 0;
        memset(seq->marks, 0, sizeof(*seq->marks) * tl->opts.n_marks);
        return (int)i;
    }
    return -E2BIG;
}

void sl_timeline_free_seq(struct sl_timeline *tl, uint32_t seq)
{
    struct sl_seq *s = &tl->seqs[seq];

    for (uint32_t i = 0; i < blocks_of(s->n_tok); i++)
        drop_block(tl, s->blocks[i]);
    s->n_tok = 0;
    s->is_used = false;
}

int sl_timeline_fork(struct sl_timeline *tl, uint32_t seq)
{
    const struct sl_seq *from = &tl->seqs[seq];
    uint32_t n_conv = tl->hp->n_conv_layers;
    int id = sl_timeline_new_seq(tl);
    struct sl_seq *to;

    if (id < 0)
        return id;
    to = &tl->seqs[id];
    to->n_tok = from->n_tok;
    to->ring_lo = from->ring_lo;
    memcpy(to->tokens, from->tokens, sizeof(*to->tokens) * from->n_tok);
    memcpy(to->ring, from->ring, sizeof(float) * n_conv * tl->ring_len * tl->hp->width);
    to->n_marked = from->n_marked;
    memcpy(to->marks, from->marks, sizeof(*to->marks) * tl->opts.n_marks);
    memcpy(to->mark_rows, from->mark_rows,
           sizeof(float) * tl->opts.n_marks * n_conv * snapshot_floats(tl->hp));
    for (uint32_t i = 0; i < blocks_of(from->n_tok); i++) {
        to->blocks[i] = from->blocks[i];
        tl->refs[to->blocks[i]]++;
    }
    return id;
}

/* Whether the next token would be written into a block that others see too. */
static bool tail_is_shared(const struct sl_timeline *tl, const struct sl_seq *s)
{
    return s->n_tok % SL_KV_BLOCK_TOK != 0 && tl->refs[s->blocks[s->n_tok / SL_KV_BLOCK_TOK]] > 1;
}

uint32_t sl_timeline_blocks_needed(const struct sl_timeline *tl, uint32_t seq, uint32_t n_more)
{
    const struct sl_seq *s = &tl->seqs[seq];

    if (n_more == 0)
        return 0;
    return blocks_of((uint64_t)s->n_tok + n_more) - blocks_of(s->n_tok) +
           (tail_is_shared(tl, s) ? 1 : 0);
}

void sl_timeline_extend(struct sl_timeline *tl, uint32_t seq, uint32_t n_more)
{
    struct sl_seq *s = &tl->seqs[seq];

    if (n_more == 0)
        return;
    if (tail_is_shared(tl, s)) {
        uint32_t *slot = &s->blocks[s->n_tok / SL_KV_BLOCK_TOK];
        uint32_t copy = take_block(tl);

        memcpy(block_ptr(tl, copy), block_ptr(tl, *slot), tl->block_bytes);
        drop_block(tl, *slot);
        *slot = copy;
    }
    for (uint32_t i = blocks_of(s->n_tok); i < blocks_of((uint64_t)s->n_tok + n_more); i++) {
        s->blocks[i] = take_block(tl);
        /* Kernels read whole groups of positions: what was never written must be
         * finite, and nobody's old text. */
        memset(block_ptr(tl, s->blocks[i]), 0, tl->block_bytes);
    }
}

void sl_timeline_commit(struct sl_timeline *tl, uint32_t seq, const int32_t *tokens,
                        uint32_t n_more)
{
    struct sl_seq *s = &tl->seqs[seq];
    int64_t lo;

    memmove(s->tokens + s->n_tok, tokens, sizeof(*tokens) * n_more);
    s->n_tok += n_more;
    lo = (int64_t)s->n_tok - tl->ring_len;
    if (lo > s->ring_lo)
        s->ring_lo = lo;
}

void sl_timeline_mark(struct sl_timeline *tl, uint32_t seq, uint32_t pos)
{
    struct sl_seq *s = &tl->seqs[seq];

    assert(pos > s->n_tok && tl->opts.n_marks > 0);
    for (uint32_t i = 0; i < tl->opts.n_marks; i++)
        if (s->marks[i] == pos)
            return;
    s->marks[s->n_marked++ % tl->opts.n_marks] = pos;
}

/* The mark at position pos that has been passed, or -1. */
static int find_mark(const struct sl_timeline *tl, const struct sl_seq *s, uint32_t pos)
{
    for (uint32_t i = 0; i < tl->opts.n_marks && pos > 0 && pos <= s->n_tok; i++)
        if (s->marks[i] == pos)
            return (int)i;
    return -1;
}

/* Put the inputs before position pos, a block boundary or that of a mark, back into the
 * ring. */
static void restore_snapshot(struct sl_timeline *tl, uint32_t seq, uint32_t pos, int i_mark)
{
    const struct sl_hparams *hp = tl->hp;
    struct sl_seq *s = &tl->seqs[seq];
    uint32_t n_rows = hp->n_taps - 1;

    s->ring_lo = pos ? (int64_t)pos - n_rows : -(int64_t)tl->ring_len;
    if (pos == 0)
        return;
    for (uint32_t layer = 0; layer < hp->n_layers; layer++) {
        const float *rows;

        if (hp->n_heads_kv[layer])
            continue;
        rows = i_mark >= 0 ? sl_timeline_mark_rows(tl, seq, layer, (uint32_t)i_mark)
                           : sl_timeline_snapshot(tl, seq, layer, pos / SL_KV_BLOCK_TOK - 1);
        for (uint32_t j = pos < n_rows ? n_rows - pos : 0; j < n_rows; j++)
            memcpy(sl_timeline_ring(tl, seq, layer, (int64_t)pos - n_rows + j),
                   rows + (size_t)j * hp->width, sizeof(float) * hp->width);
    }
}

static bool must_recompute(const struct sl_timeline *tl, const struct sl_seq *s, uint32_t n_keep)
{
    int64_t oldest = (int64_t)n_keep - (tl->hp->n_taps - 1);

    return oldest < s->ring_lo && tl->hp->n_conv_layers > 0;
}

static void truncate(struct sl_timeline *tl, struct sl_seq *s, uint32_t n_tok)
{
    for (uint32_t i = blocks_of(n_tok); i < blocks_of(s->n_tok); i++)
        drop_block(tl, s->blocks[i]);
    s->n_tok = n_tok;
}

bool sl_timeline_can_rewind(const struct sl_timeline *tl, uint32_t seq, uint32_t n_keep)
{
    const struct sl_seq *s = &tl->seqs[seq];

    if (!must_recompute(tl, s, n_keep) || n_keep % SL_KV_BLOCK_TOK == 0 ||
        find_mark(tl, s, n_keep) >= 0 || tl->n_free > 0)
        return true;
    for (uint32_t i = n_keep / SL_KV_BLOCK_TOK; i < blocks_of(s->n_tok); i++)
        if (tl->refs[s->blocks[i]] == 1)
            return true;
    return false;
}

uint32_t sl_timeline_rewind(struct sl_timeline *tl, uint32_t seq, uint32_t n_keep)
{
    struct sl_seq *s = &tl->seqs[seq];
    int i_mark = find_mark(tl, s, n_keep);

    assert(n_keep <= s->n_tok);
    if (!must_recompute(tl, s, n_keep)) {
        truncate(tl, s, n_keep);
        return n_keep;
    }
    if (i_mark >= 0) {
        restore_snapshot(tl, seq, n_keep, i_mark);
        truncate(tl, s, n_keep);
        return n_keep;
    }
    /* The block around n_keep is given up too: computing it again takes a block that
     * nobody shares. */
    truncate(tl, s, n_keep / SL_KV_BLOCK_TOK * SL_KV_BLOCK_TOK);
    restore_snapshot(tl, seq, s->n_tok, -1);
    return s->n_tok;
}

void *sl_timeline_block(const struct sl_timeline *tl, uint32_t seq, uint32_t i_block)
{
    return block_ptr(tl, tl->seqs[seq].blocks[i_block]);
}

void *sl_timeline_kv(const struct sl_timeline *tl, uint32_t seq, uint32_t layer, uint32_t head,
                     uint32_t i_block)
{
    return block_ptr(tl, tl->seqs[seq].blocks[i_block]) +
           (size_t)(tl->head_base[layer] + head) * tl->kv_head_bytes;
}

float *sl_timeline_ring(const struct sl_timeline *tl, uint32_t seq, uint32_t layer, int64_t pos)
{
    size_t row;

    if (pos < 0)
        return NULL;
    row = (size_t)tl->conv_index[layer] * tl->ring_len + (uint64_t)pos % tl->ring_len;
    return tl->seqs[seq].ring + row * tl->hp->width;
}

float *sl_timeline_mark_rows(const struct sl_timeline *tl, uint32_t seq, uint32_t layer,
                             uint32_t i_mark)
{
    size_t i = (size_t)i_mark * tl->hp->n_conv_layers + tl->conv_index[layer];

    return tl->seqs[seq].mark_rows + i * snapshot_floats(tl->hp);
}

float *sl_timeline_snapshot(const struct sl_timeline *tl, uint32_t seq, uint32_t layer,
                            uint32_t i_block)
{
    float *snapshots = (float *)(block_ptr(tl, tl->seqs[seq].blocks[i_block]) + tl->snapshot_off);

    return snapshots + tl->conv_index[layer] * snapshot_floats(tl->hp);
}
