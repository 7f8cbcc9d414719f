/*
 * The splitter: one regular expression, run by PCRE2.
 *
 * The model's expression, with llama.cpp's form of the contractions, is
 *
 *   '[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]
 *   |[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * Ours matches the same pieces with three differences in form:
 *
 * - Classes do not depend on what PCRE2 calls them. Space is Unicode's White_Space
 *   (PCRE2's \s has U+180E besides). Letters and numbers are PCRE2's own, which are
 *   those of Unicode 14 in Debian 12's 10.42, and the ranges that Unicode 15.0 and
 *   15.1 added: DerivedGeneralCategory.txt of those versions. llama.cpp's tables are
 *   those of 15.1: asked for every code point, they differ from 10.42's in these 14
 *   and 3 ranges and in nothing else. A test counts the members of each class.
 * - Repeats are possessive where giving back can never lead to a match: the classes
 *   that follow are disjoint.
 * - \s*[\r\n]+ means: white space up to its last line end. Said as groups of blanks
 *   followed by line ends, it needs no backtracking over long runs.
 *
 * So each alternative is tried in time linear in what it looks at, and what is looked
 * at is consumed (but for the last blank before a word). Only \s+(?!\S) gives back,
 * and one character at most.
 *
 * Every character is a letter, a number, white space or something else, hence some
 * alternative always matches. Matching goes from piece to piece, anchored, without
 * PCRE2's own UTF-8 check, which would read the rest of the text for every piece.
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "text/split.h"

#include <assert.h>
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>

#define NEW_LETTERS                                                                              \
    "\\x{1123F}-\\x{11240}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}\\x{1342F}"        \
    "\\x{13441}-\\x{13446}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}\\x{1E030}-\\x{1E06D}"        \
    "\\x{1E4D0}-\\x{1E4EB}\\x{2B739}\\x{31350}-\\x{323AF}" /* 15.0 */                            \
    "\\x{2EBF0}-\\x{2EE5D}"                                /* 15.1 */
#define NEW_NUMBERS "\\x{11F50}-\\x{11F59}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}" /* 15.0 */

#define L "\\p{L}" NEW_LETTERS
#define N "\\p{N}" NEW_NUMBERS
#define BLANK                                                                                    \
    "\\x09\\x0b\\x0c\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"  \
    "\\x{205f}\\x{3000}"
#define EOL "\\r\\n"
#define SPACE BLANK EOL

static const char EXPRESSION[] =
    "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
    "|[^" EOL L N "]?+[" L "]++"
    "|[" N "]{1,3}+"
    "|\\x20?+[^" SPACE L N "]++[" EOL "]*+"
    "|(?:[" BLANK "]*+[" EOL "]++)++"
    "|[" SPACE "]+(?![^" SPACE "])"
    "|[" SPACE "]++";

struct sl_split {
    pcre2_general_context *general;
    pcre2_match_context *match;
    pcre2_code *code;
    bool has_jit;
};

struct sl_split_cursor {
    const struct sl_split *split;
    pcre2_match_data *data;
};

/* PCRE2 allocates through the program's own malloc, so that tests can make it fail. */
static void *take(size_t bytes, void *user)
{
    return malloc(bytes);
}

static void give(void *ptr, void *user)
{
    free(ptr);
}

static int compile(struct sl_split *split, struct sl_diag *diag)
{
    pcre2_compile_context *ctx;
    PCRE2_SIZE at;
    int code;

    ctx = pcre2_compile_context_create(split->general);
    if (!ctx)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the tokenizer");
    split->code = pcre2_compile((PCRE2_SPTR)EXPRESSION, sizeof(EXPRESSION) - 1,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C,
                                &code, &at, ctx);
    pcre2_compile_context_free(ctx);
    if (split->code)
        return 0;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the tokenizer");
    return sl_diag_set(diag, -ENOTSUP, "PCRE2 refuses the tokenizer's expression (error %d at %zu);"
                       " is it built with Unicode?", code, (size_t)at);
}

int sl_split_new(struct sl_split **ret_split, struct sl_diag *diag)
{
    struct sl_split *split;
    int r;

    split = calloc(1, sizeof(*split));
    if (!split)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the tokenizer");
    split->general = pcre2_general_context_create(take, give, NULL);
    split->match = split->general ? pcre2_match_context_create(split->general) : NULL;
    if (!split->match) {
        r = sl_diag_set(diag, -ENOMEM, "not enough memory for the tokenizer");
        goto fail;
    }
    r = compile(split, diag);
    if (r < 0)
        goto fail;

    /* a run of any length is one match: the expression, not a limit, bounds the work */
    pcre2_set_match_limit(split->match, UINT32_MAX);
    pcre2_set_depth_limit(split->match, UINT32_MAX);
    pcre2_set_heap_limit(split->match, UINT32_MAX);
    split->has_jit = pcre2_jit_compile(split->code, PCRE2_JIT_COMPLETE) == 0;
    *ret_split = split;
    return 0;

fail:
    sl_split_free(split);
    return r;
}

void sl_split_free(struct sl_split *split)
{
    if (!split)
        return;
    pcre2_code_free(split->code);
    pcre2_match_context_free(split->match);
    pcre2_general_context_free(split->general);
    free(split);
}

bool sl_split_has_jit(const struct sl_split *split)
{
    return split->has_jit;
}

struct sl_split_cursor *sl_split_cursor_new(const struct sl_split *split)
{
    struct sl_split_cursor *cursor = malloc(sizeof(*cursor));

    if (!cursor)
        return NULL;
    cursor->split = split;
    cursor->data = pcre2_match_data_create(1, split->general);
    if (!cursor->data) {
        free(cursor);
        return NULL;
    }
    return cursor;
}

void sl_split_cursor_free(struct sl_split_cursor *cursor)
{
    if (!cursor)
        return;
    pcre2_match_data_free(cursor->data);
    free(cursor);
}

int64_t sl_split_next(struct sl_split_cursor *cursor, const char *text, size_t len, size_t off)
{
    const struct sl_split *split = cursor->split;
    size_t end;
    int r = PCRE2_ERROR_JIT_STACKLIMIT;

    if (split->has_jit)
        r = pcre2_jit_match(split->code, (PCRE2_SPTR)text, len, off, 0, cursor->data,
                            split->match);
    if (r == PCRE2_ERROR_JIT_STACKLIMIT)
        r = pcre2_match(split->code, (PCRE2_SPTR)text, len, off,
                        PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, cursor->data, split->match);
    if (r < 0) {
        assert(r == PCRE2_ERROR_NOMEMORY || r == PCRE2_ERROR_HEAPLIMIT);
        return -ENOMEM;
    }
    end = pcre2_get_ovector_pointer(cursor->data)[1];
    assert(end > off && end <= len);
    return (int64_t)end;
}
