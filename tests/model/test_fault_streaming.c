/*
 * Streaming from a file that cannot always be read: what is tried again and comes late,
 * short or in another order changes no bit; what fails for good ends the step with -EIO,
 * keeps the tokens before it, and the next step works once the fault is gone. A file cut
 * while running is an error, one replaced under its name is not noticed. A cancelled step
 * is repeated to the same bits, wherever it was cancelled. Opening survives the failure
 * of any call.
 *
 * Wrapped (ld --wrap): sl_readop_advance, which all readers ask what a read has come to,
 * and the functions through which the cache sees reads land, to hold them back and mix
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "loader/readop.h"
#include "loader/reader.h"
#include "tests/fault/faults.h"

#define N_TOK 24u
#define N_HELD_MAX 512u

enum mishap {
    NONE,
    EIO_ONCE,    /* the first try of each read */
    EIO_NTH,     /* every try of the n-th read */
    EIO_ALWAYS,
    INTERRUPTED, /* two of three tries */
    SHORT,       /* some bytes less, three of four times */
    ANY,         /* one of those that end well, by chance */
};

static _Atomic(enum mishap) mishap;
static _Atomic uint64_t draw;        /* for the wrappers, which run on several threads */
static _Atomic int64_t until_fault;  /* reads that go well before the n-th */
static _Atomic(void *) broken;       /* the n-th */
static atomic_bool was_hit;

/* Reads that have landed, but the cache does not know yet. One reader at a time. */
static bool holds_back;
static struct sl_read_done held[N_HELD_MAX];
static uint32_t n_held;
static struct sluice_session *victim; /* to be cancelled */
static int64_t until_cancel;          /* at so many looks at the reader from now */

bool __real_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment);
bool __wrap_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment);
uint32_t __real_sl_reader_reap(struct sl_reader *reader, bool wait, struct sl_read_done *ret_done,
                               uint32_t cap);
uint32_t __wrap_sl_reader_reap(struct sl_reader *reader, bool wait, struct sl_read_done *ret_done,
                               uint32_t cap);
uint32_t __real_sl_reader_n_flying(const struct sl_reader *reader);
uint32_t __wrap_sl_reader_n_flying(const struct sl_reader *reader);
uint32_t __real_sl_reader_room(const struct sl_reader *reader);
uint32_t __wrap_sl_reader_room(const struct sl_reader *reader);

static uint64_t chance(void)
{
    uint64_t state = atomic_fetch_add(&draw, 0x9E3779B97F4A7C15u);

    return common_random(&state);
}

static int64_t spoil(enum mishap kind, struct sl_readop *op, int64_t res)
{
    bool is_first = op->n_retries == 0 && op->n_errors == 0;

    switch (kind) {
    case EIO_ONCE:
        return is_first ? -EIO : res;
    case EIO_NTH:
        if (is_first && atomic_fetch_sub(&until_fault, 1) == 1)
            atomic_store(&broken, op);
        return atomic_load(&broken) == op ? -EIO : res;
    case EIO_ALWAYS:
        return -EIO;
    case INTERRUPTED:
        return chance() % 3 ? -EINTR : res;
    case SHORT:
        return res > 4096 && chance() % 4 ? 4096 + (int64_t)(chance() % (uint64_t)(res - 4096))
                                          : res;
    case ANY:
        return spoil((enum mishap[]){ NONE, EIO_ONCE, INTERRUPTED, SHORT }[chance() % 4], op, res);
    case NONE:
        break;
    }
    return res;
}

bool __wrap_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment)
{
    int64_t spoilt = spoil(atomic_load(&mishap), op, res);
    bool has_ended = __real_sl_readop_advance(op, file, spoilt, alignment);

    if (spoilt != res)
        atomic_store(&was_hit, true);
    if (has_ended && atomic_load(&broken) == op)
        atomic_store(&broken, NULL);
    return has_ended;
}

uint32_t __wrap_sl_reader_n_flying(const struct sl_reader *reader)
{
    return __real_sl_reader_n_flying(reader) + n_held;
}

uint32_t __wrap_sl_reader_room(const struct sl_reader *reader)
{
    uint32_t room = __real_sl_reader_room(reader);

    return room > n_held ? room - n_held : 0;
}

uint32_t __wrap_sl_reader_reap(struct sl_reader *reader, bool wait, struct sl_read_done *ret_done,
                               uint32_t cap)
{
    uint32_t n = 0, n_least;

    if (victim && until_cancel-- == 0)
        sluice_session_cancel(victim);
    if (!holds_back && n_held == 0)
        return __real_sl_reader_reap(reader, wait, ret_done, cap);
    n_held += __real_sl_reader_reap(reader, wait && n_held == 0, held + n_held,
                                    N_HELD_MAX - n_held);
    n_least = wait && n_held > 0 ? 1 : 0;
    while (n_held > 0 && n < cap && (n < n_least || !holds_back || chance() % 2)) {
        uint32_t i = (uint32_t)(chance() % n_held);

        ret_done[n++] = held[i];
        held[i] = held[--n_held];
    }
    return n;
}

struct subject {
    char path[4096];
    int32_t tokens[N_TOK];
    uint32_t n_vocab;
    float *want, *got; /* [N_TOK][n_vocab] */
};

struct stream {
    struct sluice_model *model;
    struct sluice_session *session;
    int seq;
};

struct variant {
    enum sluice_io io;
    enum sluice_predict predict;
    uint32_t n_chunk;
};

static void set_mishap(enum mishap kind, int64_t nth)
{
    atomic_store(&was_hit, false);
    atomic_store(&until_fault, nth);
    atomic_store(&mishap, kind);
}

static int try_open(struct stream *st, const char *path, const struct variant *v,
                    struct sluice_error *error)
{
    const struct sluice_session_opts session = { .n_ctx = 256, .n_seq_max = 2,
                                                 .n_chunk = v->n_chunk, .n_logits = v->n_chunk,
                                                 .n_beside = 1 };
    const struct sluice_model_opts opts = {
        .n_threads = 2, .cpu = common_cpu(), .ram_bytes = SLUICE_RAM_MIN,
        .residency = SLUICE_RESIDENCY_STREAM, .io = v->io, .predict = v->predict,
        .session = &session,
    };
    int r;

    *st = (struct stream){ 0 };
    r = sluice_model_open(&st->model, path, &opts, error);
    if (r < 0)
        return r;
    r = sluice_session_new(&st->session, st->model, &session, error);
    if (r < 0) {
        sluice_model_close(st->model);
        *st = (struct stream){ 0 };
        return r;
    }
    st->seq = sluice_seq_new(st->session);
    return 0;
}

static bool open_stream(struct stream *st, const char *path, const struct variant *v)
{
    struct sluice_error error = { "" };
    int r = try_open(st, path, v, &error);

    if (r == -ENOTSUP && v->io == SLUICE_IO_URING)
        return false;
    CHECK(r == 0, "%s: %s", path, error.text);
    return true;
}

static void close_stream(struct stream *st)
{
    sluice_session_free(st->session);
    sluice_model_close(st->model);
}

/* In pieces, every other time. */
static int decode(struct subject *su, struct stream *st, uint32_t first, uint32_t n)
{
    struct sluice_batch batch = { .seq = st->seq, .n_tokens = n, .tokens = su->tokens + first,
                                  .n_logits = n };
    const float *logits;
    int r;

    if (first / n % 2) {
        r = sluice_prefill_begin(st->session, &batch, 1);
        for (int more = r == 0; more == 1;)
            r = more = sluice_prefill_advance(st->session, 0, &logits);
    } else {
        r = sluice_decode(st->session, &batch, 1, &logits);
    }
    if (r == 0)
        memcpy(su->got + (size_t)first * su->n_vocab, logits, sizeof(float) * n * su->n_vocab);
    return r;
}

static void compare(const struct subject *su, const struct variant *v, uint32_t n,
                    const char *what)
{
    for (uint32_t i = 0; i < n; i++)
        CHECK(memcmp(su->got + (size_t)i * su->n_vocab, su->want + (size_t)i * su->n_vocab,
                     sizeof(float) * su->n_vocab) == 0,
              "io %d, predict %d, chunk %u, %s: logits at position %u differ", (int)v->io,
              (int)v->predict, v->n_chunk, what, i);
}

static void rewind_all(struct subject *su, struct stream *st)
{
    CHECK(sluice_seq_rewind(st->session, st->seq, 0) == 0, "rewind");
    memset(su->got, 0xFF, sizeof(float) * N_TOK * su->n_vocab);
}

/* Reads that are tried again, land late or in another order. */
static void check_what_ends_well(struct subject *su, struct stream *st, const struct variant *v)
{
    static const enum mishap kinds[] = { NONE, EIO_ONCE, INTERRUPTED, SHORT, ANY };

    for (uint32_t i = 0; i < 2 * sizeof(kinds) / sizeof(kinds[0]); i++) {
        holds_back = i % 2;
        rewind_all(su, st);
        set_mishap(kinds[i / 2], 0);
        for (uint32_t t = 0; t < N_TOK; t += v->n_chunk)
            CHECK(decode(su, st, t, v->n_chunk) == 0, "mishap %d: %s", (int)kinds[i / 2],
                  sluice_session_error(st->session));
        CHECK(i < 2 || atomic_load(&was_hit), "no read met mishap %d", (int)kinds[i / 2]);
        set_mishap(NONE, 0);
        compare(su, v, N_TOK, "late or repeated reads");
    }
    holds_back = false;
}

static void check_dead_disk(struct subject *su, struct stream *st, const struct variant *v)
{
    rewind_all(su, st);
    for (uint32_t t = 0; t < N_TOK; t += v->n_chunk) {
        set_mishap(EIO_ALWAYS, 0);
        for (int again = 0; again < 2; again++) {
            CHECK(decode(su, st, t, v->n_chunk) == -EIO, "a step without a disk succeeded");
            CHECK(strlen(sluice_session_error(st->session)) > 10, "no text");
            CHECK(sluice_seq_tokens(st->session, st->seq, NULL) == t,
                  "tokens of a failed step were kept");
        }
        set_mishap(NONE, 0);
        CHECK(decode(su, st, t, v->n_chunk) == 0, "after the fault: %s",
              sluice_session_error(st->session));
    }
    compare(su, v, N_TOK, "after a dead disk");
}

static void check_nth_read(struct subject *su, struct stream *st, const struct variant *v,
                           uint64_t *rng)
{
    uint32_t n_failed = 0;
    bool is_last = false;

    for (int64_t n = 1; !is_last; n += 1 + (int64_t)(common_random(rng) % (uint64_t)(n + 2))) {
        rewind_all(su, st);
        set_mishap(EIO_NTH, n);
        for (uint32_t t = 0; t < N_TOK; t += v->n_chunk) {
            int r = decode(su, st, t, v->n_chunk);

            if (r == -EIO) { /* a guess may be lost without a word */
                n_failed++;
                r = decode(su, st, t, v->n_chunk);
            }
            CHECK(r == 0, "read %lld broken: %s", (long long)n,
                  sluice_session_error(st->session));
        }
        is_last = atomic_load(&until_fault) > 0; /* all reads went well */
        set_mishap(NONE, 0);
        compare(su, v, N_TOK, "after a broken read");
    }
    CHECK(n_failed > 0, "no broken read was ever noticed");
}

/* The n-th look at the reader cancels; what was kept is whole steps. */
static void check_cancel(struct subject *su, struct stream *st, const struct variant *v,
                         uint64_t *rng)
{
    uint32_t n_cancelled = 0;

    for (int64_t n = 0; n < 400; n += 1 + (int64_t)(common_random(rng) % 40)) {
        const float *logits = NULL;
        int r = -ECANCELED;

        rewind_all(su, st);
        holds_back = common_random(rng) % 2;
        victim = st->session;
        until_cancel = n;
        for (uint32_t turn = 0; r == -ECANCELED; turn++) {
            uint32_t t = (uint32_t)sluice_seq_tokens(st->session, st->seq, NULL);
            struct sluice_batch batch = { .seq = st->seq, .n_tokens = N_TOK - t,
                                          .tokens = su->tokens + t, .n_logits = 1 };

            CHECK(turn < 3 && t % v->n_chunk == 0 && t < N_TOK, "%u tokens were kept", t);
            if (turn > 0)
                victim = NULL;
            r = sluice_decode(st->session, &batch, 1, &logits);
            n_cancelled += r == -ECANCELED;
            if (r == -ECANCELED && sluice_seq_tokens(st->session, st->seq, NULL) == N_TOK)
                break; /* in its last step, which was kept */
        }
        victim = NULL;
        CHECK(r == 0 || r == -ECANCELED, "cancel at %lld: %s", (long long)n,
              sluice_session_error(st->session));
        if (r == 0)
            CHECK(memcmp(logits, su->want + (size_t)(N_TOK - 1) * su->n_vocab,
                         sizeof(float) * su->n_vocab) == 0,
                  "cancelled at %lld: other logits", (long long)n);
    }
    holds_back = false;
    CHECK(n_cancelled > 3, "%u runs were cancelled", n_cancelled);
}

static void copy_file(const char *from, const char *to)
{
    static char buf[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t n;

    CHECK(in && out, "copy %s", from);
    while ((n = fread(buf, 1, sizeof(buf), in)) > 0)
        CHECK(fwrite(buf, 1, n, out) == n, "write");
    CHECK(fclose(in) == 0 && fclose(out) == 0, "close");
}

static void check_changed_file(struct subject *su, const struct variant *v)
{
    char path[64], other[80];
    struct stream st;
    struct stat info;
    int r = 0;

    (void)snprintf(path, sizeof(path), "streaming-fault-%d.gguf", (int)getpid());
    (void)snprintf(other, sizeof(other), "%s.other", path);
    copy_file(su->path, path);
    if (!open_stream(&st, path, v))
        goto done;
    CHECK(decode(su, &st, 0, v->n_chunk) == 0, "decode");
    copy_file(SOURCE_ROOT "/meson.build", other);
    CHECK(rename(other, path) == 0, "rename");
    for (uint32_t t = v->n_chunk; t < N_TOK; t += v->n_chunk)
        CHECK(decode(su, &st, t, v->n_chunk) == 0, "a file replaced under its name: %s",
              sluice_session_error(st.session));
    compare(su, v, N_TOK, "after the file was replaced");
    close_stream(&st);

    copy_file(su->path, path);
    CHECK(stat(path, &info) == 0 && open_stream(&st, path, v), "open again");
    CHECK(decode(su, &st, 0, v->n_chunk) == 0, "decode");
    CHECK(truncate(path, info.st_size / 8) == 0, "truncate");
    for (uint32_t t = v->n_chunk; t < N_TOK && r == 0; t += v->n_chunk)
        r = decode(su, &st, t, v->n_chunk);
    CHECK(r == -EIO, "a file cut to an eighth: %d", r);
    CHECK(decode(su, &st, 0, v->n_chunk) == -EIO, "it healed");
    CHECK(strlen(sluice_session_error(st.session)) > 10, "no text");
    close_stream(&st);
done:
    CHECK(unlink(path) == 0, "unlink");
}

/* The n-th call that can fail does, from opening to the first logits; for every n where
 * stride_max is 1, else for one in so many at most. */
static void check_opening(struct subject *su, const struct variant *v, uint32_t stride_max,
                          uint64_t *rng)
{
    uint32_t n_survived = 0;

    for (uint64_t n = 1 + common_random(rng) % stride_max; n < 100000;
         n += 1 + common_random(rng) % stride_max) {
        struct sluice_error error = { "" };
        struct stream st;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = try_open(&st, su->path, v, &error);
        if (r == 0) {
            r = decode(su, &st, 0, v->n_chunk);
            close_stream(&st);
        }
        faults_disarm();
        if (r == -ENOTSUP && v->io == SLUICE_IO_URING) /* also where a fault has refused it */
            continue;
        if (!faults_hit()) {
            CHECK(r == 0, "failed without a fault: %s", error.text);
            CHECK(n_survived > 0, "no fault was injected");
            printf("io %d: %u faults survived\n", (int)v->io, n_survived);
            return;
        }
        CHECK(r == 0 || r == -ENOMEM || r == -EMFILE || r == -EIO || r == -EAGAIN,
              "fault %llu: unexpected error %d: %s", (unsigned long long)n, r, error.text);
        if (r == 0)
            compare(su, v, v->n_chunk, "with a failed call");
        n_survived++;
    }
    CHECK(false, "no end");
}

static void compute_want(struct subject *su, uint64_t *rng)
{
    const struct sluice_session_opts opts = { .n_ctx = 256, .n_chunk = N_TOK, .n_logits = N_TOK };
    struct sluice_model_info info;
    struct sluice_session *session;
    struct sluice_model *model;

    model = common_open("models/random-moe-f32.gguf", 2, common_cpu());
    sluice_model_get_info(model, &info);
    session = common_session(model, &opts);
    su->n_vocab = info.n_vocab;
    su->want = malloc(sizeof(float) * N_TOK * info.n_vocab);
    su->got = malloc(sizeof(float) * N_TOK * info.n_vocab);
    CHECK(su->want && su->got, "memory");
    for (uint32_t i = 0; i < N_TOK; i++)
        su->tokens[i] = (int32_t)(common_random(rng) % info.n_vocab);
    common_feed(session, sluice_seq_new(session), su->tokens, N_TOK, N_TOK, info.n_vocab,
                su->want);
    sluice_session_free(session);
    sluice_model_close(model);
}

int main(void)
{
    static const enum sluice_io ios[] = { SLUICE_IO_URING, SLUICE_IO_PREAD, SLUICE_IO_BUFFERED };
    struct subject su = { "" };
    /* what readers share fails with the first one, for every n; they differ in a few calls */
    uint32_t stride_max = 1, next_stride_max = getenv("SL_QUICK") ? 8 : 3;
    uint64_t rng = common_seed();

    (void)snprintf(su.path, sizeof(su.path), "%s", common_data("models/random-moe-f32.gguf"));
    atomic_store(&draw, common_random(&rng));
    compute_want(&su, &rng);
    for (uint32_t i = 0; i < 6; i++) {
        struct variant v = { .io = ios[i / 2], .predict = (enum sluice_predict)(i % 2),
                             .n_chunk = (uint32_t[]){ 1, 4, 8 }[common_random(&rng) % 3] };
        struct stream st;

        if (!open_stream(&st, su.path, &v)) {
            printf("no io_uring here\n");
            continue;
        }
        check_what_ends_well(&su, &st, &v);
        check_dead_disk(&su, &st, &v);
        check_nth_read(&su, &st, &v, &rng);
        check_cancel(&su, &st, &v, &rng);
        close_stream(&st);
        check_changed_file(&su, &v);
        if (v.predict == SLUICE_PREDICT_ON) {
            check_opening(&su, &v, stride_max, &rng);
            stride_max = next_stride_max;
        }
        printf("ok io %d, predict %d, chunk %u\n", (int)v.io, (int)v.predict, v.n_chunk);
        fflush(stdout);
    }
    free(su.want);
    free(su.got);
    return 0;
}
