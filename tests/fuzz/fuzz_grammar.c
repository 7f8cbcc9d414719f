/*
 * Any bytes as a grammar, and others as a text: up to a NUL byte the grammar, behind it the
 * text. What matches at once must match by bytes, also in a copy made on the way; and the
 * mask must hold exactly the tokens that can be accepted.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/small_vocab.h"
#include "text/matcher.h"
#include "text/tokenmask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct sl_vocab *vocab;
static struct sl_tokentrie *trie;

static void require(int condition)
{
    if (!condition)
        abort();
}

/* Work is bounded per call, so by bytes more may be done than at once: then no more is said. */
static void check_text(const struct sl_grammar *grammar, const char *text, size_t len)
{
    struct sl_matcher *at_once = NULL, *by_bytes = NULL;
    int whole, part = 1;

    if (sl_matcher_new(&at_once, grammar) < 0)
        return;
    require(sl_matcher_new(&by_bytes, grammar) == 0);
    whole = sl_matcher_accept(at_once, text, len);
    for (size_t i = 0; i < len && part == 1; i++) {
        part = sl_matcher_accept(by_bytes, text + i, 1);
        if (i == len / 2) {
            struct sl_matcher *copy = NULL;

            require(sl_matcher_clone(&copy, by_bytes) == 0);
            sl_matcher_free(by_bytes);
            by_bytes = copy;
        }
    }
    require(whole < 0 || part < 0 || whole == part);
    if (whole == 1 && part == 1)
        require(sl_matcher_is_done(at_once) == sl_matcher_is_done(by_bytes));
    sl_matcher_free(at_once);
    sl_matcher_free(by_bytes);
}

static void check_mask(struct sl_tokenmask *mask)
{
    const uint64_t *bits;
    int64_t n = sl_tokenmask_fill(mask, &bits), n_good = 0;

    if (n < 0)
        return;
    for (uint32_t id = 0; id < sl_vocab_n_tokens(vocab); id++) {
        struct sl_tokenmask *copy = NULL;
        int r;

        require(sl_tokenmask_clone(&copy, mask) == 0);
        r = sl_tokenmask_accept(copy, (int32_t)id);
        sl_tokenmask_free(copy);
        if (r < 0)
            return;
        require(r == (int)(bits[id / 64] >> (id % 64) & 1));
        n_good += r;
    }
    require(n_good == n);
}

static void check_tokens(const struct sl_grammar *grammar, const char *text, size_t len)
{
    struct sl_tokenmask *mask = NULL;

    if (sl_tokenmask_new(&mask, grammar, trie, NULL) < 0)
        return;
    check_mask(mask);
    for (size_t i = 0; i < len; i++)
        if (sl_tokenmask_accept(mask, (unsigned char)text[i] * 2) != 1)
            (void)sl_tokenmask_accept(mask, SMALL_BYTES + (unsigned char)text[i]);
    check_mask(mask);
    sl_tokenmask_free(mask);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *end = memchr(data, '\0', n);
    size_t n_grammar = end ? (size_t)(end - data) : n;
    size_t n_text = end ? n - n_grammar - 1 : 0;
    struct sl_grammar *grammar = NULL;
    struct sl_diag diag = {""};

    if (!trie)
        require(small_vocab_new(&vocab, NULL) == 0 && sl_tokentrie_new(&trie, vocab) == 0);
    if (sl_grammar_new(&grammar, (const char *)data, n_grammar, &diag) < 0) {
        require(diag.text[0] != '\0' && !grammar);
        return 0;
    }
    check_text(grammar, (const char *)data + n - n_text, n_text);
    check_tokens(grammar, (const char *)data + n - n_text, n_text < 64 ? n_text : 64);
    sl_grammar_free(grammar);
    return 0;
}
