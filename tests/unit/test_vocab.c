/*
 * The vocabulary decodes the byte spelling, finds tokens by spelling and by bytes, knows
 * the special ids, and refuses what a file must not say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/small_vocab.h"

struct fixture {
    struct small_store store;
    struct sl_vocab_opts opts;
    struct sl_diag diag;
    struct sl_vocab *vocab;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    small_vocab_opts(&f->opts, &f->store);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sl_vocab_free(f->vocab);
    free(f);
    return 0;
}

static void make(struct fixture *f)
{
    assert_int_equal(sl_vocab_new(&f->vocab, &f->opts, &f->diag), 0);
}

/* The result is code, the text holds word, and nothing is made. */
static void expect(struct fixture *f, int code, const char *word)
{
    assert_int_equal(sl_vocab_new(&f->vocab, &f->opts, &f->diag), code);
    assert_null(f->vocab);
    if (!strstr(f->diag.text, word))
        fail_msg("\"%s\" does not say \"%s\"", f->diag.text, word);
    assert_int_equal(sl_vocab_new(&f->vocab, &f->opts, NULL), code);
}

static void assert_piece(const struct sl_vocab *vocab, int32_t id, const char *want, size_t len)
{
    struct sl_str_view piece = sl_vocab_piece(vocab, id);

    assert_int_equal(piece.len, len);
    assert_memory_equal(piece.ptr, want, len);
}

static void test_all_bytes_decode(void **state)
{
    struct fixture *f = *state;

    make(f);
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;

        assert_piece(f->vocab, SMALL_BYTES + b, &byte, 1);
        assert_int_equal(sl_vocab_find_bytes(f->vocab, &byte, 1), SMALL_BYTES + b);
    }
    assert_int_equal(sl_vocab_find(f->vocab, "\xc4\xa0", 2), SMALL_BYTES + ' ');
    assert_int_equal(sl_vocab_find(f->vocab, "\xc4\x8a", 2), SMALL_BYTES + '\n');
    assert_int_equal(sl_vocab_find(f->vocab, "\xc5\x83", 2), SMALL_BYTES + 0xad);
    assert_int_equal(sl_vocab_find(f->vocab, " ", 1), -1);
}

static void test_pieces(void **state)
{
    struct fixture *f = *state;

    make(f);
    assert_piece(f->vocab, SMALL_MERGED + 5, " the", 4);
    assert_piece(f->vocab, SMALL_MERGED + 13, "\xc3\xa9", 2);
    assert_piece(f->vocab, SMALL_BOS, "<|startoftext|>", 15);
    assert_piece(f->vocab, SMALL_LITERAL, "two words", 9);
    assert_int_equal(sl_vocab_find_bytes(f->vocab, " the", 4), SMALL_MERGED + 5);
    assert_int_equal(sl_vocab_find(f->vocab, "\xc4\xa0the", 5), SMALL_MERGED + 5);
    assert_int_equal(sl_vocab_find(f->vocab, "<|im_end|>", 10), SMALL_IM_END);
    assert_int_equal(sl_vocab_find_bytes(f->vocab, "two words", 9), -1);
    assert_int_equal(sl_vocab_find_bytes(f->vocab, "nothing", 7), -1);
    assert_int_equal(sl_vocab_find(f->vocab, "", 0), -1);
}

static void test_special_ids(void **state)
{
    struct fixture *f = *state;

    make(f);
    assert_int_equal(sl_vocab_n_tokens(f->vocab), SMALL_MERGED + 22);
    assert_int_equal(sl_vocab_bos(f->vocab), SMALL_BOS);
    assert_int_equal(sl_vocab_eos(f->vocab), SMALL_IM_END);
    assert_true(sl_vocab_add_bos(f->vocab));
    assert_false(sl_vocab_add_eos(f->vocab));
    for (int32_t id = 0; id < SMALL_BYTES; id++) {
        assert_int_equal(sl_vocab_is_eog(f->vocab, id),
                         id == SMALL_IM_END || id == SMALL_ENDOFTEXT);
        assert_int_equal(sl_vocab_is_special(f->vocab, id),
                         id != SMALL_THINK && id != SMALL_LITERAL);
    }
    assert_false(sl_vocab_is_eog(f->vocab, -1));
    assert_false(sl_vocab_is_special(f->vocab, SMALL_BYTES));
}

static void test_no_special_ids(void **state)
{
    struct fixture *f = *state;

    f->opts.bos = f->opts.eos = f->opts.pad = -1;
    f->opts.types = NULL;
    f->opts.pre = (struct sl_str_view){NULL, 0};
    make(f);
    assert_int_equal(sl_vocab_bos(f->vocab), -1);
    assert_int_equal(sl_vocab_eos(f->vocab), -1);
    assert_false(sl_vocab_is_eog(f->vocab, -1));
    assert_false(sl_vocab_is_special(f->vocab, SMALL_PAD));
    assert_true(sl_vocab_is_eog(f->vocab, SMALL_IM_END));
}

static void test_merges(void **state)
{
    struct fixture *f = *state;
    const int32_t a = SMALL_BYTES + 'a', b = SMALL_BYTES + 'b', c = SMALL_BYTES + 'c';

    make(f);
    assert_int_equal(sl_vocab_merge_rank(f->vocab, a, b), 0);
    assert_int_equal(sl_vocab_merge_rank(f->vocab, SMALL_MERGED, c), 2);
    assert_int_equal(sl_vocab_merge_rank(f->vocab, b, a), -1);
    assert_int_equal(sl_vocab_merge_rank(f->vocab, -1, b), -1);
    assert_int_equal(sl_vocab_merge(f->vocab, 2)->left, SMALL_MERGED);
    assert_int_equal(sl_vocab_merge(f->vocab, 2)->right, c);
    assert_int_equal(sl_vocab_merge(f->vocab, 2)->merged, SMALL_MERGED + 2);
}

static void test_first_of_equal_merges_counts(void **state)
{
    struct fixture *f = *state;

    f->store.merges[f->opts.n_merges++] = f->store.merges[0];
    make(f);
    assert_int_equal(sl_vocab_merge_rank(f->vocab, SMALL_BYTES + 'a', SMALL_BYTES + 'b'), 0);
}

static void test_odd_tokens_are_kept(void **state)
{
    struct fixture *f = *state;

    /* empty, a raw blank, broken UTF-8, a character outside the mapping */
    f->store.tokens[SMALL_MERGED + 2].len = 0;
    f->opts.n_merges = 2;
    f->store.tokens[SMALL_MERGED + 9] = (struct sl_str_view){"x y", 3};
    f->store.tokens[SMALL_MERGED + 10] = (struct sl_str_view){"\xc4", 1};
    f->store.tokens[SMALL_MERGED + 11] = (struct sl_str_view){"\xe4\xb8\xad" "a", 4};
    make(f);
    assert_piece(f->vocab, SMALL_MERGED + 2, "", 0);
    assert_piece(f->vocab, SMALL_MERGED + 9, "x y", 3);
    assert_piece(f->vocab, SMALL_MERGED + 10, "\xc4", 1);
    assert_piece(f->vocab, SMALL_MERGED + 11, "\xe4\xb8\xad" "a", 4);
    assert_int_equal(sl_vocab_find_bytes(f->vocab, "x y", 3), -1);
    assert_int_equal(sl_vocab_find_bytes(f->vocab, "\xc4", 1), SMALL_BYTES + 0xc4);
}

static void test_no_tokens(void **state)
{
    struct fixture *f = *state;

    f->opts.n_tokens = 0;
    expect(f, -EBADMSG, "no tokens");
}

static void test_too_many(void **state)
{
    struct fixture *f = *state;

    f->opts.n_tokens = SL_VOCAB_TOKENS_MAX + 1;
    expect(f, -E2BIG, "tokens");
    small_vocab_opts(&f->opts, &f->store);
    f->opts.n_merges = SL_VOCAB_MERGES_MAX + 1;
    expect(f, -E2BIG, "merges");
}

static void test_too_long(void **state)
{
    struct fixture *f = *state;

    f->store.tokens[3].len = SIZE_MAX;
    expect(f, -E2BIG, "bytes");
}

static void test_equal_tokens(void **state)
{
    struct fixture *f = *state;

    f->store.tokens[200] = f->store.tokens[17];
    expect(f, -EBADMSG, "17 and 200");
}

static void test_ids_outside(void **state)
{
    struct fixture *f = *state;

    f->opts.eos = (int32_t)f->opts.n_tokens;
    expect(f, -EBADMSG, "eos");
    f->opts.eos = -2;
    expect(f, -EBADMSG, "eos");
    f->opts.eos = SMALL_IM_END;
    f->opts.bos = INT32_MAX;
    expect(f, -EBADMSG, "bos");
    f->opts.bos = -1;
    f->opts.pad = INT32_MIN;
    expect(f, -EBADMSG, "padding");
}

static void test_unknown_type(void **state)
{
    struct fixture *f = *state;

    f->store.types[9] = 7;
    expect(f, -EBADMSG, "token 9");
    f->store.types[9] = -1;
    expect(f, -EBADMSG, "token 9");
}

static void test_bad_merges(void **state)
{
    static const char *const bad[] = {"", " ", "a", "ab", "a ", " b", "a zz", "zz b", "b a",
                                      "a b c"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        f->store.merges[4] = (struct sl_str_view){bad[i], strlen(bad[i])};
        expect(f, -EBADMSG, "merge 4");
    }
}

static void test_pre_tokenizers(void **state)
{
    static const char *const good[] = {"lfm2", "llama-bpe", "llama3", "llama-v3", ""};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        f->opts.pre = (struct sl_str_view){good[i], strlen(good[i])};
        make(f);
        sl_vocab_free(f->vocab);
        f->vocab = NULL;
    }
    f->opts.pre = (struct sl_str_view){"qwen2", 5};
    expect(f, -ENOTSUP, "qwen2");
    f->opts.pre = (struct sl_str_view){"lfm", 3};
    expect(f, -ENOTSUP, "'lfm'");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_bytes_decode),
        TEST(test_pieces),
        TEST(test_special_ids),
        TEST(test_no_special_ids),
        TEST(test_merges),
        TEST(test_first_of_equal_merges_counts),
        TEST(test_odd_tokens_are_kept),
        TEST(test_no_tokens),
        TEST(test_too_many),
        TEST(test_too_long),
        TEST(test_equal_tokens),
        TEST(test_ids_outside),
        TEST(test_unknown_type),
        TEST(test_bad_merges),
        TEST(test_pre_tokenizers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
