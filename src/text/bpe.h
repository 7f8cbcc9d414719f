/*
 * Byte-pair merging of one piece. Called by the tokenizer only. A bpe is scratch of
 * one thread, zero-filled at first.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "text/vocab.h"

struct sl_bpe_symbol;

struct sl_bpe {
    struct sl_bpe_symbol *symbols; /* cap */
    uint64_t *heap;                /* 2 * cap */
    size_t cap;
};

/*
 * Merge the len >= 1 bytes of a piece until no merge applies. On success the first
 * result symbols' ids (>= 0) are read with sl_bpe_id. -ENOMEM.
 */
int64_t sl_bpe_run(struct sl_bpe *bpe, const struct sl_vocab *vocab, const char *piece, size_t len);
int32_t sl_bpe_id(const struct sl_bpe *bpe, size_t i);
void sl_bpe_done(struct sl_bpe *bpe);
