/*
 * The scheduler over an engine whose replies give away any mistake in the tokens that were
 * computed: replies do not depend on company, everything that ends ends once, and what was
 * computed is used again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "schedworld.h"
#include "server/thinkscan.h"

static struct schedworld world;

/* Run one request in a world of defaults, and compare what it was told. */
static void check_alone(struct schedworld_job *job, const char *want)
{
    schedworld_defaults(&world);
    schedworld_init(&world);
    schedworld_add(&world, job);
    schedworld_run(&world);
    assert_string_equal(schedworld_said(job), want);
    schedworld_free(job);
    schedworld_done(&world);
}

static void test_ends(void **state)
{
    struct schedworld_job *job;
    char *words[] = {"lo wo", "xyz"};

    check_alone(schedworld_saying("hello"), "TEXT hello\nFINISH eos");
    check_alone(schedworld_saying(""), "FINISH eos");
    job = schedworld_saying("hello world");
    job->req.stops = words;
    job->req.n_stops = 2;
    check_alone(job, "TEXT hel\nFINISH word lo wo");
    job = schedworld_saying("hello wxyzzz");
    job->req.stops = words;
    job->req.n_stops = 2;
    check_alone(job, "TEXT hello w\nFINISH word xyz");
    job = schedworld_saying("hello lo w");
    job->req.stops = words;
    job->req.n_stops = 2;
    check_alone(job, "TEXT hello lo w\nFINISH eos"); /* what was held back comes out */
    job = schedworld_saying("hello");
    job->req.n_predict_max = 3;
    check_alone(job, "TEXT hel\nFINISH length");
    job = schedworld_saying("hello");
    job->req.n_predict_max = 0;
    check_alone(job, "FINISH length");
}

static void test_half_a_character_is_not_told(void **state)
{
    struct schedworld_job *job = schedworld_saying("a\xe2\x82\xac!");

    check_alone(job, "TEXT a\xe2\x82\xac!\nFINISH eos");
    job = schedworld_saying("a\xe2\x82\xac!");
    job->req.n_predict_max = 3;
    check_alone(job, "TEXT a\nFINISH length");
}

static void test_the_context_is_an_end(void **state)
{
    struct sluice_logit_bias no_end = {FAKE_EOS, -1000};
    struct schedworld_job *job = schedworld_letters(1, 100), *large = schedworld_letters(2, 300);

    schedworld_defaults(&world);
    world.session.n_ctx = 256;
    schedworld_init(&world);
    job->job.bias = &no_end;
    job->job.n_bias = 1;
    schedworld_add(&world, job);
    schedworld_add(&world, large);
    schedworld_run(&world);
    assert_non_null(strstr(job->log.ptr, "FINISH context"));
    /* one more was said than could be computed */
    assert_int_equal(job->counts.n_predicted_tok, 256 - 100 + 1);
    assert_non_null(strstr(large->log.ptr, "ERROR 400"));
    assert_non_null(strstr(large->log.ptr, "300"));
    assert_non_null(strstr(large->log.ptr, "256"));
    schedworld_free(job);
    schedworld_free(large);
    schedworld_done(&world);
}

static void test_tokens_and_their_probabilities(void **state)
{
    struct schedworld_job *job = schedworld_saying("ab");

    job->req.flags = SL_GENREQ_TOKENS;
    check_alone(job, "TOKEN 97\nTEXT a\nTOKEN 98\nTEXT b\nFINISH eos");
    job = schedworld_saying("a");
    job->req.flags = SL_GENREQ_LOGPROBS;
    job->req.n_top = 1;
    check_alone(job, "TOKEN 97 97*\nTEXT a\nFINISH eos");
}

static void test_progress(void **state)
{
    struct schedworld_job *job = schedworld_letters(3, 150);

    job->req.flags = SL_GENREQ_PROGRESS;
    job->req.n_predict_max = 0;
    check_alone(job, "PROGRESS 0/150\nPROGRESS 64/150\nPROGRESS 128/150\nPROGRESS 150/150\n"
                     "FINISH length");
}

static void check_said(const char *text, enum sl_genthink think, const char *want)
{
    struct schedworld_job *job = schedworld_saying(text);

    job->job.think = think;
    check_alone(job, want);
}

static void test_thinking(void **state)
{
    static const int32_t thinks[] = {FAKE_THINK, 'h', 'm', FAKE_THINK_END, 'y', 'e', 's'};
    static const int32_t goes_on[] = {'h', 'm', FAKE_THINK_END, 'y', 'e', 's'};
    struct schedworld_job *job = schedworld_scripted(thinks, 7);

    job->job.think = SL_GENTHINK_MAY;
    check_alone(job, "REASONING hm\nTEXT yes\nFINISH eos");
    job = schedworld_scripted(thinks, 7);
    job->job.think = SL_GENTHINK_MAY;
    job->req.reasoning = SL_GENREASONING_TEXT;
    check_alone(job, "TEXT <think>hm</think>yes\nFINISH eos");
    job = schedworld_scripted(goes_on, 6);
    job->job.think = SL_GENTHINK_OPEN;
    check_alone(job, "REASONING hm\nTEXT yes\nFINISH eos");
}

/* The same in a vocabulary that spells the markers; what the last token of </think> has behind
 * it is not told. */
static void test_spelt_thinking(void **state)
{
    static const char spelt[] = "<think>hm</think>xx", other[] = "<thinxx";
    char grammar[] = "digits";

    for (int think = SL_GENTHINK_MAY; think <= SL_GENTHINK_OPEN; think++) {
        const char *text = think == SL_GENTHINK_OPEN ? spelt + 7 : spelt;
        struct schedworld_job *job = schedworld_saying(text);

        job->job.think = (enum sl_genthink)think;
        job->job.grammar = fakeengine_grammar(grammar);
        job->req.n_predict_max = (int64_t)strlen(text);
        schedworld_defaults(&world);
        schedworld_init(&world);
        schedworld_add(&world, job);
        schedworld_run(&world);
        assert_memory_equal(schedworld_said(job), "REASONING hm\nTEXT ", 18);
        assert_int_equal(strspn(strstr(job->log.ptr, "TEXT ") + 5, "0123456789"), 2);
        assert_int_equal(job->counts.n_reasoning_tok, think == SL_GENTHINK_MAY ? 11 : 10);
        schedworld_free(job);
        schedworld_done(&world);
    }
    /* without a grammar nothing is forced */
    check_said(other, SL_GENTHINK_MAY, "TEXT <thinxx\nFINISH eos");
    check_said(spelt, SL_GENTHINK_MAY, "REASONING hm\nTEXT xx\nFINISH eos");
}

static void test_thinkscan(void **state)
{
    struct sl_thinkscan scan = {.state = SL_THINKSCAN_BEGINS};

    assert_string_equal(sl_thinkscan_rest(&scan, "<th", 3), "ink>");
    assert_string_equal(sl_thinkscan_rest(&scan, "<think>\n", 8), "");
    assert_null(sl_thinkscan_rest(&scan, "", 0));
    assert_null(sl_thinkscan_rest(&scan, "the", 3));
    assert_int_equal(sl_thinkscan_feed(&scan, "<th", 3), 3);
    assert_int_equal(scan.state, SL_THINKSCAN_BEGINS);
    assert_string_equal(sl_thinkscan_rest(&scan, "in", 2), "k>");
    assert_null(sl_thinkscan_rest(&scan, "ing", 3));
    assert_int_equal(sl_thinkscan_feed(&scan, "ink>a</th<</thi", 15), 15);
    assert_int_equal(scan.state, SL_THINKSCAN_THINKS);
    assert_int_equal(sl_thinkscan_feed(&scan, "nk>{", 4), 3);
    assert_int_equal(scan.state, SL_THINKSCAN_SAYS);
    assert_int_equal(sl_thinkscan_feed(&scan, "<think>x</think>y", 17), 17);
}

/* A grammar (the sampler then says digits) begins behind the thinking, if there is any. */
static void test_grammar(void **state)
{
    static const int32_t thinks[] = {FAKE_THINK, 'h', 'm', FAKE_THINK_END, 'x', 'x'};
    static const int32_t goes_on[] = {'h', 'm', FAKE_THINK_END, 'x', 'x'};
    struct schedworld_job *job;
    char grammar[] = "digits", none_left[] = "none left";

    for (int think = SL_GENTHINK_NEVER; think <= SL_GENTHINK_OPEN; think++) {
        job = think == SL_GENTHINK_OPEN ? schedworld_scripted(goes_on, 5)
                                        : schedworld_scripted(thinks, 6);
        job->job.think = (enum sl_genthink)think;
        job->job.grammar = fakeengine_grammar(grammar);
        job->req.n_predict_max = think == SL_GENTHINK_NEVER ? 2 : think == SL_GENTHINK_MAY ? 6 : 5;
        schedworld_defaults(&world);
        schedworld_init(&world);
        schedworld_add(&world, job);
        schedworld_run(&world);
        if (think != SL_GENTHINK_NEVER)
            assert_memory_equal(schedworld_said(job), "REASONING hm\nTEXT ", 18);
        assert_true(strspn(strstr(job->log.ptr, "TEXT ") + 5, "0123456789") >= 1);
        assert_int_equal(job->counts.n_reasoning_tok,
                         think == SL_GENTHINK_MAY ? 4 : think == SL_GENTHINK_OPEN ? 3 : 0);
        schedworld_free(job);
        schedworld_done(&world);
    }
    job = schedworld_saying("hm");
    job->job.grammar = fakeengine_grammar(grammar);
    job->job.think = SL_GENTHINK_MAY; /* it may, and does not */
    job->req.n_predict_max = 1;
    schedworld_defaults(&world);
    schedworld_init(&world);
    schedworld_add(&world, job);
    schedworld_run(&world);
    assert_true(strspn(schedworld_said(job) + 5, "0123456789") == 1);
    schedworld_free(job);
    job = schedworld_saying("hm");
    job->job.grammar = fakeengine_grammar(none_left);
    schedworld_add(&world, job);
    schedworld_run(&world);
    assert_string_equal(job->log.ptr, "ERROR 503 the grammar cannot be used: not enough memory");
    schedworld_free(job);
    job = schedworld_saying("Z"); /* the sampler finds no token */
    job->job.grammar = fakeengine_grammar(grammar);
    schedworld_add(&world, job);
    schedworld_run(&world);
    assert_string_equal(schedworld_said(job), "ERROR 400 no token goes on as the grammar wants");
    schedworld_free(job);
    schedworld_done(&world);
}

static void test_calls(void **state)
{
    int32_t reply[32];
    const char *text = "[f(a=\"x\")]";
    struct schedworld_job *job;
    uint32_t n = 0;

    reply[n++] = FAKE_CALL;
    for (const char *at = text; *at; at++)
        reply[n++] = *at;
    reply[n++] = FAKE_CALL_END;
    job = schedworld_scripted(reply, n);
    job->req.flags = SL_GENREQ_CALLS;
    check_alone(job, "CALL f {\"a\":\"x\"}\nFINISH eos");
    assert_int_equal(world.n_turns, 1);
    job = schedworld_scripted(reply, n);
    check_alone(job, "TEXT <|tool_call_start|>[f(a=\"x\")]<|tool_call_end|>\nFINISH eos");
    assert_int_equal(world.n_turns, 0);
}

/* ---- company ---- */

#define N_COMPANY 12

static struct schedworld_job *company_job(uint32_t i)
{
    static const uint32_t lengths[N_COMPANY] = {1, 300, 7, 900, 64, 65, 500, 33, 256, 2, 700, 128};
    struct schedworld_job *job = schedworld_letters(i / 2, lengths[i]); /* some begin alike */

    job->job.seed = i;
    job->req.n_predict_max = 150;
    job->job.marks[0] = lengths[i] / 3;
    job->job.n_marks = lengths[i] > 100;
    return job;
}

static void company_world(uint32_t n_slots, uint32_t n_ctx, uint32_t n_beside)
{
    schedworld_defaults(&world);
    world.session.n_ctx = n_ctx;
    world.session.n_beside = n_beside;
    world.opts.n_slots = n_slots;
    world.opts.n_kept = 6;
    world.session.n_logits = n_slots < 8 ? n_slots : 8;
    world.session.n_seq_max = n_slots + 6;
    world.opts.max_step_ms = n_beside ? 3 : 1e9; /* then prompts are read beside */
    schedworld_init(&world);
}

static void test_replies_do_not_depend_on_company(void **state)
{
    static const struct {
        uint32_t n_slots, n_ctx, n_beside;
    } cases[] = {{12, 8192, 0}, {8, 8192, 16}, {3, 8192, 0}, {4, 1100, 0}, {12, 1100, 0},
                 {12, 1100, 16}, {5, 1300, 2}, {1, 1100, 0}};
    char *want[N_COMPANY];
    uint64_t n_set_aside = 0, n_prefills = 0;

    for (uint32_t i = 0; i < N_COMPANY; i++) {
        struct schedworld_job *job = company_job(i);

        company_world(1, 1100, 0);
        schedworld_add(&world, job);
        schedworld_run(&world);
        want[i] = strdup(schedworld_said(job));
        assert_non_null(strstr(want[i], "FINISH"));
        schedworld_free(job);
        schedworld_done(&world);
    }
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct schedworld_job *jobs[N_COMPANY];
        struct sl_sched_counters counters;

        company_world(cases[c].n_slots, cases[c].n_ctx, cases[c].n_beside);
        for (uint32_t i = 0; i < N_COMPANY; i++) {
            jobs[i] = company_job(i);
            schedworld_add(&world, jobs[i]);
            for (uint32_t k = 0; k < i; k++) /* they come one after the other */
                sl_sched_step(world.sched);
        }
        schedworld_run(&world);
        sl_sched_get_counters(world.sched, &counters);
        n_set_aside += counters.n_set_aside;
        n_prefills += world.fake.n_prefills;
        for (uint32_t i = 0; i < N_COMPANY; i++) {
            assert_string_equal(schedworld_said(jobs[i]), want[i]);
            schedworld_free(jobs[i]);
        }
        schedworld_done(&world);
    }
    assert_true(n_set_aside > 0 && n_prefills > 0); /* or the cases are too easy */
    for (uint32_t i = 0; i < N_COMPANY; i++)
        free(want[i]);
}

/* A row takes 1 ms, so without a prefill the bound of 10 ms, and the margin that is left, leave
 * 4 rows to a prompt. With one it is read by more tokens at a time, in pieces that take no
 * longer, from the first one on. */
static void test_a_long_prompt_does_not_stop_others(void **state)
{
    for (uint32_t n_beside = 0; n_beside <= 4; n_beside += 4) {
        struct sluice_logit_bias no_end = {FAKE_EOS, -1000};
        struct schedworld_job *talker = schedworld_letters(1, 5);
        struct schedworld_job *reader = schedworld_letters(2, 1000);
        struct sl_sched_counters counters;

        schedworld_defaults(&world);
        world.session.n_beside = n_beside;
        world.opts.max_step_ms = 10;
        schedworld_init(&world);
        talker->job.bias = &no_end;
        talker->job.n_bias = 1;
        reader->req.n_predict_max = 1;
        schedworld_add(&world, talker);
        sl_sched_step(world.sched);
        schedworld_add(&world, reader);
        for (uint32_t i = 0; i < 20; i++) {
            uint32_t n_before = talker->counts.n_predicted_tok;
            uint64_t start_ns = world.fake.clock_ns;

            sl_sched_step(world.sched);
            assert_int_equal(talker->counts.n_predicted_tok, n_before + 1);
            assert_true(world.fake.clock_ns - start_ns <= 10 * FAKE_ROW_NS);
        }
        sl_sched_get_counters(world.sched, &counters);
        assert_int_equal(counters.n_late_steps, 0);
        if (n_beside) {
            assert_int_equal(world.fake.n_pieces, 20);
            assert_int_equal(world.fake.n_rows_max, 16); /* the least; 1 + 16 / 4 layers <= 5 */
        } else {
            assert_int_equal(world.fake.n_rows_max, 10);
        }
        sl_sched_cancel(world.sched, talker->job.id);
        schedworld_run(&world);
        assert_non_null(strstr(reader->log.ptr, "FINISH"));
        schedworld_free(talker);
        schedworld_free(reader);
        schedworld_done(&world);
    }
}

/* ---- what was computed is used again ---- */

static int32_t chat[2000]; /* of the test at hand */

/* n letters after a message's begin. */
static uint32_t add_message(uint32_t at, uint64_t seed, uint32_t n)
{
    chat[at++] = FAKE_MESSAGE;
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        chat[at++] = (int32_t)('A' + (seed >> 33) % 26);
    }
    return at;
}

/* What of the chat's first n tokens was cached; said: what was said, appended to it. */
static uint32_t ask(uint32_t n, uint32_t mark, uint32_t mark2, uint32_t flags, uint32_t *ret_n)
{
    struct schedworld_job *job = schedworld_job(chat, n);
    const char *text;
    uint32_t cached;

    job->req.n_predict_max = 40;
    job->req.flags = flags;
    job->job.marks[0] = mark;
    job->job.marks[1] = mark2;
    job->job.n_marks = mark2 ? 2 : mark ? 1 : 0;
    schedworld_add(&world, job);
    schedworld_run(&world);
    cached = job->counts.n_cached_tok;
    text = strstr(job->log.ptr, "TEXT ");
    for (text = text ? text + 5 : ""; *text >= 'a' && *text <= 'z'; text++)
        chat[n++] = *text;
    *ret_n = n;
    schedworld_free(job);
    return cached;
}

static void test_prefixes_are_used_again(void **state)
{
    uint32_t system = add_message(0, 1, 300), first, after, n;

    schedworld_defaults(&world);
    schedworld_init(&world);
    first = add_message(system, 2, 50);
    n = add_message(first, 0, 3); /* the opening of a reply */
    assert_int_equal(ask(n, system, 0, 0, &after), 0);
    /* the same again: all but one token, whose logits are needed */
    assert_int_equal(ask(n, system, 0, 0, &after), n - 1);
    assert_int_equal(ask(n, system, 0, SL_GENREQ_NO_CACHE, &after), 0);
    /* the chat goes on */
    n = add_message(add_message(after, 3, 60), 0, 3);
    assert_true(ask(n, system, after, 0, &n) >= after - 1); /* the last said is not computed */
    /* its last message is changed */
    n = add_message(add_message(after, 4, 70), 0, 3);
    assert_true(ask(n, system, after, 0, &n) >= after);
    /* another chat of the same system's */
    n = add_message(add_message(system, 5, 80), 0, 3);
    assert_true(ask(n, system, 0, 0, &n) >= system);
    /* back to the first */
    (void)add_message(system, 2, 50);
    n = add_message(first, 0, 3);
    assert_int_equal(ask(n, system, 0, 0, &after), n - 1);
    schedworld_done(&world);
}

/* A long history comes at once, and then its last message is changed. Reading it takes no
 * more steps for what is kept of it. */
static void test_ends_of_messages_are_kept(void **state)
{
    static const uint32_t lengths[][2] = {{300, 400}, {5, 3}, {700, 1}, {250, 5}, {20, 600}};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint32_t system = add_message(0, 1, lengths[i][0]), last, n, after;

        schedworld_defaults(&world);
        world.opts.n_kept = 5; /* what one request leaves, and one more */
        schedworld_init(&world);
        last = add_message(system, 2, lengths[i][1]);
        n = add_message(add_message(last, 3, 100), 0, 3);
        assert_int_equal(ask(n, system, last, 0, &after), 0);
        assert_true(world.fake.n_steps <= n / 64 + 1 + after - n);
        n = add_message(add_message(last, 4, 110), 0, 3);
        assert_true(ask(n, system, last, 0, &after) >= last);
        n = add_message(add_message(system, 5, 120), 0, 3);
        assert_true(ask(n, system, 0, 0, &after) >= system);
        schedworld_done(&world);
    }
}

static void test_slots_are_saved_and_restored(void **state)
{
    struct sl_sched_file file = {0};
    struct sl_diag diag = {""};
    uint32_t n = add_message(0, 1, 500), after, want;
    int32_t first[sizeof(chat) / sizeof(chat[0])];

    schedworld_defaults(&world);
    world.session.n_ctx = 1024;
    schedworld_init(&world);
    assert_int_equal(sl_sched_save(world.sched, 0, "file", &file, &diag), -ENOENT);
    assert_string_equal(diag.text, "slot 0 has nothing to save");
    (void)ask(n, 0, 0, 0, &after);
    memcpy(first, chat, sizeof(first));
    assert_int_equal(sl_sched_save(world.sched, 0, "file", &file, &diag), 0);
    assert_true(file.n_tok >= n && file.n_tok <= after && file.n_bytes == file.n_tok * 4);
    want = file.n_tok < after ? file.n_tok : after - 1;
    assert_int_equal(sl_sched_erase(world.sched, 0), file.n_tok);
    assert_int_equal(sl_sched_restore(world.sched, 3, "file", &file, &diag), 0);
    assert_int_equal(sl_sched_restore(world.sched, 2, "file", &file, &diag), 0); /* it is there */
    assert_int_equal(ask(after, 0, 0, 0, &n), want);
    /* others take the room, and give it back */
    for (uint64_t seed = 2; seed < 5; seed++)
        (void)ask(add_message(0, seed, 600), 0, 0, 0, &n);
    assert_int_equal(sl_sched_restore(world.sched, 1, "file", &file, &diag), 0);
    memcpy(chat, first, sizeof(first));
    assert_int_equal(ask(after, 0, 0, 0, &n), want);
    schedworld_done(&world);
}

static void test_the_cache_gives_room(void **state)
{
    schedworld_defaults(&world);
    world.session.n_ctx = 1024;
    schedworld_init(&world);
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct schedworld_job *job = schedworld_letters(seed, 500);
        struct sl_sched_counters counters;

        job->req.n_predict_max = 20;
        schedworld_add(&world, job);
        schedworld_run(&world);
        assert_non_null(strstr(job->log.ptr, "FINISH"));
        schedworld_free(job);
        sl_sched_get_counters(world.sched, &counters);
        assert_true(counters.n_kept <= 8 && counters.n_set_aside == 0);
    }
    assert_true(sl_sched_erase(world.sched, 0) >= 500);
    assert_int_equal(sl_sched_erase(world.sched, 0), 0);
    schedworld_done(&world);
}

/* ---- ends that come from outside ---- */

static void test_clients_go_away(void **state)
{
    for (uint32_t n_beside = 0; n_beside <= 4; n_beside += 4)
        for (uint32_t when = 0; when < 30; when++) {
            struct schedworld_job *jobs[6];

            schedworld_defaults(&world);
            world.opts.n_slots = 3;
            world.session.n_beside = n_beside;
            world.opts.max_step_ms = n_beside ? 3 : 1e9;
            schedworld_init(&world);
            for (uint32_t i = 0; i < 6; i++) {
                jobs[i] = schedworld_letters(i, i % 2 ? 5 : 400);
                jobs[i]->req.n_predict_max = 60;
                schedworld_add(&world, jobs[i]);
            }
            for (uint32_t i = 0; i < when; i++)
                sl_sched_step(world.sched);
            for (uint32_t i = 0; i < 4; i++) { /* running, reading, waiting; or over already */
                sl_sched_cancel(world.sched, jobs[i]->job.id);
                sl_sched_cancel(world.sched, jobs[i]->job.id);
            }
            sl_sched_step(world.sched);
            for (uint32_t i = 0; i < 4 && !n_beside; i++)
                assert_int_equal(jobs[i]->n_done, 1);
            schedworld_run(&world);
            assert_non_null(strstr(jobs[4]->log.ptr, "FINISH"));
            assert_non_null(strstr(jobs[5]->log.ptr, "FINISH"));
            for (uint32_t i = 0; i < 6; i++)
                schedworld_free(jobs[i]);
            schedworld_done(&world);
        }
}

static void test_a_lone_reader_goes_at_once(void **state)
{
    struct schedworld_job *talker = schedworld_letters(1, 5), *reader = schedworld_letters(2, 900);

    schedworld_defaults(&world);
    world.session.n_beside = 4;
    world.opts.max_step_ms = 3;
    schedworld_init(&world);
    schedworld_add(&world, talker);
    sl_sched_step(world.sched);
    schedworld_add(&world, reader);
    sl_sched_step(world.sched);
    assert_true(world.fake.n_prefill > 0);
    sl_sched_cancel(world.sched, reader->job.id);
    assert_int_equal(reader->n_done, 1);
    schedworld_run(&world);
    assert_non_null(strstr(talker->log.ptr, "FINISH"));
    schedworld_free(talker);
    schedworld_free(reader);
    schedworld_done(&world);
}

static void test_nobody_listens(void **state)
{
    for (uint32_t at = 1; at < 12; at++) {
        struct schedworld_job *job = schedworld_saying("hello"), *other = schedworld_saying("you");

        job->req.flags = SL_GENREQ_PROGRESS | SL_GENREQ_TOKENS;
        job->refuse_at = at;
        schedworld_defaults(&world);
        schedworld_init(&world);
        schedworld_add(&world, job);
        schedworld_add(&world, other);
        schedworld_run(&world);
        assert_int_equal(job->n_events, at); /* and none after it */
        assert_string_equal(schedworld_said(other), "TEXT you\nFINISH eos");
        schedworld_free(job);
        schedworld_free(other);
        schedworld_done(&world);
    }
}

static void test_the_queue_is_bounded(void **state)
{
    struct schedworld_job *jobs[4];

    schedworld_defaults(&world);
    world.opts.n_slots = 1;
    world.opts.n_queue_max = 2;
    schedworld_init(&world);
    for (uint32_t i = 0; i < 4; i++) {
        jobs[i] = schedworld_saying("hello");
        assert_int_equal(sl_sched_add(world.sched, &jobs[i]->job), i < 3 ? 0 : -EAGAIN);
        if (i == 0)
            sl_sched_step(world.sched); /* it is let in */
    }
    jobs[3]->n_done = 1; /* it was never taken */
    schedworld_run(&world);
    for (uint32_t i = 0; i < 4; i++)
        schedworld_free(jobs[i]);
    schedworld_done(&world);
}

static void test_a_step_that_fails_once(void **state)
{
    for (uint32_t n_beside = 0; n_beside <= 4; n_beside += 4)
        for (uint32_t step = 1; step < 40; step++) {
            struct schedworld_job *jobs[3];
            struct sl_sched_counters counters;

            schedworld_defaults(&world);
            world.session.n_beside = n_beside;
            world.opts.max_step_ms = n_beside ? 3 : 1e9;
            schedworld_init(&world);
            world.fake.fail_step = step;
            world.fake.fail_code = -EIO;
            for (uint32_t i = 0; i < 3; i++) {
                jobs[i] = i == 1 ? schedworld_letters(7, 300)
                                 : schedworld_saying("what is to be said is said in full");
                jobs[i]->req.n_predict_max = 50;
                schedworld_add(&world, jobs[i]);
                sl_sched_step(world.sched);
            }
            schedworld_run(&world);
            for (uint32_t i = 0; i < 3; i += 2)
                assert_string_equal(schedworld_said(jobs[i]),
                                    "TEXT what is to be said is said in full\nFINISH eos");
            sl_sched_get_counters(world.sched, &counters);
            assert_int_equal(counters.n_failed, 0);
            for (uint32_t i = 0; i < 3; i++)
                schedworld_free(jobs[i]);
            schedworld_done(&world);
        }
}

static void test_one_whose_steps_always_fail(void **state)
{
    static const int32_t poisoned[] = {'a', 'b', FAKE_POISON, 'c'};

    for (uint32_t n_beside = 0; n_beside <= 4; n_beside += 4) {
        struct schedworld_job *bad = schedworld_scripted(poisoned, 4);
        struct schedworld_job *good = schedworld_saying("all is well");
        struct schedworld_job *late = schedworld_job(poisoned, 4);

        schedworld_defaults(&world);
        world.session.n_beside = n_beside;
        world.opts.max_step_ms = n_beside ? 3 : 1e9;
        schedworld_init(&world);
        schedworld_add(&world, good);
        sl_sched_step(world.sched);
        schedworld_add(&world, bad);
        schedworld_add(&world, late);
        schedworld_run(&world);
        assert_string_equal(schedworld_said(good), "TEXT all is well\nFINISH eos");
        assert_string_equal(schedworld_said(bad), "ERROR 500 the disk is gone");
        assert_string_equal(schedworld_said(late), "ERROR 500 the disk is gone");
        schedworld_free(bad);
        schedworld_free(good);
        schedworld_free(late);
        schedworld_done(&world);
    }
}

/* Ended while all kinds of requests are under way. */
static void test_freed_in_the_middle(void **state)
{
    for (uint32_t when = 0; when < 20; when++) {
        struct schedworld_job *jobs[8];

        schedworld_defaults(&world);
        world.session.n_beside = 4;
        world.opts.max_step_ms = 3;
        schedworld_init(&world);
        for (uint32_t i = 0; i < 8; i++) {
            jobs[i] = schedworld_letters(i, i % 2 ? 3 : 500);
            schedworld_add(&world, jobs[i]);
        }
        for (uint32_t i = 0; i < when; i++)
            sl_sched_step(world.sched);
        sl_sched_free(world.sched);
        assert_int_equal(fakeengine_n_seqs(&world.fake), 0);
        fakeengine_done(&world.fake);
        for (uint32_t i = 0; i < 8; i++)
            schedworld_free(jobs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_half_a_character_is_not_told),
        cmocka_unit_test(test_the_context_is_an_end),
        cmocka_unit_test(test_tokens_and_their_probabilities),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_thinking),
        cmocka_unit_test(test_spelt_thinking),
        cmocka_unit_test(test_thinkscan),
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_replies_do_not_depend_on_company),
        cmocka_unit_test(test_a_long_prompt_does_not_stop_others),
        cmocka_unit_test(test_prefixes_are_used_again),
        cmocka_unit_test(test_ends_of_messages_are_kept),
        cmocka_unit_test(test_slots_are_saved_and_restored),
        cmocka_unit_test(test_the_cache_gives_room),
        cmocka_unit_test(test_clients_go_away),
        cmocka_unit_test(test_a_lone_reader_goes_at_once),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_the_queue_is_bounded),
        cmocka_unit_test(test_a_step_that_fails_once),
        cmocka_unit_test(test_one_whose_steps_always_fail),
        cmocka_unit_test(test_freed_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
