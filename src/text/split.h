/*
 * Cutting text into the pieces that byte-pair merging works on, by the expression of
 * the lfm2 and llama-bpe pre-tokenizers. Called by the tokenizer only. A splitter is
 * read-only after sl_split_new, any thread; a cursor belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sl_split;
struct sl_split_cursor;

/* 0, -ENOMEM, or -ENOTSUP (a PCRE2 without Unicode). */
int sl_split_new(struct sl_split **ret_split, struct sl_diag *diag);
void sl_split_free(struct sl_split *split);
bool sl_split_has_jit(const struct sl_split *split);

/* Scratch for matching. NULL: no memory. Borrows the splitter. */
struct sl_split_cursor *sl_split_cursor_new(const struct sl_split *split);
void sl_split_cursor_free(struct sl_split_cursor *cursor);

/*
 * Where the piece that begins at off < len ends: off < result <= len. text is valid
 * UTF-8 and complete: the expression looks at what follows a piece. -ENOMEM.
 */
int64_t sl_split_next(struct sl_split_cursor *cursor, const char *text, size_t len, size_t off);
