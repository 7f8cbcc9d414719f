/*
 * Vocabulary, tokenizer and sampler with failing allocations: the n-th fails, for every n
 * until none does. The result is -ENOMEM and nothing is left behind (LeakSanitizer looks);
 * only PCRE2's JIT may do without. The sampler allocates nothing once it is made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "tests/unit/small_vocab.h"
#include "text/sampler.h"
#include "text/tokenizer.h"

static void test_vocab(void **state)
{
    static struct small_store store;
    struct sl_vocab_opts opts;
    uint64_t n;

    small_vocab_opts(&opts, &store);
    for (n = 1;; n++) {
        struct sl_vocab *vocab = NULL;
        struct sl_diag diag = {""};
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_vocab_new(&vocab, &opts, &diag);
        faults_disarm();
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            sl_vocab_free(vocab);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(vocab);
        assert_non_null(strstr(diag.text, "memory"));
    }
    assert_true(n > 10);
}

/* Overlapping special tokens, a long piece, and bytes that are not UTF-8. */
static size_t make_text(char *text)
{
    static const char parts[] = "the <think>tails <|im_end|>\xff";
    size_t len = 0;

    for (int i = 0; i < 100; i++) {
        memcpy(text + len, parts, sizeof(parts) - 1);
        len += sizeof(parts) - 1;
    }
    memset(text + len, 'z', 3000);
    return len + 3000;
}

static void encode_with_faults(const struct sl_tokenizer *tok, const char *text, size_t len)
{
    static int32_t ids[8192], want[8192];
    int64_t n_want = sl_tokenizer_encode(tok, text, len, SL_TOKENIZER_SPECIAL, want, 8192);
    uint64_t n;

    assert_in_range(n_want, 3000, 8192);
    for (n = 1;; n++) {
        int64_t r;

        faults_arm(FAULTS_ALL, n);
        r = sl_tokenizer_encode(tok, text, len, SL_TOKENIZER_SPECIAL, ids, 8192);
        faults_disarm();
        if (!faults_hit()) {
            assert_int_equal(r, n_want);
            assert_memory_equal(ids, want, (size_t)n_want * sizeof(*ids));
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    assert_true(n > 5);
}

static void test_tokenizer(void **state)
{
    static char text[8192];
    size_t len = make_text(text);
    struct sl_vocab *vocab = NULL;
    uint64_t n;

    assert_int_equal(small_vocab_new(&vocab, NULL), 0);
    for (n = 1;; n++) {
        struct sl_tokenizer *tok = NULL;
        struct sl_diag diag = {""};
        bool hit;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_tokenizer_new(&tok, vocab, &diag);
        faults_disarm();
        hit = faults_hit();
        if (r < 0) {
            assert_true(hit);
            assert_int_equal(r, -ENOMEM);
            assert_null(tok);
            assert_non_null(strstr(diag.text, "memory"));
            continue;
        }
        assert_true(!hit || !sl_tokenizer_has_jit(tok));
        encode_with_faults(tok, text, len);
        sl_tokenizer_free(tok);
        if (!hit)
            break;
    }
    assert_true(n > 5);
    sl_vocab_free(vocab);
}

static void test_sampler(void **state)
{
    const struct sl_logit_bias bias = {1, 2};
    const struct sl_sampler_opts opts = {
        .n_vocab = 5000, .temperature = 1, .top_k = 100, .top_p = 0.9f, .min_p = 0.01f,
        .repeat_penalty = 1.1f, .penalty_last_n = 64, .bias = &bias, .n_bias = 1,
    };
    static float logits[5000];

    for (uint64_t n = 1;; n++) {
        struct sl_sampler *sampler = NULL;
        struct sl_diag diag = {""};
        uint64_t n_calls;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_sampler_new(&sampler, &opts, &diag);
        faults_disarm();
        if (faults_hit()) {
            assert_int_equal(r, -ENOMEM);
            assert_null(sampler);
            assert_non_null(strstr(diag.text, "memory"));
            continue;
        }
        assert_int_equal(r, 0);
        assert_true(n > 8);
        n_calls = faults_calls(FAULTS_ALL);
        for (int i = 0; i < 100; i++)
            sl_sampler_accept(sampler, sl_sampler_sample(sampler, logits));
        assert_int_equal(faults_calls(FAULTS_ALL), n_calls);
        sl_sampler_free(sampler);
        break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocab),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_sampler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
