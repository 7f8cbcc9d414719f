/*
 * Requests between three threads, with clients that go at any time: each request ends exactly
 * once, wherever it was. For ThreadSanitizer as much as for what it checks.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "server/workqueue.h"

#define N_ITEMS 20000
#define N_MAX 32

static struct sl_workqueue *queue;
static atomic_uint n_ended_in_text, n_ended_in_engine, n_gone_in_engine;

static struct sl_workitem *make_item(uint64_t id)
{
    struct sl_workitem *item = calloc(1, sizeof(*item));

    assert_non_null(item);
    item->id = id;
    return item;
}

static void *text_thread(void *arg)
{
    struct sl_workitem *item;

    while ((item = sl_workqueue_take_text(queue)) != NULL) {
        if (item->id % 5 == 0) {
            atomic_fetch_add(&n_ended_in_text, 1);
            sl_workqueue_drop(queue, item);
        } else {
            sl_workqueue_pass(queue, item);
        }
    }
    return NULL;
}

/* Holds a few requests, as slots do, and lets the oldest end. */
static void *engine_thread(void *arg)
{
    struct sl_workitem *held[4] = {NULL}, *item;
    uint32_t at = 0;

    for (;;) {
        enum sl_workqueue_news news = sl_workqueue_next(queue, at % 7 ? 0 : 1, &item);

        at++;
        if (news == SL_WORKQUEUE_CLOSED)
            return NULL;
        if (news == SL_WORKQUEUE_GONE) {
            int found = 0;

            for (int i = 0; i < 4; i++)
                if (held[i] == item) {
                    held[i] = NULL;
                    found++;
                }
            if (found != 1)
                abort();
            atomic_fetch_add(&n_gone_in_engine, 1);
            sl_workqueue_drop(queue, item);
        } else if (news == SL_WORKQUEUE_NEW) {
            struct sl_workitem **place = &held[at % 4];

            if (*place) {
                atomic_fetch_add(&n_ended_in_engine, 1);
                sl_workqueue_drop(queue, *place);
            }
            *place = item;
        }
    }
}

static void test_three_threads(void **state)
{
    struct sl_workitem *late;
    pthread_t text, engine;

    assert_int_equal(sl_workqueue_new(&queue, N_MAX), 0);
    assert_int_equal(pthread_create(&text, NULL, text_thread, NULL), 0);
    assert_int_equal(pthread_create(&engine, NULL, engine_thread, NULL), 0);
    for (uint64_t id = 1; id <= N_ITEMS; id++) {
        struct sl_workitem *item = make_item(id);
        int r;

        while ((r = sl_workqueue_put(queue, item)) == -EAGAIN)
            (void)sched_yield(); /* until the others have made room */
        assert_int_equal(r, 0);
        if (id % 3 == 0)
            sl_workqueue_gone(queue, id); /* wherever it is */
        if (id % 4 == 0 && id > 20)
            sl_workqueue_gone(queue, id - 20); /* perhaps for the second time, or long ended */
    }
    sl_workqueue_close(queue);
    assert_int_equal(pthread_join(text, NULL), 0);
    assert_int_equal(pthread_join(engine, NULL), 0);
    late = make_item(1);
    assert_int_equal(sl_workqueue_put(queue, late), -ECANCELED);
    sl_workitem_free(late);
    sl_workqueue_free(queue); /* frees what is left; LeakSanitizer looks for more */
    assert_true(n_ended_in_text > 0 && n_ended_in_engine > 0 && n_gone_in_engine > 0);
}

/* The stages one by one, on one thread. */
static void test_a_client_goes_at_each_stage(void **state)
{
    struct sl_workitem *item, *taken = NULL;

    assert_int_equal(sl_workqueue_new(&queue, 2), 0);
    for (int stage = 0; stage < 4; stage++) {
        item = make_item(7);
        assert_int_equal(sl_workqueue_put(queue, item), 0);
        if (stage >= 1)
            assert_ptr_equal(sl_workqueue_take_text(queue), item);
        if (stage >= 2)
            sl_workqueue_pass(queue, item);
        if (stage >= 3)
            assert_int_equal(sl_workqueue_next(queue, 0, &taken), SL_WORKQUEUE_NEW);
        sl_workqueue_gone(queue, 8);
        sl_workqueue_gone(queue, 7);
        if (stage == 1)
            sl_workqueue_pass(queue, item); /* is told by being dropped */
        if (stage == 3) {
            assert_int_equal(sl_workqueue_next(queue, 0, &taken), SL_WORKQUEUE_GONE);
            assert_ptr_equal(taken, item);
            sl_workqueue_drop(queue, item);
        }
        assert_int_equal(sl_workqueue_next(queue, 0, &taken), SL_WORKQUEUE_NONE);
    }
    for (uint64_t id = 1; id <= 2; id++) /* all places are free again */
        assert_int_equal(sl_workqueue_put(queue, make_item(id)), 0);
    item = make_item(3);
    assert_int_equal(sl_workqueue_put(queue, item), -EAGAIN);
    sl_workitem_free(item);
    sl_workqueue_close(queue);
    assert_null(sl_workqueue_take_text(queue));
    assert_int_equal(sl_workqueue_next(queue, -1, &taken), SL_WORKQUEUE_CLOSED);
    sl_workqueue_free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_threads),
        cmocka_unit_test(test_a_client_goes_at_each_stage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
