/*
 * Others get their tokens in time while prompts are read, whatever rows cost and whatever the
 * machine did meanwhile. Time is the fake engine's.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "schedworld.h"

#define BOUND_MS 20

static struct schedworld world;

/* Somebody who talks for as long as the test wants, from a prompt of one token. */
static struct schedworld_job *start_talker(void)
{
    static struct sluice_logit_bias no_end = {FAKE_EOS, -1000};
    struct schedworld_job *talker = schedworld_letters(1, 1);

    schedworld_defaults(&world);
    world.session.n_beside = 4;
    world.opts.max_step_ms = BOUND_MS;
    schedworld_init(&world);
    talker->job.bias = &no_end;
    talker->job.n_bias = 1;
    schedworld_add(&world, talker);
    sl_sched_step(world.sched);
    return talker;
}

static struct schedworld_job *start_reader(uint32_t n_tokens)
{
    struct schedworld_job *reader = schedworld_letters(2, n_tokens);

    reader->req.n_predict_max = 1;
    schedworld_add(&world, reader);
    return reader;
}

static void end(struct schedworld_job *talker, struct schedworld_job *reader)
{
    sl_sched_cancel(world.sched, talker->job.id);
    schedworld_run(&world);
    assert_non_null(strstr(reader->log.ptr, "FINISH"));
    schedworld_free(talker);
    schedworld_free(reader);
    schedworld_done(&world);
}

/* Few rows cost nearly what many do, as those of experts, which the guess from one row and from
 * many cannot know. The end of a prompt, of any length, is then not read in a step with others:
 * that cannot be ended early. */
static void test_the_end_of_a_prompt(void **state)
{
    for (uint32_t n_tokens = 100; n_tokens < 150; n_tokens++) {
        struct schedworld_job *talker = start_talker(), *reader;
        struct sl_sched_counters counters;

        world.fake.prompt_ns = 16 * FAKE_ROW_NS;
        reader = start_reader(n_tokens);
        while (reader->n_done == 0) {
            uint32_t n_before = talker->counts.n_predicted_tok;
            uint64_t start_ns = world.fake.clock_ns;

            sl_sched_step(world.sched);
            assert_int_equal(talker->counts.n_predicted_tok, n_before + 1);
            assert_true(world.fake.clock_ns - start_ns <= BOUND_MS * FAKE_ROW_NS);
        }
        sl_sched_get_counters(world.sched, &counters);
        assert_int_equal(counters.n_late_steps, 0);
        end(talker, reader);
    }
}

/* The machine was busy with something else for once: rows become fewer, and as many again. */
static void test_a_slow_piece_is_forgiven(void **state)
{
    struct schedworld_job *talker = start_talker(), *reader = start_reader(1500);
    struct sl_sched_counters counters;
    uint32_t n_rows;

    while (world.fake.n_prefills < 3)
        sl_sched_step(world.sched);
    n_rows = world.fake.n_rows_max;
    assert_true(n_rows > 16);
    world.fake.slow_ns = 10 * BOUND_MS * FAKE_ROW_NS;
    sl_sched_step(world.sched);
    sl_sched_get_counters(world.sched, &counters);
    assert_int_equal(counters.n_late_steps, 1);
    while (world.fake.n_prefills < 4)
        sl_sched_step(world.sched);
    world.fake.n_rows_max = 0;
    while (world.fake.n_prefills < 5)
        sl_sched_step(world.sched);
    assert_in_range(world.fake.n_rows_max, 1, n_rows - 1);
    while (world.fake.n_prefills < 60 && reader->n_done == 0)
        sl_sched_step(world.sched);
    assert_int_equal(reader->n_done, 0);
    assert_true(world.fake.n_rows_max > n_rows * 3 / 4); /* guesses are means: about as many */
    sl_sched_get_counters(world.sched, &counters);
    assert_int_equal(counters.n_late_steps, 1);
    end(talker, reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_of_a_prompt),
        cmocka_unit_test(test_a_slow_piece_is_forgiven),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
