/*
 * A mask is a walk over the vocabulary's trees with a state of the matcher at each depth; a
 * subtree behind which nothing matches is skipped. At most places few tokens are allowed, and
 * the walk is short. Inside a string nearly all are: if any short text of an alphabet goes on
 * (freetext.h), all tokens of its tree are allowed, and only the others' trees are walked.
 *
 * Masks are kept by state (CACHED of them, the least recently used one goes): generation
 * comes back to the same states, above all within strings. A state's mask never changes,
 * so this is exact; when the matcher renumbers its states, all are forgotten.
 */
#include "text/tokenmask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/freetext.h"
#include "text/matcher.h"

#define CACHED 16u
#define UNUSED UINT32_MAX

_Static_assert(SL_FREETEXT_CHARS_MAX >= SL_TOKENTRIE_CHARS_MAX, "tokens are short texts");

struct cached {
    uint32_t state;
    int64_t n_allowed;
    uint64_t used; /* tick of the last use */
    uint64_t *bits;
};

struct sl_tokenmask {
    const struct sl_grammar *grammar;  /* borrowed */
    const struct sl_tokentrie *trie;   /* borrowed */
    int32_t *named;                    /* tokens that the grammar names; its number of them */
    struct sl_matcher *matcher;
    struct sl_freetext free_text;
    uint64_t generation; /* of the matcher, for which these and the cached masks hold */
    uint64_t tick;
    struct cached cached[CACHED];
};

static uint32_t n_words(const struct sl_tokenmask *mask)
{
    return (sl_vocab_n_tokens(mask->trie->vocab) + 63) / 64;
}

static void set_bit(uint64_t *bits, int32_t token, bool value)
{
    const uint64_t bit = (uint64_t)1 << (token & 63);

    if (value)
        bits[token >> 6] |= bit;
    else
        bits[token >> 6] &= ~bit;
}

static int find_named(struct sl_tokenmask *mask, struct sl_diag *diag)
{
    const struct sl_vocab *vocab = mask->trie->vocab;

    for (uint32_t i = 0; i < sl_grammar_n_tokens(mask->grammar); i++) {
        const struct sl_grammar_token *token = sl_grammar_token(mask->grammar, i);
        int32_t id = token->id;

        if (id < 0)
            id = sl_vocab_find(vocab, token->text, strlen(token->text));
        if (id < 0 || (uint32_t)id >= sl_vocab_n_tokens(vocab))
            return sl_diag_set(diag, -EBADMSG, "the grammar names the token %s, which the "
                               "vocabulary does not have", token->text);
        for (uint32_t k = 0; k < i; k++)
            if (mask->named[k] == id)
                return sl_diag_set(diag, -EBADMSG, "the grammar names one token in two ways: %s "
                                   "and %s; use one", sl_grammar_token(mask->grammar, k)->text,
                                   token->text);
        mask->named[i] = id;
    }
    return 0;
}

static int alloc(struct sl_tokenmask **ret_mask, const struct sl_grammar *grammar,
                 const struct sl_tokentrie *trie)
{
    struct sl_tokenmask *mask = calloc(1, sizeof(*mask));

    *ret_mask = mask;
    if (!mask)
        return -ENOMEM;
    mask->grammar = grammar;
    mask->trie = trie;
    for (uint32_t i = 0; i < CACHED; i++)
        mask->cached[i].state = UNUSED;
    mask->named = malloc((sl_grammar_n_tokens(grammar) + 1) * sizeof(*mask->named));
    return mask->named ? 0 : -ENOMEM;
}

int sl_tokenmask_new(struct sl_tokenmask **ret_mask, const struct sl_grammar *grammar,
                     const struct sl_tokentrie *trie, struct sl_diag *diag)
{
    struct sl_tokenmask *mask;
    int r = alloc(&mask, grammar, trie);

    if (r == 0)
        r = find_named(mask, diag);
    if (r == 0)
        r = sl_matcher_new(&mask->matcher, grammar);
    if (r < 0) {
        sl_tokenmask_free(mask);
        return r == -ENOMEM  ? sl_diag_set(diag, r, "not enough memory for the grammar")
               : r == -E2BIG ? sl_diag_set(diag, r, "the grammar is too ambiguous to be followed")
                             : r;
    }
    *ret_mask = mask;
    return 0;
}

int sl_tokenmask_clone(struct sl_tokenmask **ret_mask, const struct sl_tokenmask *from)
{
    struct sl_tokenmask *mask;
    int r = alloc(&mask, from->grammar, from->trie);

    if (r == 0)
        r = sl_matcher_clone(&mask->matcher, from->matcher);
    if (r < 0) {
        sl_tokenmask_free(mask);
        return r;
    }
    memcpy(mask->named, from->named, sl_grammar_n_tokens(from->grammar) * sizeof(*mask->named));
    *ret_mask = mask;
    return 0;
}

void sl_tokenmask_free(struct sl_tokenmask *mask)
{
    if (!mask)
        return;
    for (uint32_t i = 0; i < CACHED; i++)
        free(mask->cached[i].bits);
    sl_freetext_done(&mask->free_text);
    sl_matcher_free(mask->matcher);
    free(mask->named);
    free(mask);
}

/* Set the bits of all tokens in a tree that match from state on. 0 or a negative errno. */
static int walk(struct sl_tokenmask *mask, const struct sl_tokentrie_part *part, uint32_t state,
                uint64_t *bits)
{
    struct sl_matcher_steps steps = sl_matcher_steps(mask->matcher);
    uint32_t states[SL_TOKENTRIE_BYTES_MAX + 1]; /* by depth */

    states[0] = state;
    for (uint32_t i = 0; i < part->n_nodes;) {
        const struct sl_tokentrie_node *node = &part->nodes[i];
        const uint32_t from = states[node->depth - 1];
        uint32_t to = steps.states[(size_t)from * steps.n_classes + steps.class_of[node->byte]];

        if (to == 0) {
            int64_t next = sl_matcher_step(mask->matcher, from, node->byte);

            if (next < 0)
                return (int)next;
            to = (uint32_t)next;
            steps = sl_matcher_steps(mask->matcher);
        }
        if (to == SL_MATCHER_DEAD) {
            i += node->size;
            continue;
        }
        if (node->token >= 0)
            set_bit(bits, node->token, true);
        states[node->depth] = to;
        i++;
    }
    return 0;
}

/* Set the bits of all tokens that are text and match from state on. 0 or a negative errno. */
static int fill_text(struct sl_tokenmask *mask, uint32_t state, uint64_t *bits)
{
    bool is_free = true;
    int r = 0;

    for (uint32_t p = 0; p < SL_TOKENTRIE_PARTS && r >= 0; p++) {
        const struct sl_tokentrie_part *part = &mask->trie->parts[p];

        if (p == SL_ALPHABET_N)
            is_free = false;
        if (is_free) /* or no greater alphabet is either */
            r = sl_freetext_is_free(&mask->free_text, mask->matcher, state, (enum sl_alphabet)p);
        is_free = is_free && r == 1;
        for (uint32_t i = 0; is_free && i < n_words(mask); i++)
            bits[i] |= part->bits[i];
        if (!is_free && r >= 0)
            r = walk(mask, part, state, bits);
    }
    return r < 0 ? r : 0;
}

static int fill(struct sl_tokenmask *mask, uint32_t state, uint64_t *bits)
{
    const struct sl_tokentrie *trie = mask->trie;
    int r;

    memset(bits, 0, n_words(mask) * sizeof(*bits));
    r = fill_text(mask, state, bits);
    for (uint32_t i = 0; i < trie->n_ends && r == 0; i++)
        set_bit(bits, trie->ends[i], sl_matcher_is_done(mask->matcher));
    for (uint32_t i = 0; i < sl_grammar_n_tokens(mask->grammar) && r == 0; i++) {
        int64_t next = sl_matcher_step(mask->matcher, state, SL_MATCHER_TOKEN + i);

        if (next < 0)
            return (int)next;
        if (next != SL_MATCHER_DEAD)
            set_bit(bits, mask->named[i], true);
        else if (!sl_vocab_is_eog(trie->vocab, mask->named[i]))
            set_bit(bits, mask->named[i], false);
    }
    return r;
}

static struct cached *find_cached(struct sl_tokenmask *mask, uint32_t state)
{
    struct cached *oldest = &mask->cached[0];

    for (uint32_t i = 0; i < CACHED; i++) {
        struct cached *c = &mask->cached[i];

        if (c->state == state)
            return c;
        if (c->used < oldest->used)
            oldest = c;
    }
    oldest->state = UNUSED;
    return oldest;
}

int64_t sl_tokenmask_fill(struct sl_tokenmask *mask, const uint64_t **ret_bits)
{
    int64_t state = sl_matcher_begin(mask->matcher);
    struct cached *c;

    if (state < 0)
        return state;
    if (mask->generation != sl_matcher_generation(mask->matcher)) {
        mask->generation = sl_matcher_generation(mask->matcher);
        sl_freetext_clear(&mask->free_text);
        for (uint32_t i = 0; i < CACHED; i++)
            mask->cached[i].state = UNUSED;
    }
    c = find_cached(mask, (uint32_t)state);
    c->used = ++mask->tick;
    if (c->state == UNUSED) {
        int r;

        if (!c->bits)
            c->bits = malloc(n_words(mask) * sizeof(*c->bits));
        if (!c->bits)
            return -ENOMEM;
        r = fill(mask, (uint32_t)state, c->bits);
        if (r < 0)
            return r;
        c->n_allowed = 0;
        for (uint32_t i = 0; i < n_words(mask); i++)
            c->n_allowed += __builtin_popcountll(c->bits[i]);
        c->state = (uint32_t)state;
    }
    *ret_bits = c->bits;
    return c->n_allowed;
}

int sl_tokenmask_accept(struct sl_tokenmask *mask, int32_t token)
{
    const struct sl_vocab *vocab = mask->trie->vocab;
    struct sl_str_view text;
    int r;

    if (token < 0 || (uint32_t)token >= sl_vocab_n_tokens(vocab))
        return 0;
    for (uint32_t i = 0; i < sl_grammar_n_tokens(mask->grammar); i++) {
        if (mask->named[i] != token)
            continue;
        r = sl_matcher_accept_token(mask->matcher, i);
        return r == 0 && sl_vocab_is_eog(vocab, token) ? sl_matcher_is_done(mask->matcher) : r;
    }
    if (sl_vocab_is_eog(vocab, token))
        return sl_matcher_is_done(mask->matcher);
    text = sl_vocab_piece(vocab, token);
    if (sl_vocab_is_special(vocab, token) || text.len == 0 || text.len > SL_TOKENTRIE_BYTES_MAX)
        return 0;
    return sl_matcher_accept(mask->matcher, text.ptr, text.len);
}

bool sl_tokenmask_is_done(const struct sl_tokenmask *mask)
{
    return sl_matcher_is_done(mask->matcher);
}
