/*
 * A long life: models opened in random budgets, with random readers and policies, and
 * sequences that grow, fork, rewind and end, while steps are cancelled, reads fail and
 * memory is asked back. Every logits row equals the resident model's; nothing is lost:
 * memory, descriptors and threads are as many after each life as before; no step takes
 * longer than STALL_MAX_S.
 *
 * SL_SOAK_SECONDS: how long (20); 1800 for the soak that a release goes through.
 */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/pressure.h"
#include "common.h"
#include "loader/readop.h"

#define N_SEQ 4u
#define N_TOK_MAX 400u
#define N_MOVES 40u
#define STALL_MAX_S 30.0 /* a busy machine gives a step's reads in far less */
#define LEAK_BYTES_MAX (256u << 10)

static const char *const files[] = { "models/random-moe-f32.gguf", "models/tiny-q4_k_m.gguf",
                                     "models/tiny-q8_0.gguf", "models/types/types-q6_k.gguf" };
#define N_FILES (sizeof(files) / sizeof(files[0]))

static _Atomic uint64_t draw;
static _Atomic uint32_t n_in_1000_fail;   /* tries of reads */
static _Atomic uint32_t n_in_1000_short;
static _Atomic uint32_t n_in_1000_press;

struct resident {
    struct sluice_model *model;
    struct sluice_session *session;
    struct sluice_model_info info;
};

struct walker {
    int seq;
    uint32_t n;
    int32_t tokens[N_TOK_MAX];
};

struct life {
    const struct resident *resident;
    struct sluice_model *model;
    struct sluice_session *session;
    struct walker walkers[N_SEQ];
    uint32_t n_walkers;
    uint32_t n_checked, n_cancelled, n_failed;
    double longest_s;
};

bool __wrap_sl_pressure_poll(struct sl_pressure *pressure);
bool __real_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment);
bool __wrap_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment);

static uint32_t of_1000(void)
{
    uint64_t state = atomic_fetch_add(&draw, 0x9E3779B97F4A7C15u);

    return (uint32_t)(common_random(&state) % 1000);
}

bool __wrap_sl_pressure_poll(struct sl_pressure *pressure)
{
    return of_1000() < atomic_load(&n_in_1000_press);
}

bool __wrap_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment)
{
    if (of_1000() < atomic_load(&n_in_1000_fail))
        res = of_1000() < 500 ? -EIO : -EINTR;
    else if (res > 4096 && of_1000() < atomic_load(&n_in_1000_short))
        res = res / 2;
    return __real_sl_readop_advance(op, file, res, alignment);
}

static uint32_t pick(uint64_t *rng, uint32_t n)
{
    return (uint32_t)(common_random(rng) % n);
}

static uint32_t count_in(const char *path)
{
    DIR *dir = opendir(path);
    uint32_t n = 0;

    CHECK(dir, "%s", path);
    while (readdir(dir))
        n++;
    (void)closedir(dir); /* read only */
    return n;
}

/* The kernel forgets threads, and what a ring held, a little after they have ended. */
static bool falls_to(const char *path, uint32_t n)
{
    uint64_t until = sl_clock_ns() + 5000000000u;

    while (count_in(path) > n && sl_clock_ns() < until)
        sched_yield();
    return count_in(path) <= n;
}

static void set_faults(uint64_t *rng)
{
    uint32_t kind = pick(rng, 4);

    atomic_store(&n_in_1000_fail, kind == 1 ? 100 : kind == 2 ? 700 : 0);
    atomic_store(&n_in_1000_short, kind ? 200 : 0);
    atomic_store(&n_in_1000_press, pick(rng, 3) ? 0 : 50);
}

static void clear_faults(void)
{
    atomic_store(&n_in_1000_fail, 0);
    atomic_store(&n_in_1000_short, 0);
    atomic_store(&n_in_1000_press, 0);
}

static void check_row(struct life *life, const struct walker *wk, const float *row)
{
    struct sluice_session *session = life->resident->session;
    int seq = sluice_seq_new(session);
    struct sluice_batch batch = { .seq = seq, .n_tokens = wk->n, .tokens = wk->tokens,
                                  .n_logits = 1 };
    const float *logits;

    CHECK(sluice_decode(session, &batch, 1, &logits) == 0, "resident: %s",
          sluice_session_error(session));
    CHECK(memcmp(logits, row, sizeof(float) * life->resident->info.n_vocab) == 0,
          "logits differ from resident ones at %u tokens", wk->n);
    CHECK(sluice_seq_free(session, seq) == 0, "free");
    life->n_checked++;
}

static void append(struct life *life, struct walker *wk, uint64_t *rng)
{
    uint32_t n = 1 + pick(rng, pick(rng, 3) ? 8 : 90);
    struct sluice_batch batch = { .seq = wk->seq, .tokens = wk->tokens + wk->n, .n_logits = 1 };
    const float *logits;
    uint64_t began;
    double took_s;
    int64_t n_kept;
    int r;

    if (wk->n + n > N_TOK_MAX)
        return;
    batch.n_tokens = n;
    for (uint32_t i = 0; i < n; i++)
        wk->tokens[wk->n + i] = (int32_t)pick(rng, life->resident->info.n_vocab);
    if (pick(rng, 6) == 0)
        sluice_session_cancel(life->session);
    set_faults(rng);
    began = sl_clock_ns();
    r = sluice_decode(life->session, &batch, 1, &logits);
    took_s = (double)(sl_clock_ns() - began) * 1e-9;
    clear_faults();
    life->longest_s = took_s > life->longest_s ? took_s : life->longest_s;
    CHECK(took_s < STALL_MAX_S, "a step of %u tokens took %.1f s", n, took_s);
    CHECK(r == 0 || r == -EIO || r == -ECANCELED || r == -ENOMEM, "decode: %d, %s", r,
          sluice_session_error(life->session));
    life->n_failed += r == -EIO;
    life->n_cancelled += r == -ECANCELED;
    n_kept = sluice_seq_tokens(life->session, wk->seq, NULL);
    /* a failed step may take a sequence back to the end of its last whole block of 256 */
    CHECK(r == 0 ? n_kept == wk->n + n
                 : n_kept <= wk->n + n &&
                       (n_kept >= wk->n || (r == -EIO && n_kept % 256 == 0 &&
                                            n_kept + 255 >= wk->n)),
          "%lld tokens after %d, %u before, %u more asked for", (long long)n_kept, r, wk->n, n);
    wk->n = (uint32_t)n_kept;
    if (r == 0)
        check_row(life, wk, logits);
}

static void move(struct life *life, uint64_t *rng)
{
    uint32_t kind = pick(rng, 10);
    struct walker *wk = life->n_walkers ? &life->walkers[pick(rng, life->n_walkers)] : NULL;

    if (!wk || (kind == 0 && life->n_walkers < N_SEQ)) {
        life->walkers[life->n_walkers++] =
            (struct walker){ .seq = sluice_seq_new(life->session) };
    } else if (kind == 1 && life->n_walkers < N_SEQ) {
        struct walker *copy = &life->walkers[life->n_walkers++];

        *copy = *wk;
        copy->seq = sluice_seq_fork(life->session, wk->seq);
        CHECK(copy->seq >= 0, "fork: %d", copy->seq);
    } else if (kind == 2) {
        CHECK(sluice_seq_free(life->session, wk->seq) == 0, "free");
        *wk = life->walkers[--life->n_walkers];
    } else if (kind == 3) {
        uint32_t keep = pick(rng, wk->n + 1);
        int r = sluice_seq_rewind(life->session, wk->seq, keep);

        /* a cancel that found its step already failed is still to be obeyed */
        CHECK(r == 0 || r == -ENOMEM || r == -ECANCELED, "rewind: %d", r);
        CHECK(r != 0 || sluice_seq_tokens(life->session, wk->seq, NULL) == keep, "kept");
        wk->n = (uint32_t)sluice_seq_tokens(life->session, wk->seq, NULL);
    } else {
        append(life, wk, rng);
    }
}

/* The smallest budget for these options, in bytes. */
static uint64_t find_least(const char *file, struct sluice_model_opts opts)
{
    struct sluice_model_info info;
    struct sluice_error error;
    struct sluice_model *model;

    opts.ram_bytes = SLUICE_RAM_MIN;
    CHECK(sluice_model_open(&model, common_data(file), &opts, &error) == 0, "%s", error.text);
    sluice_model_get_info(model, &info);
    sluice_model_close(model);
    return info.ram_bytes;
}

/* One model from opening to closing. */
static void live(struct life *life, const char *file, uint64_t *rng)
{
    const struct sluice_session_opts session = { .n_ctx = 2048, .n_seq_max = N_SEQ,
                                                 .n_chunk = 1 + pick(rng, 64), .n_logits = 1 };
    struct sluice_model_opts opts = {
        .n_threads = 1 + pick(rng, 3), .cpu = common_cpu(),
        .residency = SLUICE_RESIDENCY_STREAM,
        .io = (enum sluice_io)(SLUICE_IO_AUTO + pick(rng, 2) * (2 + pick(rng, 2))),
        .predict = (enum sluice_predict)pick(rng, 2), .policy = (enum sluice_policy)pick(rng, 3),
        .session = &session,
    };
    uint64_t weights = life->resident->info.weight_bytes;
    struct sluice_error error;

    opts.ram_bytes = find_least(file, opts);
    if (pick(rng, 4))
        opts.ram_bytes += common_random(rng) % (weights + weights / 4);
    CHECK(sluice_model_open(&life->model, common_data(file), &opts, &error) == 0, "%s", error.text);
    CHECK(sluice_session_new(&life->session, life->model, &session, &error) == 0, "%s",
          error.text);
    life->n_walkers = 0;
    for (uint32_t i = 0; i < N_MOVES; i++)
        move(life, rng);
    sluice_session_free(life->session);
    sluice_model_close(life->model);
}

static void open_resident(struct resident *res, const char *file)
{
    const struct sluice_session_opts opts = { .n_ctx = 1024, .n_seq_max = 1, .n_chunk = 512 };

    res->model = common_open(file, 2, common_cpu());
    res->session = common_session(res->model, &opts);
    sluice_model_get_info(res->model, &res->info);
}

int main(void)
{
    const char *text = getenv("SL_SOAK_SECONDS");
    uint64_t until = sl_clock_ns() + (uint64_t)((text ? atof(text) : 20) * 1e9);
    uint64_t rng = common_seed();
    struct resident residents[N_FILES];
    struct life *life = calloc(1, sizeof(*life));
    uint32_t n_lives = 0, n_fds = 0, n_threads = 0;
    size_t heap_bytes = 0;

    CHECK(life, "memory");
    atomic_store(&draw, common_random(&rng));
    for (size_t i = 0; i < N_FILES; i++)
        open_resident(&residents[i], files[i]);
    for (; n_lives < 2 || sl_clock_ns() < until; n_lives++) {
        uint32_t i = pick(&rng, N_FILES);
        size_t bytes;

        life->resident = &residents[i];
        live(life, files[i], &rng);
        bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
        if (n_lives == 0) { /* libraries keep what they allocate once */
            n_fds = count_in("/proc/self/fd");
            n_threads = count_in("/proc/self/task");
            heap_bytes = bytes;
        }
        CHECK(falls_to("/proc/self/fd", n_fds), "life %u: a descriptor is left", n_lives);
        CHECK(falls_to("/proc/self/task", n_threads), "life %u: a thread is left", n_lives);
        CHECK(bytes < heap_bytes + LEAK_BYTES_MAX, "life %u: %zu bytes of heap, %zu at first",
              n_lives, bytes, heap_bytes);
    }
    printf("ok: %u lives, %u rows checked, %u steps failed, %u cancelled, longest %.2f s\n",
           n_lives, life->n_checked, life->n_failed, life->n_cancelled, life->longest_s);
    CHECK(life->n_checked > 0, "nothing was checked");
    CHECK(n_lives < 8 || (life->n_failed > 0 && life->n_cancelled > 0),
          "no fault was ever noticed");
    for (size_t i = 0; i < N_FILES; i++) {
        sluice_session_free(residents[i].session);
        sluice_model_close(residents[i].model);
    }
    free(life);
    return 0;
}
