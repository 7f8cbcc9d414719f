/*
 * Masks over a vocabulary: bit for bit what trying every token gives, at every place of
 * texts that are drawn token by token; special tokens, named tokens, ends; clones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "small_vocab.h"
#include "text/matcher.h"
#include "text/tokenmask.h"

struct world {
    struct sl_vocab *vocab;
    struct sl_tokentrie *trie;
    struct sl_grammar *grammar;
    struct sl_tokenmask *mask;
};

static void open_world(struct world *w, const char *grammar)
{
    struct sl_diag diag = {""};

    *w = (struct world){.vocab = NULL};
    assert_int_equal(small_vocab_new(&w->vocab, &diag), 0);
    assert_int_equal(sl_tokentrie_new(&w->trie, w->vocab), 0);
    if (sl_grammar_new(&w->grammar, grammar, strlen(grammar), &diag) != 0)
        fail_msg("%s\n%s", diag.text, grammar);
    if (sl_tokenmask_new(&w->mask, w->grammar, w->trie, &diag) != 0)
        fail_msg("%s\n%s", diag.text, grammar);
}

static void close_world(struct world *w)
{
    sl_tokenmask_free(w->mask);
    sl_grammar_free(w->grammar);
    sl_tokentrie_free(w->trie);
    sl_vocab_free(w->vocab);
}

static bool has_bit(const uint64_t *bits, int32_t id)
{
    return bits[id / 64] >> (id % 64) & 1;
}

/* What comes of accepting each token in a copy. */
static void check_mask(const struct world *w, const uint64_t *bits, int64_t n_allowed)
{
    const int32_t n = (int32_t)sl_vocab_n_tokens(w->vocab);
    int64_t n_good = 0;

    for (int32_t id = 0; id < n; id++) {
        struct sl_tokenmask *copy = NULL;
        int good;

        assert_int_equal(sl_tokenmask_clone(&copy, w->mask), 0);
        good = sl_tokenmask_accept(copy, id);
        sl_tokenmask_free(copy);
        if (good != has_bit(bits, id))
            fail_msg("token %d: accepted %d, in the mask %d", id, good, has_bit(bits, id));
        n_good += good;
    }
    for (int32_t id = n; id < (n + 63) / 64 * 64; id++)
        assert_false(has_bit(bits, id));
    assert_int_equal(n_good, n_allowed);
}

static uint32_t draw(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

/* Draw allowed tokens; at each place the mask must be the brute force's. */
static void draw_text(const char *grammar, uint64_t seed, int n_steps)
{
    struct world w;
    int n_ends = 0;

    open_world(&w, grammar);
    for (int i = 0; i < n_steps; i++) {
        const uint64_t *bits = NULL;
        int64_t n = sl_tokenmask_fill(w.mask, &bits);
        uint32_t k;
        int32_t id = 0;

        assert_true(n > 0);
        check_mask(&w, bits, n);
        assert_int_equal(has_bit(bits, SMALL_ENDOFTEXT), sl_tokenmask_is_done(w.mask));
        k = draw(&seed, (uint32_t)n);
        while (!has_bit(bits, id) || k-- > 0)
            id++;
        assert_int_equal(sl_tokenmask_accept(w.mask, id), 1);
        n_ends += sl_vocab_is_eog(w.vocab, id);
        if (n_ends == 3)
            break;
    }
    close_world(&w);
}

static const char JSON[] =
    "root ::= object\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" ws ( string \":\" ws value (\",\" ws string \":\" ws value)* )? \"}\" ws\n"
    "array ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" "
    "[0-9a-fA-F]{4}) )* \"\\\"\" ws\n"
    "number ::= \"-\"? ([0-9] | [1-9] [0-9]{0,15}) (\".\" [0-9]+)? ([eE] [-+]? [0-9]{1,15})? ws\n"
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

static void test_brute_force(void **state)
{
    static const char *const grammars[] = {
        JSON,
        "root ::= [a-z ]{0,20} \".\"",
        "root ::= \"the\" \" the\"* | \"th\" \"en\" | \"zeb\" \"ra\" root",
        "root ::= .*",
        "root ::= [\\u00e0-\\u00ff\\u4e00-\\u9fff\\U0001F600-\\U0001F64F]* \"!\"",
        "root ::= \"<th\" \"ink>\" | <think> \"a\" | <[4]> root",
        "root ::= \"(\" root \")\" | \"[\" root \"]\" | \"abc\"?",
        "root ::= (\"a\" | \"ab\" | \"bc\" | \"c\")* ",
        "root ::= \"\"",
        /* strings and what is nearly one: an alphabet but for a character, bounded lengths */
        "root ::= [^\"\\\\\\x00-\\x1F\\x7F]{0,20} \"\\\"\"",
        "root ::= ([^\"\\\\\\x00-\\x1F\\x7F]{15,17} | [a-z= \\n]{3,40}) root?",
        "root ::= [ a-zA-Z0-9_-]* \"!\"",
        "root ::= [ -~]{12,60} [^ -~]*",
        "root ::= ([^b\"'\\\\\\x00-\\x1F] | \"ab\" [0-9]*)*",
        "root ::= [\\x20-\\uD7FF\\uE000-\\U0010FFFF]* | \"\\n\" [^c]* \"cc\"",
        "root ::= [^\\u00e8-\\u00ea\"'\\\\\\x00-\\x1F]* | [^l\"'\\\\\\x00-\\x1F]*",
    };
    const char *seed = getenv("SL_SEED");
    const uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;

    print_message("SL_SEED=%llu\n", (unsigned long long)first);
    for (size_t i = 0; i < sizeof(grammars) / sizeof(*grammars); i++)
        for (uint64_t k = 0; k < 4; k++)
            draw_text(grammars[i], first + k, 30);
}

static int accept_text(const struct world *w, const char *text)
{
    int r = 1;

    for (; *text && r == 1; text++)
        r = sl_tokenmask_accept(w->mask, SMALL_BYTES + (unsigned char)*text);
    return r;
}

/* Ending tokens exactly where the text is complete; other special tokens never. */
static void test_special(void **state)
{
    const uint64_t *bits;
    struct world w;

    open_world(&w, "root ::= \"a\" \"b\"?");
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2); /* a, ab */
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_END), 0);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_START), 0);
    assert_int_equal(sl_tokenmask_accept(w.mask, -1), 0);
    assert_int_equal(sl_tokenmask_accept(w.mask, 100000), 0);
    assert_int_equal(accept_text(&w, "a"), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 3); /* b, two ends */
    assert_true(has_bit(bits, SMALL_IM_END) && has_bit(bits, SMALL_ENDOFTEXT));
    assert_false(has_bit(bits, SMALL_IM_START));
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_END), 1);
    assert_int_equal(accept_text(&w, "b"), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2);
    close_world(&w);
}

/* A token that the grammar names: by text or number, there and nowhere else. */
static void test_named(void **state)
{
    const uint64_t *bits;
    struct world w;

    open_world(&w, "root ::= <|im_start|> .* <[5]> \"a\" <|im_start|>?");
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 1);
    assert_true(has_bit(bits, SMALL_IM_START));
    assert_int_equal(accept_text(&w, "<|im_start|>"), 0);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_START), 1);
    assert_int_equal(accept_text(&w, "x<think>"), 1); /* the text is not the token */
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_START), 0);
    assert_true(sl_tokenmask_fill(w.mask, &bits) > 0);
    assert_true(has_bit(bits, SMALL_THINK) && !has_bit(bits, SMALL_IM_START));
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_THINK), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 1);
    assert_int_equal(accept_text(&w, "a"), 1);
    assert_true(sl_tokenmask_is_done(w.mask));
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 3);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_START), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2);
    close_world(&w);
}

/* An ending token that the grammar names is read where it stands, and still ends the text. */
static void test_named_end(void **state)
{
    const uint64_t *bits;
    struct world w;

    open_world(&w, "root ::= \"a\" <|im_end|> | \"c\"");
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_END), 0);
    assert_int_equal(accept_text(&w, "a"), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 1);
    assert_true(has_bit(bits, SMALL_IM_END));
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_ENDOFTEXT), 0);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_END), 1);
    assert_true(sl_tokenmask_is_done(w.mask));
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_IM_END), 1);
    close_world(&w);
}

static void test_bad_tokens(void **state)
{
    static const char *const grammars[] = {"root ::= <nothing>", "root ::= <[999999]>",
                                           "root ::= <think> <[5]>"};

    for (int i = 0; i < 3; i++) {
        struct world w;
        struct sl_grammar *grammar = NULL;
        struct sl_tokenmask *mask = NULL;
        struct sl_diag diag = {""};

        open_world(&w, "root ::= \"a\"");
        assert_int_equal(sl_grammar_new(&grammar, grammars[i], strlen(grammars[i]), &diag), 0);
        assert_int_equal(sl_tokenmask_new(&mask, grammar, w.trie, &diag), -EBADMSG);
        assert_null(mask);
        assert_non_null(strstr(diag.text, strrchr(grammars[i], '<')));
        sl_grammar_free(grammar);
        close_world(&w);
    }
}

/* One token over several terminals and rules, and tokens that end within a character. */
static void test_spanning(void **state)
{
    const uint64_t *bits;
    struct world w;

    open_world(&w, "root ::= \"z\" e \"b\" r [a-c]\ne ::= \"e\"\nr ::= [r-s]");
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2); /* z, zebra */
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_ZEBRA), 1);
    assert_true(sl_tokenmask_is_done(w.mask));
    close_world(&w);

    open_world(&w, "root ::= [\\u00e4\\u20ac\\u20ad]");
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_BYTES + 0xE2), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 1);
    assert_int_equal(sl_tokenmask_accept(w.mask, SMALL_BYTES + 0x82), 1);
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 2);
    assert_true(has_bit(bits, SMALL_BYTES + 0xAC) && has_bit(bits, SMALL_BYTES + 0xAD));
    close_world(&w);
}

/* A mask that was kept is still right after others pushed it out, and in new states. */
static void test_cache(void **state)
{
    const uint64_t *bits;
    struct world w;

    open_world(&w, "root ::= [a-y]{0,90000} \"z\" | [ACEGIKMOQSUWY]*");
    for (int i = 0; i < 90000; i++) {
        if (i % 1000 < 20)
            assert_true(sl_tokenmask_fill(w.mask, &bits) > 20);
        assert_int_equal(accept_text(&w, "a"), 1);
    }
    assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 1);
    assert_true(has_bit(bits, SMALL_BYTES + 'z'));
    close_world(&w);
}

/* That any text goes on is forgotten with the states of which it was known. */
static void test_no_longer_free(void **state)
{
    const uint64_t *bits;
    struct world w;

    open_world(&w, "root ::= [ a-zA-Z0-9_-]{90} \".\" [a-c]{0,90000} | [ACEGIKMOQSUWY]*");
    for (int i = 0; i < 90; i++) {
        assert_true(sl_tokenmask_fill(w.mask, &bits) > 60);
        assert_int_equal(accept_text(&w, "a"), 1);
    }
    assert_int_equal(accept_text(&w, "."), 1);
    for (int i = 0; i < 80000; i++) {
        if (i % 20 == 0)
            assert_int_equal(sl_tokenmask_fill(w.mask, &bits), 8); /* a b c ab bc abc, two ends */
        assert_int_equal(accept_text(&w, "a"), 1);
    }
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force),   cmocka_unit_test(test_special),
        cmocka_unit_test(test_named),         cmocka_unit_test(test_named_end),
        cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_spanning),      cmocka_unit_test(test_cache),
        cmocka_unit_test(test_no_longer_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
