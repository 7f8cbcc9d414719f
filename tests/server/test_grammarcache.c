/*
 * Compiled grammars: the same text gives the same grammar, others drive old ones out, large
 * ones are not kept, and one that is used lives on; by samplers of another opening of the same
 * model too.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/grammarcache.h"

#define N_THREADS 4
#define N_ROUNDS 50

static struct sluice_model *model;

static int open_model(void **state)
{
    struct sluice_model_opts opts = {.flags = SLUICE_MODEL_TEXT};

    return sluice_model_open(&model, SOURCE_ROOT "/models/demo.gguf", &opts, NULL);
}

static int close_model(void **state)
{
    sluice_model_close(model);
    return 0;
}

static struct sluice_grammar *get(struct sl_grammarcache *cache, const char *gbnf)
{
    struct sluice_grammar *grammar = NULL;
    struct sl_diag diag = {""};

    if (sl_grammarcache_get(cache, gbnf, strlen(gbnf), &grammar, &diag) < 0)
        fail_msg("%s", diag.text);
    return grammar;
}

/* The grammar of n times "a", some 30 bytes for each. */
static struct sluice_grammar *get_long(struct sl_grammarcache *cache, size_t n)
{
    static const char begin[] = "root ::= \"";
    char *gbnf = malloc(sizeof(begin) + n + 1);
    struct sluice_grammar *grammar;

    assert_non_null(gbnf);
    memcpy(gbnf, begin, sizeof(begin));
    memset(gbnf + sizeof(begin) - 1, 'a', n);
    memcpy(gbnf + sizeof(begin) - 1 + n, "\"", 2);
    grammar = get(cache, gbnf);
    free(gbnf);
    return grammar;
}

/* The same, without a reference of its own. */
static const struct sluice_grammar *peek(struct sl_grammarcache *cache, size_t n)
{
    struct sluice_grammar *grammar = get_long(cache, n);

    sluice_grammar_unref(grammar);
    return grammar;
}

static void test_kept(void **state)
{
    struct sl_grammarcache *cache;
    const struct sluice_grammar *first;
    struct sluice_grammar *held;

    assert_int_equal(sl_grammarcache_new(&cache, model), 0);
    held = get_long(cache, 1);
    first = peek(cache, 1);
    assert_ptr_equal(first, held);
    for (size_t n = 2; n <= SL_GRAMMARCACHE_N + 1; n++) {
        (void)peek(cache, n);
        assert_ptr_equal(peek(cache, 1), held); /* it is used again and again */
    }
    for (size_t n = 2; n <= SL_GRAMMARCACHE_N + 1; n++)
        (void)peek(cache, 100 + n);
    assert_ptr_not_equal(peek(cache, 1), held); /* it was not, and held still is a grammar */
    assert_true(sluice_grammar_bytes(held) > 0);
    sl_grammarcache_free(cache);
    assert_true(sluice_grammar_bytes(held) > 0);
    sluice_grammar_unref(held);
}

static void test_not_kept(void **state)
{
    struct sluice_grammar *one, *other, *bad = NULL;
    struct sl_grammarcache *cache;
    struct sl_diag diag = {""};

    assert_int_equal(sl_grammarcache_new(&cache, model), 0);
    one = get_long(cache, 200000);
    assert_true(sluice_grammar_bytes(one) > SL_GRAMMARCACHE_BYTES / 4);
    other = get_long(cache, 200000);
    assert_ptr_not_equal(one, other);
    sluice_grammar_unref(one);
    sluice_grammar_unref(other);
    for (int i = 0; i < 2; i++) { /* nor are those that are none */
        assert_int_equal(sl_grammarcache_get(cache, "root ::= (", 10, &bad, &diag), -EBADMSG);
        assert_non_null(strstr(diag.text, "line 1"));
        assert_null(bad);
    }
    sl_grammarcache_free(cache);
}

/* Many whose sizes add up: the oldest go, however few there are. Held here meanwhile, so that
 * none has the address of one that went. */
static void test_bytes(void **state)
{
    struct sluice_grammar *grammars[8], *again;
    struct sl_grammarcache *cache;
    uint32_t n_kept = 0;
    bool is_kept = true;

    assert_int_equal(sl_grammarcache_new(&cache, model), 0);
    for (uint32_t i = 0; i < 8; i++)
        grammars[i] = get_long(cache, 100000 + i);
    assert_true(sluice_grammar_bytes(grammars[7]) > SL_GRAMMARCACHE_BYTES / 8);
    for (uint32_t i = 8; i-- > 0;) { /* from the last on: what is asked for anew drives out */
        again = get_long(cache, 100000 + i);
        is_kept &= again == grammars[i];
        n_kept += is_kept;
        sluice_grammar_unref(again);
        sluice_grammar_unref(grammars[i]);
    }
    assert_in_range(n_kept, 3, 7);
    sl_grammarcache_free(cache);
}

struct user {
    pthread_t thread;
    struct sluice_grammar *grammar;
    bool has_failed;
};

/* Draws what the grammar forces, and lets go of the grammar in the middle. */
static void *use(void *arg)
{
    struct user *user = arg;
    struct sluice_model_opts opts = {.flags = SLUICE_MODEL_TEXT};
    struct sluice_sampler_opts sampler_opts = {.top_p = 1, .repeat_penalty = 1};
    struct sluice_model *mine = NULL;
    struct sluice_sampler *sampler = NULL;
    struct sluice_model_info info;
    float *logits;
    bool ok = sluice_model_open(&mine, SOURCE_ROOT "/models/demo.gguf", &opts, NULL) == 0;

    ok = ok && sluice_sampler_new(&sampler, mine, &sampler_opts, NULL) == 0;
    sluice_model_get_info(mine, &info);
    logits = calloc(info.n_vocab, sizeof(*logits));
    for (int i = 0; i < N_ROUNDS && ok && logits; i++) {
        const char *piece = "";
        int32_t id;

        ok = sluice_sampler_use_grammar(sampler, user->grammar) == 0;
        id = sluice_sampler_sample(sampler, logits);
        ok = ok && id >= 0 && sluice_token_piece(mine, id, false, &piece) > 0 && *piece == 'x';
        sluice_sampler_accept(sampler, id);
    }
    sluice_grammar_unref(user->grammar);
    ok = ok && sluice_sampler_sample(sampler, logits) >= 0; /* the sampler's own reference */
    ok = ok && sluice_sampler_use_grammar(sampler, NULL) == 0;
    user->has_failed = !ok || !logits;
    free(logits);
    sluice_sampler_free(sampler);
    sluice_model_close(mine);
    return NULL;
}

static void test_many_use_one(void **state)
{
    struct user users[N_THREADS];
    struct sl_grammarcache *cache;

    assert_int_equal(sl_grammarcache_new(&cache, model), 0);
    for (int i = 0; i < N_THREADS; i++) {
        users[i] = (struct user){.grammar = get(cache, "root ::= \"x\" [x-z]*")};
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    }
    sl_grammarcache_free(cache);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(users[i].thread, NULL), 0);
        assert_false(users[i].has_failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_not_kept),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_many_use_one),
    };

    return cmocka_run_group_tests(tests, open_model, close_model);
}
