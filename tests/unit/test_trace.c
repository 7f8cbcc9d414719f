/*
 * Traces: what is written is read; damaged and cut files are told apart and do no harm;
 * and a run of a real cache over a reader without a disk is repeated to the digit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "loader/zstream.h"
#include "tools/sim_reader.h"
#include "tools/sim_run.h"

#define N_LAYERS 5u /* the first has no experts */
#define N_EXPERTS 16u
#define N_USED 3u
#define N_STEPS 60
#define MAT_BYTES 4352u /* 32 rows of 128 numbers in Q8_0 */

struct model {
    struct sl_cache_layer layers[N_LAYERS];
    struct sl_part_at parts[N_LAYERS][N_EXPERTS * SL_PART_COUNT];
    struct sl_trace_info info;
    float seeds[N_LAYERS * N_EXPERTS];
};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void model_init(struct model *m)
{
    uint64_t off = 12345;

    memset(m, 0, sizeof(*m));
    for (uint32_t l = 1; l < N_LAYERS; l++) {
        for (uint32_t p = 0; p < SL_PART_COUNT; p++)
            m->layers[l].mats[p] = (struct sl_tensor){
                .dtype = SL_DTYPE_Q8_0, .n_cols = 128, .n_rows = l == 2 ? 64 : 32,
                .n_mats = N_EXPERTS, .row_bytes = sl_dtype_row_bytes(SL_DTYPE_Q8_0, 128) };
        m->layers[l].parts = m->parts[l];
        for (uint32_t i = 0; i < N_EXPERTS * SL_PART_COUNT; i++) {
            m->parts[l][i] = (struct sl_part_at){ off, l == 2 ? 2 * MAT_BYTES : MAT_BYTES, 0 };
            off += m->parts[l][i].bytes;
        }
    }
    for (uint32_t i = 0; i < N_LAYERS * N_EXPERTS; i++)
        m->seeds[i] = i % 3 ? -1 : 0.25f;
    m->info = (struct sl_trace_info){
        .n_layers = N_LAYERS, .n_experts = N_EXPERTS, .n_used = N_USED, .guess = true,
        .alignment = 4096, .depth = 16, .budget = 1u << 20, .bandwidth = 5000000,
        .fixed_bytes = 77, .layers = m->layers, .seeds = m->seeds };
}

static int new_file(void)
{
    int fd = memfd_create("trace", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* ---- a run ---- */

struct run {
    struct sl_cache *cache;
    struct sl_reader *reader;
    uint64_t rng;
};

static void choose(struct run *run, uint32_t *ret_experts, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint32_t e = draw(&run->rng) % (draw(&run->rng) % 2 ? N_EXPERTS : 6), k = 0;

        while (k < i && ret_experts[k] != e)
            k++;
        if (k == i)
            ret_experts[i++] = e;
    }
}

static void run_layer(struct run *run, uint32_t layer)
{
    struct sl_ticket tickets[N_EXPERTS];
    uint32_t experts[N_EXPERTS], n = draw(&run->rng) % 20 ? N_USED : N_EXPERTS, n_done = 0;
    struct sl_guess guesses[4];
    int8_t ranks[N_EXPERTS];

    choose(run, experts, n);
    sl_cache_request(run->cache, layer, experts, n, tickets);
    for (uint32_t e = 0; e < N_EXPERTS; e++)
        ranks[e] = (int8_t)(draw(&run->rng) % 200 - 100);
    sl_cache_observe(run->cache, layer, experts, N_USED, draw(&run->rng) % 9 ? ranks : NULL);
    for (uint32_t i = 0; i < 4 && layer + 1 < N_LAYERS; i++)
        guesses[i] = (struct sl_guess){ layer + 1, draw(&run->rng) % 4 * 4 + i,
                                        i == 3 ? 0.123456f : (float)(1024 - 200 * i) / 1024 };
    if (layer + 1 < N_LAYERS)
        sl_cache_hint(run->cache, guesses, 4);
    while (n_done < n) {
        for (uint32_t i = 0; i < n; i++)
            if (tickets[i].is_open && tickets[i].parts == SL_PARTS_ALL) {
                sim_reader_advance(run->reader, 1e-3);
                sl_cache_release(run->cache, &tickets[i]);
                n_done++;
            }
        assert_int_equal(sl_cache_wait(run->cache), 0);
        sl_cache_poll(run->cache);
    }
    sim_reader_advance(run->reader, 1e-3);
    sl_cache_poll(run->cache);
}

/* Steps of a real cache, traced into fd. */
static void record(const struct model *m, int fd, uint64_t rng)
{
    struct sim_reader_opts reader_opts = { .alignment = m->info.alignment, .depth = m->info.depth,
                                           .bandwidth = 20e6 };
    struct run run = { .reader = sim_reader_new(&reader_opts), .rng = rng };
    struct sl_cache_opts opts = { .reader = run.reader, .policy = m->info.policy,
                                  .n_used = N_USED, .guess = m->info.guess };
    struct sl_cache_counters counters;
    struct sl_trace_writer *writer;

    assert_int_equal(sl_cache_new_streaming(&run.cache, m->layers, N_LAYERS, &opts), 0);
    for (uint32_t i = 0; i < N_LAYERS * N_EXPERTS; i++)
        if (m->seeds[i] >= 0)
            sl_evict_seed(sl_cache_evict(run.cache), i / N_EXPERTS, i % N_EXPERTS, m->seeds[i]);
    assert_int_equal(sl_cache_set_budget(run.cache, m->info.budget), 0);
    assert_int_equal(sl_trace_writer_new(&writer, fd, &m->info), 0);
    sl_cache_set_event_fn(run.cache, sl_trace_write, writer);
    sl_cache_fill(run.cache);
    for (int t = 0; t < N_STEPS; t++) {
        if (t == N_STEPS / 2)
            assert_int_equal(sl_cache_set_budget(run.cache, m->info.budget * 2 / 3), 0);
        for (uint32_t l = 1; l < N_LAYERS; l++)
            run_layer(&run, l);
    }
    sl_cache_set_event_fn(run.cache, NULL, NULL);
    sl_cache_get_counters(run.cache, &counters);
    assert_int_equal(sl_trace_finish(writer, &counters), 0);
    sl_trace_writer_free(writer);
    sim_reader_end_script(run.reader);
    sl_cache_free(run.cache);
    sim_reader_free(run.reader);
}

static struct sl_trace *open_at(int fd)
{
    struct sl_trace *trace;

    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(sl_trace_open_read(&trace, fd, NULL), 0);
    return trace;
}

static void test_header_comes_back(void **state)
{
    struct model m;
    const struct sl_trace_info *info;
    struct sl_trace *trace;
    int fd = new_file();

    model_init(&m);
    record(&m, fd, seed_of_run());
    trace = open_at(fd);
    info = sl_trace_get_info(trace);
    assert_int_equal(info->n_layers, N_LAYERS);
    assert_int_equal(info->n_used, N_USED);
    assert_true(info->guess);
    assert_int_equal(info->budget, m.info.budget);
    assert_int_equal(info->bandwidth, m.info.bandwidth);
    assert_int_equal(info->fixed_bytes, 77);
    assert_memory_equal(info->seeds, m.seeds, sizeof(m.seeds));
    assert_int_equal(info->layers[0].mats[0].n_mats, 0);
    for (uint32_t l = 1; l < N_LAYERS; l++) {
        assert_memory_equal(info->layers[l].mats, m.layers[l].mats, sizeof(m.layers[l].mats));
        assert_memory_equal(info->layers[l].parts, m.parts[l], sizeof(m.parts[l]));
    }
    sl_trace_close(trace);
    close(fd);
}

static void test_run_is_repeated_to_the_digit(void **state)
{
    uint64_t seed = seed_of_run();

    for (int i = 0; i < 6; i++) {
        struct sim_exact exact;
        struct sl_trace *trace;
        struct model m;
        int fd = new_file();

        model_init(&m);
        m.info.policy = (enum sl_evict_policy)(i % 3);
        m.info.guess = i < 4;
        record(&m, fd, seed + (uint64_t)i);
        trace = open_at(fd);
        assert_int_equal(sim_run_exact(trace, &exact, NULL), 0);
        assert_true(exact.has_end);
        assert_true(exact.is_same);
        assert_true(exact.counters.requests > 0 && exact.counters.hits > 0);
        assert_true(exact.counters.misses > 0);
        assert_true(exact.counters.guesses > 0 || !m.info.guess);
        sl_trace_close(trace);
        close(fd);
    }
}

/* With another policy than the recorded one it is another run, and that shows. */
static void test_another_run_is_told_apart(void **state)
{
    struct sim_exact exact;
    struct sl_trace *trace;
    struct model m;
    int fd = new_file();

    model_init(&m);
    record(&m, fd, seed_of_run());
    trace = open_at(fd);
    ((struct sl_trace_info *)sl_trace_get_info(trace))->policy = SL_EVICT_LRU;
    assert_int_equal(sim_run_exact(trace, &exact, NULL), 0);
    assert_false(exact.is_same);
    sl_trace_close(trace);
    close(fd);
}

static void test_asks_come_back(void **state)
{
    struct sl_trace_asks *asks;
    struct sl_trace *trace;
    const uint16_t *experts = NULL;
    struct model m;
    int fd = new_file();
    uint32_t n;

    model_init(&m);
    record(&m, fd, seed_of_run());
    trace = open_at(fd);
    assert_int_equal(sl_trace_load_asks(trace, &asks, NULL), 0);
    assert_int_equal(sl_trace_asks_steps(asks), N_STEPS);
    for (uint64_t t = 0; t < N_STEPS; t++) {
        assert_int_equal(sl_trace_asks_get(asks, t, 0, &experts), 0);
        for (uint32_t l = 1; l < N_LAYERS; l++) {
            n = sl_trace_asks_get(asks, t, l, &experts);
            assert_true(n == N_USED || n == N_EXPERTS);
            for (uint32_t i = 0; i < n; i++)
                assert_true(experts[i] < N_EXPERTS);
        }
    }
    assert_int_equal(sl_trace_asks_get(asks, N_STEPS, 1, &experts), 0);
    assert_int_equal(sl_trace_asks_get(asks, 0, N_LAYERS, &experts), 0);
    sl_trace_asks_free(asks);
    sl_trace_close(trace);
    close(fd);
}

static void test_other_runs_are_sensible(void **state)
{
    struct sim_script script;
    struct sl_trace *trace;
    struct model m;
    uint64_t last_hits = 0;
    int fd = new_file();

    model_init(&m);
    record(&m, fd, seed_of_run());
    trace = open_at(fd);
    assert_int_equal(sim_script_read(&script, trace, NULL), 0);
    assert_int_equal(script.n_tokens, N_STEPS);
    for (uint64_t budget = 400u << 10; budget <= 3200u << 10; budget *= 2) {
        struct sim_opts opts = { .budget = budget, .predict = SIM_PREDICT_OFF, .bandwidth = 20e6 };
        struct sim_result off, perfect, best;

        memset(&off, 0, sizeof(off));
        memset(&perfect, 0, sizeof(perfect));
        assert_int_equal(sim_run(&script, &opts, &off, NULL), 0);
        opts.predict = SIM_PREDICT_PERFECT;
        assert_int_equal(sim_run(&script, &opts, &perfect, NULL), 0);
        assert_int_equal(sim_belady(&script, budget, &best, NULL), 0);
        assert_int_equal(off.counters.requests, script.n_steps ? best.counters.requests : 0);
        /* filling free slots saves each expert a first read at most */
        assert_true(best.counters.hits + N_LAYERS * N_EXPERTS >= off.counters.hits);
        assert_true(off.counters.hits >= last_hits);
        assert_true(perfect.counters.covered + perfect.counters.covered_late > 0 ||
                    off.counters.misses <= best.counters.misses + 8);
        assert_true(off.seconds >= off.stall_s);
        last_hits = off.counters.hits;
    }
    sim_script_done(&script);
    sl_trace_close(trace);
    close(fd);
}

/* ---- hostile files ---- */

/* Read a trace in every way; whatever it holds, it must end. Returns 0 or the error. */
static int read_through(const uint8_t *bytes, size_t n)
{
    struct sl_cache_event event;
    struct sl_trace *trace;
    struct sl_diag diag;
    uint64_t ns;
    int fd = new_file(), r;

    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    r = sl_trace_open_read(&trace, fd, &diag);
    if (r == 0) {
        while ((r = sl_trace_next(trace, &event, &ns, &diag)) > 0)
            ;
        assert_int_equal(sl_trace_next(trace, &event, &ns, &diag), 0);
        sl_trace_close(trace);
    }
    close(fd);
    return r;
}

static uint8_t *load(int fd, size_t *ret_n)
{
    off_t n = lseek(fd, 0, SEEK_END);
    uint8_t *bytes = malloc((size_t)n);

    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)n, 0), n);
    *ret_n = (size_t)n;
    return bytes;
}

static void test_cut_and_damaged_files(void **state)
{
    uint64_t rng = seed_of_run();
    struct sl_cache_counters counters;
    struct sl_trace *trace;
    struct model m;
    uint64_t digest;
    uint8_t *bytes;
    size_t n;
    int fd = new_file(), n_refused = 0;

    model_init(&m);
    record(&m, fd, rng);
    bytes = load(fd, &n);
    assert_int_equal(read_through(bytes, n), 0);
    for (size_t cut = 0; cut < n; cut += 1 + n / 200)
        assert_true(read_through(bytes, cut) <= 0);
    for (int i = 0; i < 300; i++) {
        size_t at = draw(&rng) % n;
        uint8_t was = bytes[at];

        bytes[at] ^= (uint8_t)(1u << draw(&rng) % 8);
        n_refused += read_through(bytes, n) < 0;
        bytes[at] = was;
    }
    /* every bit is checked but one in each frame's header, which zstd leaves unused */
    assert_true(n_refused >= 295);
    trace = open_at(fd);
    assert_false(sl_trace_get_end(trace, &counters, &digest));
    sl_trace_close(trace);
    free(bytes);
    close(fd);
}

/* Well-formed blocks that hold nonsense: what a checksum does not catch. */
static void test_nonsense_in_whole_blocks(void **state)
{
    uint64_t rng = seed_of_run();

    for (int i = 0; i < 400; i++) {
        struct sl_zstream_writer *writer;
        uint8_t junk[600], *bytes;
        size_t n;
        int fd = new_file();

        assert_int_equal(write(fd, "SLTRACE1", 8), 8);
        assert_int_equal(sl_zstream_writer_new(&writer, fd), 0);
        for (size_t k = 0; k < sizeof(junk); k++)
            junk[k] = (uint8_t)(draw(&rng) % (draw(&rng) % 3 ? 8 : 256));
        /* a header that begins well: version, layers, experts, used, policy, guess,
         * alignment 4096, depth */
        memcpy(junk, "\x01\x02\x08\x02\x00\x01\x80\x20\x10", 9);
        sl_zstream_write(writer, junk, sizeof(junk));
        assert_int_equal(sl_zstream_flush(writer), 0);
        sl_zstream_writer_free(writer);
        bytes = load(fd, &n);
        assert_true(read_through(bytes, n) <= 0);
        free(bytes);
        close(fd);
    }
}

static void test_a_full_disk_is_told(void **state)
{
    struct sl_trace_writer *writer;
    struct model m;
    FILE *full = fopen("/dev/full", "w");

    model_init(&m);
    if (!full)
        skip();
    assert_true(sl_trace_writer_new(&writer, fileno(full), &m.info) < 0);
    fclose(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_comes_back),
        cmocka_unit_test(test_run_is_repeated_to_the_digit),
        cmocka_unit_test(test_another_run_is_told_apart),
        cmocka_unit_test(test_asks_come_back),
        cmocka_unit_test(test_other_runs_are_sensible),
        cmocka_unit_test(test_cut_and_damaged_files),
        cmocka_unit_test(test_nonsense_in_whole_blocks),
        cmocka_unit_test(test_a_full_disk_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
