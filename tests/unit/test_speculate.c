/* Speculation's books: whatever is guessed and drafted, each token is drawn from the logits
 * of exactly the tokens before it, and the sequence ends as after plain decoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "text/speculate.h"

#define N_TEXT 1500u
#define N_PROMPT 50u

static uint64_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* A model whose "logits" are a hash of all tokens before. */
struct model {
    int32_t tokens[N_TEXT + 64];
    uint32_t n;
    uint64_t rows[SL_SPECULATE_ROWS_MAX];
    uint32_t n_kinds; /* of tokens: few repeat themselves a lot */
    uint64_t n_steps, n_computed;
};

static void compute(struct model *m, const int32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t h = 1;

        m->tokens[m->n++] = tokens[i];
        /* the last tokens decide, so that texts repeat themselves, the rest a little */
        for (uint32_t j = m->n > 3 ? m->n - 3 : 0; j < m->n; j++)
            h = (h ^ (uint64_t)m->tokens[j]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
        m->rows[i] = h * 1000 + (m->n * 7 + (uint64_t)m->tokens[m->n / 2]) % 1000;
    }
    m->n_steps++;
    m->n_computed += n;
}

/* What a sampler with a state makes of logits: it depends on the draws before. */
static int32_t sample(const struct model *m, uint64_t row, uint64_t *state)
{
    uint64_t odd = row % 1000 < 60;

    *state = *state * 3 + row % 1000;
    return (int32_t)((row / 1000 + odd * (*state % 5)) % m->n_kinds);
}

static void begin(struct model *m, uint32_t n_kinds, int32_t *text)
{
    m->n = 0;
    m->n_steps = m->n_computed = 0;
    m->n_kinds = n_kinds;
    for (uint32_t i = 0; i < N_PROMPT; i++)
        text[i] = (int32_t)(i * i % n_kinds);
    for (uint32_t i = 0; i < N_PROMPT; i++)
        compute(m, text + i, 1);
}

static void plain(struct model *m, uint32_t n_kinds, int32_t *text)
{
    uint64_t state = 1;

    begin(m, n_kinds, text);
    for (uint32_t n = N_PROMPT; n < N_TEXT; n++) {
        text[n] = sample(m, m->rows[0], &state);
        if (n + 1 < N_TEXT)
            compute(m, text + n, 1);
    }
}

struct sink {
    const int32_t *truth;
    uint32_t at; /* index of the next token to draw */
};

static void speculated(struct model *m, uint32_t n_kinds, struct sl_speculate *s, int32_t *text,
                       struct sink *sink)
{
    uint64_t state = 1;
    uint32_t row = 0, n_wrong, end;

    begin(m, n_kinds, text);
    sink->at = N_PROMPT;
    sl_speculate_begin(s, text, N_PROMPT);
    for (uint32_t n = N_PROMPT;; n++) {
        const int32_t *tokens;
        uint32_t n_left = N_TEXT - n - 1, n_step;

        text[n] = sample(m, m->rows[row], &state);
        sink->at = n + 1;
        if (n + 1 == N_TEXT)
            break;
        if (sl_speculate_draw(s, text[n], &row))
            continue;
        n_step = sl_speculate_plan(s, draw(3) ? n_left : draw(n_left + 1), &tokens, &n_wrong);
        assert_true(n_step >= 1 && n_step <= SL_SPECULATE_ROWS_MAX);
        assert_true(n + n_step <= N_TEXT);
        assert_int_equal(tokens[0], text[n]);
        assert_true(n_wrong < SL_SPECULATE_ROWS_MAX);
        m->n -= n_wrong;
        assert_int_equal(m->n, n);
        assert_memory_equal(m->tokens, text, n * sizeof(*text));
        compute(m, tokens, n_step);
        /* two tokens for the time of one and a half: it pays */
        sl_speculate_computed(s, 1000 + 100 * n_step, 0, 0);
        row = 0;
    }
    end = sl_speculate_end(s);
    m->n -= end;
    assert_int_equal(m->n, N_TEXT - 1);
    assert_memory_equal(m->tokens, text, m->n * sizeof(*text));
}

/* The truth, wrong in some places. */
static uint32_t guess_truth(void *arg, uint32_t n, int32_t *ids, uint32_t *ret_match)
{
    const struct sink *sink = arg;
    uint32_t i;

    for (i = 0; i < n && sink->at + i < N_TEXT; i++)
        ids[i] = sink->truth[sink->at + i] + ((sink->at + i) % 11 == 3);
    *ret_match = 2 + sink->at % 31;
    return i;
}

static void check(uint32_t n_kinds, uint32_t n_fixed, bool is_imposed, uint64_t least_saved)
{
    static struct model m;
    int32_t want[N_TEXT], got[N_TEXT];
    struct sink sink = { .truth = want };
    struct sl_speculate_opts opts = { .n_window = N_TEXT, .n_fixed = n_fixed,
                                      .guess_arg = &sink };
    struct sl_speculate_stats stats;
    struct sl_speculate *s;
    uint64_t n_plain;

    opts.guess = is_imposed ? guess_truth : NULL;
    plain(&m, n_kinds, want);
    n_plain = m.n_steps;
    assert_int_equal(sl_speculate_new(&s, &opts), 0);
    for (int answer = 0; answer < 2; answer++) {
        struct sl_speculate_stats before;

        sl_speculate_get_stats(s, &before);
        speculated(&m, n_kinds, s, got, &sink);
        assert_memory_equal(got, want, sizeof(want));
        sl_speculate_get_stats(s, &stats);
        assert_int_equal(m.n_steps, n_plain - (stats.n_accepted - before.n_accepted));
        assert_int_equal(stats.n_steps - before.n_steps, m.n_steps - N_PROMPT);
        assert_int_equal(stats.n_drafted - before.n_drafted, m.n_computed - m.n_steps);
        assert_true(stats.n_accepted - before.n_accepted >= least_saved);
        assert_true(stats.n_accepted <= stats.n_drafted);
        assert_true(n_fixed || stats.n_unpaid <= stats.n_steps - stats.n_drafts);
    }
    sl_speculate_free(s);
}

static void test_same_text(void **state)
{
    (void)state;
    for (uint32_t n_kinds = 2; n_kinds < 2000; n_kinds *= 3)
        for (uint32_t n_fixed = 0; n_fixed <= SL_SPECULATE_DRAFT_MAX; n_fixed += 1 + n_fixed / 2)
            check(n_kinds, n_fixed, false, 0);
    check(3, 0, false, 200);
    check(3, 4, false, 200);
}

static void test_same_text_with_imposed_guesses(void **state)
{
    (void)state;
    for (uint32_t n_fixed = 0; n_fixed <= SL_SPECULATE_DRAFT_MAX; n_fixed++)
        check(500, n_fixed, true, n_fixed ? 400 : 300);
}

static void test_bad_options(void **state)
{
    struct sl_speculate_opts opts = { .n_fixed = SL_SPECULATE_DRAFT_MAX + 1 };
    struct sl_speculate *s = NULL;

    (void)state;
    assert_true(sl_speculate_new(&s, &opts) < 0);
    assert_null(s);
}

/* No room: a plain step. Beyond the rows there are never more tokens. */
static void test_room(void **state)
{
    struct sl_speculate_opts opts = { .n_window = 256, .n_fixed = SL_SPECULATE_DRAFT_MAX };
    const int32_t *tokens;
    struct sl_speculate *s;
    uint32_t row, n_wrong;
    int32_t ids[200];

    (void)state;
    for (int32_t i = 0; i < 200; i++)
        ids[i] = i % 10;
    assert_int_equal(sl_speculate_new(&s, &opts), 0);
    sl_speculate_begin(s, ids, 200);
    assert_false(sl_speculate_draw(s, 0, &row));
    assert_int_equal(sl_speculate_plan(s, 0, &tokens, &n_wrong), 1);
    assert_int_equal(n_wrong, 0);
    sl_speculate_computed(s, 1, 0, 0);
    assert_false(sl_speculate_draw(s, 1, &row));
    assert_int_equal(sl_speculate_plan(s, UINT32_MAX, &tokens, &n_wrong), SL_SPECULATE_ROWS_MAX);
    for (int32_t i = 0; i < (int32_t)SL_SPECULATE_ROWS_MAX; i++)
        assert_int_equal(tokens[i], (1 + i) % 10);
    sl_speculate_computed(s, 1, 0, 0);
    assert_true(sl_speculate_draw(s, 2, &row));
    assert_int_equal(row, 1);
    assert_true(sl_speculate_draw(s, 3, &row));
    assert_int_equal(row, 2);
    assert_false(sl_speculate_draw(s, 3, &row)); /* 4 was drafted */
    assert_int_equal(sl_speculate_plan(s, 5, &tokens, &n_wrong), 1); /* 3 3 is new */
    assert_int_equal(n_wrong, SL_SPECULATE_DRAFT_MAX - 2);
    assert_int_equal(sl_speculate_end(s), 0);
    sl_speculate_free(s);
}

int main(void)
{
    const char *text = getenv("SL_SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_same_text_with_imposed_guesses),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_room),
    };

    seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
