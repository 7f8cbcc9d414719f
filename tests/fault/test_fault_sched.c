/*
 * The scheduler with failing allocations: the n-th fails, for every n until none does. Each
 * request then still ends exactly once, with its reply or an error of its own, others get
 * their replies, and nothing is left behind (LeakSanitizer looks).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "faults.h"
#include "tests/server/schedworld.h"

#define N_JOBS 4

static struct schedworld world;

static struct schedworld_job *make_job(uint32_t i)
{
    static char *words[] = {"never said"};
    struct schedworld_job *job = schedworld_saying("this is said");

    job->req.flags = i % 2 ? SL_GENREQ_CALLS : SL_GENREQ_TOKENS;
    job->req.stops = words;
    job->req.n_stops = i == 2;
    return job;
}

static void test_requests(void **state)
{
    for (uint64_t n = 1;; n++) {
        struct schedworld_job *jobs[N_JOBS];
        uint32_t n_good = 0;
        int r;

        schedworld_defaults(&world);
        schedworld_init(&world);
        sl_sched_free(world.sched);
        for (uint32_t i = 0; i < N_JOBS; i++) {
            jobs[i] = make_job(i);
            /* what the test writes down needs memory as well */
            sl_strbuf_add_fmt(&jobs[i]->log, "%500s", "");
            sl_strbuf_cut(&jobs[i]->log, 0);
        }
        faults_arm(FAULTS_ALLOC, n);
        r = sl_sched_new(&world.sched, &world.opts);
        if (r == 0) {
            for (uint32_t i = 0; i < N_JOBS; i++)
                schedworld_add(&world, jobs[i]);
            schedworld_run(&world);
        }
        faults_disarm();
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_true(faults_hit());
            world.sched = NULL;
            fakeengine_done(&world.fake);
            for (uint32_t i = 0; i < N_JOBS; i++)
                jobs[i]->n_done = 1; /* never taken */
        }
        for (uint32_t i = 0; i < N_JOBS; i++) {
            const char *log = jobs[i]->log.ptr;

            n_good += strstr(log, "TEXT this is said\nFINISH eos") || strstr(log, "TEXT d\nFINISH");
            if (r == 0)
                assert_true(strstr(log, "FINISH eos") || strstr(log, "ERROR 503"));
            schedworld_free(jobs[i]);
        }
        if (r == 0) {
            assert_true(n_good >= N_JOBS - 1); /* at most one met the failure */
            schedworld_done(&world);
        }
        if (!faults_hit()) {
            assert_int_equal(n_good, N_JOBS);
            assert_true(n > 20); /* or the faults never reached it */
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
