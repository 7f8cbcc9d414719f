/*
 * Grammars with failing allocations: the n-th of our own fails, for every n until none does.
 * A call that met one says -ENOMEM and changes nothing: made once more it gives what it would
 * have given, also where states are forgotten. Nothing is left behind (LeakSanitizer looks).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "faults.h"
#include "tests/unit/small_vocab.h"
#include "text/matcher.h"
#include "text/tokenmask.h"

#define NEVER UINT64_MAX

static struct sl_vocab *vocab;
static struct sl_tokentrie *trie;

static const char good[] = "root ::= value+ (<|im_start|> | <[5]>)?\n"
                           "value ::= \"(\" value \")\" | [^()\\u00e4-\\u4e00] [x-z]{2,40} | word\n"
                           "word ::= ((\"the\" | \"zeb\" \"ra\") \" \"?){1,3}\n";

static int setup(void **state)
{
    return small_vocab_new(&vocab, NULL) < 0 || sl_tokentrie_new(&trie, vocab) < 0;
}

static int teardown(void **state)
{
    sl_tokentrie_free(trie);
    sl_vocab_free(vocab);
    return 0;
}

static struct sl_grammar *compile(const char *text)
{
    struct sl_grammar *grammar = NULL;

    assert_int_equal(sl_grammar_new(&grammar, text, strlen(text), NULL), 0);
    return grammar;
}

/* A grammar that is compiled, and such as are refused at the end of each step. */
static void test_compile(void **state)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {good, 0},
        {"root ::= \"a\" [b-d] missing", -EBADMSG},
        {"root ::= \"a\" root", -EBADMSG},
        {"root ::= \"a\"? root \"b\" | \"c\"{1,9}", -EBADMSG},
        {"root ::= \"a\" [b-d] <x> root (\"e\"{100001})", -E2BIG},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (uint64_t n = 1;; n++) {
            struct sl_grammar *grammar = NULL;
            struct sl_diag diag = {""};
            int r;

            faults_arm(FAULTS_ALL, n);
            r = sl_grammar_new(&grammar, cases[i].text, strlen(cases[i].text), &diag);
            faults_disarm();
            if (r != (faults_hit() ? -ENOMEM : cases[i].code))
                fail_msg("allocation %d: %d, %s\n%s", (int)n, r, diag.text, cases[i].text);
            assert_int_equal(r == 0, grammar != NULL);
            assert_int_equal(r == 0, diag.text[0] == '\0');
            sl_grammar_free(grammar);
            if (!faults_hit()) {
                assert_true(n > 5); /* or the faults never reached it */
                break;
            }
        }
}

/* The value of a call; a first one that met a failing allocation does not count. */
#define RETRIED(call) (retried_ = (call), retried_ == -ENOMEM ? (calm(), (call)) : retried_)
static int64_t retried_;

static void calm(void)
{
    assert_true(faults_hit());
    faults_disarm();
}

/* Over a text, with a copy on the way; the mask at its end. */
static int64_t run_mask(const struct sl_grammar *grammar, uint64_t *ret_bits)
{
    static const char text[] = "((the zebra the))axyz";
    struct sl_tokenmask *mask = NULL, *copy = NULL;
    const uint64_t *bits = NULL;
    int64_t n;

    assert_int_equal(RETRIED(sl_tokenmask_new(&mask, grammar, trie, NULL)), 0);
    for (size_t i = 0; i < strlen(text); i++) {
        int32_t token = SMALL_BYTES + (unsigned char)text[i];

        n = RETRIED(sl_tokenmask_fill(mask, &bits));
        assert_true(n > 0 && bits[token / 64] >> (token % 64) & 1);
        assert_int_equal(RETRIED(sl_tokenmask_accept(mask, SMALL_IM_END)),
                         sl_tokenmask_is_done(mask));
        assert_int_equal(RETRIED(sl_tokenmask_accept(mask, token)), 1);
        if (i % 4)
            continue;
        assert_int_equal(RETRIED(sl_tokenmask_clone(&copy, mask)), 0);
        sl_tokenmask_free(mask);
        mask = copy;
    }
    n = RETRIED(sl_tokenmask_fill(mask, &bits));
    memcpy(ret_bits, bits, (sl_vocab_n_tokens(vocab) + 63) / 64 * sizeof(*bits));
    sl_tokenmask_free(mask);
    return n;
}

static void test_mask(void **state)
{
    uint64_t want[16] = {0}, bits[16] = {0};
    struct sl_grammar *grammar = compile(good);
    int64_t n_want;

    assert_true(sl_vocab_n_tokens(vocab) <= 64 * 16);
    faults_arm(FAULTS_ALL, NEVER);
    n_want = run_mask(grammar, want);
    for (uint64_t n = 1;; n++) {
        faults_arm(FAULTS_ALL, n);
        assert_int_equal(run_mask(grammar, bits), n_want);
        assert_memory_equal(bits, want, sizeof(want));
        faults_disarm();
        if (!faults_hit()) {
            assert_true(n > 50);
            break;
        }
    }
    sl_grammar_free(grammar);
}

/* Past the point where states are forgotten: many classes of symbols make that early. */
static void test_forgetting(void **state)
{
    struct sl_strbuf text = {0};
    struct sl_grammar *grammar;
    static char as[9000];

    memset(as, 'a', sizeof(as));
    sl_strbuf_add_str(&text, "root ::= \"a\"{0,9000} \"z\"");
    for (int i = 0; i < 250; i++)
        sl_strbuf_add_fmt(&text, " | <[%d]>", i);
    grammar = compile(text.ptr);
    for (uint64_t n = 1;; n++) {
        struct sl_matcher *matcher = NULL;

        faults_arm(FAULTS_ALL, n);
        assert_int_equal(RETRIED(sl_matcher_new(&matcher, grammar)), 0);
        assert_int_equal(RETRIED(sl_matcher_accept(matcher, as, 8990)), 1);
        assert_int_equal(RETRIED(sl_matcher_accept(matcher, as, 10)), 1);
        assert_true(sl_matcher_generation(matcher) > 0);
        assert_int_equal(RETRIED(sl_matcher_accept(matcher, "a", 1)), 0);
        assert_int_equal(RETRIED(sl_matcher_accept(matcher, "z", 1)), 1);
        assert_true(sl_matcher_is_done(matcher));
        faults_disarm();
        sl_matcher_free(matcher);
        if (!faults_hit()) {
            assert_true(n > 20);
            break;
        }
    }
    sl_grammar_free(grammar);
    sl_strbuf_done(&text);
}

static void test_trie(void **state)
{
    for (uint64_t n = 1;; n++) {
        struct sl_tokentrie *made = NULL;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_tokentrie_new(&made, vocab);
        faults_disarm();
        assert_int_equal(r, faults_hit() ? -ENOMEM : 0);
        assert_int_equal(r == 0, made != NULL);
        sl_tokentrie_free(made);
        if (!faults_hit())
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compile),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_trie),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
