/*
 * Answers on their way from any thread to the loop: in which order they may be given, whom an
 * id still reaches, and that of "answered" and "cut off" exactly one is said.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>

#include "server/exchange.h"

static const struct sl_http_reply plain = {.status = 200, .type = "text/plain"};

static struct sl_exchanges *open_table(uint32_t n, size_t out_max_bytes)
{
    struct sl_exchanges *table;

    assert_int_equal(sl_exchanges_new(&table, n, out_max_bytes), 0);
    return table;
}

static void test_order_of_a_stream(void **state)
{
    struct sl_exchanges *table = open_table(2, 100);
    sl_http_id id = sl_exchanges_open(table, 1);
    struct sl_exchange_out out;

    assert_int_equal(sl_exchanges_write(table, id, "a", 1), -EINVAL);
    assert_int_equal(sl_exchanges_end(table, id), -EINVAL);
    assert_int_equal(sl_exchanges_begin(table, id, &plain), 0);
    assert_int_equal(sl_exchanges_begin(table, id, &plain), -EINVAL);
    assert_int_equal(sl_exchanges_reply(table, id, &plain, "a", 1), -EINVAL);
    assert_int_equal(sl_exchanges_error(table, id, 500, "late", NULL), -EINVAL);
    assert_int_equal(sl_exchanges_write(table, id, "ab", 2), 0);
    assert_int_equal(sl_exchanges_write(table, id, "c", 1), 0);
    assert_true(sl_exchanges_take(table, &out));
    assert_true(out.has_head && !out.is_ended && out.index == 1 && out.id == id);
    assert_string_equal(out.body.ptr, "abc");
    sl_exchange_out_done(&out);
    assert_false(sl_exchanges_take(table, &out));
    assert_int_equal(sl_exchanges_end(table, id), 0);
    assert_int_equal(sl_exchanges_write(table, id, "d", 1), -EINVAL);
    assert_int_equal(sl_exchanges_end(table, id), -EINVAL);
    assert_true(sl_exchanges_take(table, &out));
    assert_true(!out.has_head && out.is_ended && !out.is_aborted);
    assert_false(sl_exchanges_close(table, 1)); /* it was answered */
    sl_exchanges_free(table);
}

static void test_an_old_id_reaches_nobody(void **state)
{
    struct sl_exchanges *table = open_table(1, 100);
    sl_http_id id = sl_exchanges_open(table, 0), next;
    struct sl_exchange_out out;

    assert_int_equal(sl_exchanges_begin(table, id, &plain), 0);
    assert_true(sl_exchanges_close(table, 0));
    assert_false(sl_exchanges_close(table, 0));
    next = sl_exchanges_open(table, 0);
    assert_true(next != id && next != 0);
    for (int i = 0; i < 2; i++) {
        sl_http_id old = i ? id : 0;

        assert_int_equal(sl_exchanges_write(table, old, "a", 1), -ECANCELED);
        assert_int_equal(sl_exchanges_reply(table, old, &plain, "a", 1), -ECANCELED);
        assert_int_equal(sl_exchanges_end(table, old), -ECANCELED);
        assert_int_equal(sl_exchanges_abort(table, old), -ECANCELED);
    }
    assert_int_equal(sl_exchanges_reply(table, next, &plain, "b", 1), 0);
    assert_true(sl_exchanges_take(table, &out)); /* the old one's place in the ring, once */
    assert_true(out.id == next && out.is_ended);
    assert_string_equal(out.body.ptr, "b");
    sl_exchange_out_done(&out);
    assert_false(sl_exchanges_take(table, &out));
    sl_exchanges_free(table);
}

/* A client that does not read: told once, and from then on its id means nothing, also while
 * the loop has not yet closed it; so it is never taken for answered. */
static void test_who_is_cut_off_was_not_answered(void **state)
{
    for (int is_taken = 0; is_taken < 2; is_taken++) {
        struct sl_exchanges *table = open_table(1, 10);
        sl_http_id id = sl_exchanges_open(table, 0);
        struct sl_exchange_out out = {0};

        assert_int_equal(sl_exchanges_begin(table, id, &plain), 0);
        assert_int_equal(sl_exchanges_write(table, id, "0123456789a", 11), 0);
        assert_int_equal(sl_exchanges_write(table, id, "b", 1), -ENOBUFS);
        if (is_taken) {
            assert_true(sl_exchanges_take(table, &out));
            assert_true(out.is_aborted);
            sl_exchange_out_done(&out);
        }
        assert_int_equal(sl_exchanges_write(table, id, "c", 1), -ECANCELED);
        assert_int_equal(sl_exchanges_end(table, id), -ECANCELED);
        assert_int_equal(sl_exchanges_abort(table, id), -ECANCELED);
        assert_true(sl_exchanges_close(table, 0));
        sl_exchanges_free(table);
    }
}

static void test_what_the_loop_has_not_sent_counts(void **state)
{
    struct sl_exchanges *table = open_table(1, 10);
    sl_http_id id = sl_exchanges_open(table, 0);
    struct sl_exchange_out out;

    assert_int_equal(sl_exchanges_begin(table, id, &plain), 0);
    assert_int_equal(sl_exchanges_write(table, id, "0123456789a", 11), 0);
    assert_true(sl_exchanges_take(table, &out));
    sl_exchange_out_done(&out);
    sl_exchanges_set_unsent(table, 0, 3);
    assert_int_equal(sl_exchanges_write(table, id, "b", 1), 0);
    sl_exchanges_set_unsent(table, 0, 10);
    assert_int_equal(sl_exchanges_write(table, id, "c", 1), -ENOBUFS);
    sl_exchanges_free(table);
}

static void test_one_who_breaks_off_need_not_be_told(void **state)
{
    struct sl_exchanges *table = open_table(1, 10);
    sl_http_id id = sl_exchanges_open(table, 0);
    struct sl_exchange_out out;

    assert_int_equal(sl_exchanges_abort(table, id), 0);
    assert_int_equal(sl_exchanges_begin(table, id, &plain), -ECANCELED);
    assert_int_equal(sl_exchanges_write(table, id, "a", 1), -ECANCELED);
    assert_true(sl_exchanges_take(table, &out));
    assert_true(out.is_aborted && out.is_ended);
    assert_false(sl_exchanges_close(table, 0));
    sl_exchanges_free(table);
}

static void test_more_answers_than_places(void **state)
{
    enum { N = 5 };
    struct sl_exchanges *table = open_table(N, 100);
    struct pollfd fd = {.fd = sl_exchanges_fd(table), .events = POLLIN};
    struct sl_exchange_out out;
    uint32_t n = 0;

    for (int round = 0; round < 3; round++)
        for (uint32_t i = 0; i < N; i++) { /* closed ones keep their places in the ring */
            (void)sl_exchanges_close(table, i);
            assert_int_equal(sl_exchanges_reply(table, sl_exchanges_open(table, i), &plain, "", 0),
                             0);
        }
    assert_int_equal(poll(&fd, 1, 0), 1);
    sl_exchanges_calm(table);
    assert_int_equal(poll(&fd, 1, 0), 0);
    while (sl_exchanges_take(table, &out)) {
        assert_int_equal(out.index, n++);
        sl_exchange_out_done(&out);
    }
    assert_int_equal(n, N);
    sl_exchanges_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_a_stream),
        cmocka_unit_test(test_an_old_id_reaches_nobody),
        cmocka_unit_test(test_who_is_cut_off_was_not_answered),
        cmocka_unit_test(test_what_the_loop_has_not_sent_counts),
        cmocka_unit_test(test_one_who_breaks_off_need_not_be_told),
        cmocka_unit_test(test_more_answers_than_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
