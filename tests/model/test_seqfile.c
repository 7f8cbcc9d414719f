/*
 * A sequence that was saved comes back bit for bit, in any session of its model, and can be
 * gone back in; files that are damaged, foreign or made up are refused in words, and leave
 * the session as it was. SL_QUICK: fewer of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "loader/zstream.h"

#define N_TOK 600u
#define N_MORE 3u /* tokens computed behind what was loaded */
#define MAGIC_BYTES 16u

/* Of the head, behind the magic, in 32-bit words. */
enum { VERSION, KV, MODEL, BLOCK_BYTES = 4, BLOCK_TOK = 6, N_IN_FILE, N_RING, ZERO, TOKENS };

struct bytes {
    uint8_t *ptr;
    size_t len;
};

static char path[64], other[64];
static const struct sluice_session_opts opts = {
    .n_ctx = 1024, .n_seq_max = 3, .n_logits = N_MORE };

static struct bytes read_file(const char *name)
{
    FILE *file = fopen(name, "rb");
    struct bytes b = { malloc(1 << 24), 0 };

    CHECK(file && b.ptr, "%s", name);
    b.len = fread(b.ptr, 1, 1 << 24, file);
    CHECK(b.len > 0 && b.len < 1 << 24, "%s: %zu bytes", name, b.len);
    fclose(file);
    return b;
}

static void write_file(const char *name, const void *data, size_t len)
{
    FILE *file = fopen(name, "wb");

    CHECK(file && fwrite(data, 1, len, file) == len && fclose(file) == 0, "%s", name);
}

static struct sluice_model *open_model(const char *name, bool is_streaming)
{
    struct sluice_model_opts model_opts = { .n_threads = 2, .cpu = common_cpu(),
                                            .session = &opts };
    struct sluice_error error;
    struct sluice_model *model;

    if (is_streaming) {
        model_opts.ram_bytes = SLUICE_RAM_MIN;
        model_opts.residency = SLUICE_RESIDENCY_STREAM;
    }
    CHECK(sluice_model_open(&model, common_data(name), &model_opts, &error) == 0, "%s",
          error.text);
    return model;
}

static uint32_t n_vocab_of(struct sluice_model *model)
{
    struct sluice_model_info info;

    sluice_model_get_info(model, &info);
    return info.n_vocab;
}

/* A sequence of those tokens. */
static int make_seq(struct sluice_session *s, uint32_t n_vocab, int32_t *tokens, uint32_t n)
{
    int seq = sluice_seq_new(s);

    CHECK(seq >= 0, "%s", sluice_session_error(s));
    common_feed(s, seq, tokens, n, 200, n_vocab, NULL);
    return seq;
}

static void fill_tokens(int32_t *tokens, uint32_t n, uint32_t n_vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(common_random(&seed) % n_vocab);
}

/* Both go on with the same tokens, from position n_keep, and give the same logits. */
static void check_same(struct sluice_session *a, int seq_a, struct sluice_session *b, int seq_b,
                       uint32_t n_keep, const int32_t *tokens, uint32_t n_vocab)
{
    const struct sluice_batch batch_a = { seq_a, N_MORE, tokens, N_MORE };
    const struct sluice_batch batch_b = { seq_b, N_MORE, tokens, N_MORE };
    const float *logits_a, *logits_b;

    CHECK(sluice_seq_rewind(a, seq_a, n_keep) == 0 && sluice_seq_rewind(b, seq_b, n_keep) == 0,
          "rewinding to %u: %s, %s", n_keep, sluice_session_error(a), sluice_session_error(b));
    CHECK(sluice_decode(a, &batch_a, 1, &logits_a) == 0, "%s", sluice_session_error(a));
    CHECK(sluice_decode(b, &batch_b, 1, &logits_b) == 0, "%s", sluice_session_error(b));
    CHECK(memcmp(logits_a, logits_b, sizeof(float) * N_MORE * n_vocab) == 0,
          "logits differ after %u tokens", n_keep);
}

static int load(struct sluice_session *s, const char *name)
{
    int seq = sluice_seq_load(s, name, NULL);

    CHECK(seq >= 0, "%s", sluice_session_error(s));
    return seq;
}

static void check_round_trips(const char *name, bool is_streaming, enum sluice_kv kv,
                              uint64_t seed)
{
    static const uint32_t lengths[] = { 1, 2, 33, 255, 256, 257, 290, N_TOK };
    struct sluice_model *model = open_model(name, false);
    struct sluice_model *again = is_streaming ? open_model(name, true) : model;
    struct sluice_session_opts from_opts = opts, to_opts = { .n_ctx = 800, .n_logits = N_MORE };
    uint32_t n_vocab = n_vocab_of(model);
    struct sluice_session *from, *to;
    int32_t tokens[N_TOK];

    from_opts.kv = to_opts.kv = kv;
    from = common_session(model, &from_opts);
    to = common_session(again, &to_opts);
    fill_tokens(tokens, N_TOK, n_vocab, seed);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint32_t n = lengths[i], back = n > 280 ? n - 280 : 0;
        int seq = make_seq(from, n_vocab, tokens, n), copy;
        const int32_t *got;
        uint64_t bytes = 0, bytes_again = 0;

        if (i % 2) { /* what stands in a block behind the end does not matter */
            n -= n < 4 ? 1 : 3;
            CHECK(sluice_seq_rewind(from, seq, n) == 0, "%s", sluice_session_error(from));
        }
        CHECK(sluice_seq_save(from, seq, path, &bytes) == 0, "%s", sluice_session_error(from));
        copy = sluice_seq_load(to, path, &bytes_again);
        CHECK(copy >= 0, "%s", sluice_session_error(to));
        CHECK(bytes > MAGIC_BYTES && bytes == bytes_again, "sizes differ");
        CHECK(sluice_seq_tokens(to, copy, &got) == n && memcmp(got, tokens, n * sizeof(*got)) == 0,
              "tokens differ");
        check_same(from, seq, to, copy, n, tokens, n_vocab);
        check_same(from, seq, to, copy, n - (n > 20 ? 20 : n / 2), tokens + 7, n_vocab);
        check_same(from, seq, to, copy, back, tokens + 13, n_vocab);
        CHECK(sluice_seq_free(from, seq) == 0 && sluice_seq_free(to, copy) == 0, "freeing");
    }
    sluice_session_free(to);
    sluice_session_free(from);
    if (again != model)
        sluice_model_close(again);
    sluice_model_close(model);
}

/* The file of that name is refused with this code and word, and nothing is taken: of three
 * sequences at most one is in use. */
static void check_refused(struct sluice_session *s, const char *name, int code, const char *word)
{
    int seqs[2], r = sluice_seq_load(s, name, NULL);

    CHECK(r == code, "%d (%s) for %d", r, sluice_session_error(s), code);
    CHECK(strstr(sluice_session_error(s), word), "\"%s\" without \"%s\"",
          sluice_session_error(s), word);
    for (int i = 0; i < 2; i++) {
        seqs[i] = sluice_seq_new(s);
        CHECK(seqs[i] >= 0, "a sequence is lost");
    }
    for (int i = 0; i < 2; i++)
        sluice_seq_free(s, seqs[i]);
}

/* All that the stream of a file holds. */
static struct bytes unpack(const char *name)
{
    struct bytes b = { malloc(1 << 24), 0 };
    int fd = open(name, O_RDONLY);
    struct sl_zstream_reader *reader;

    CHECK(b.ptr && fd >= 0 && lseek(fd, MAGIC_BYTES, SEEK_SET) == MAGIC_BYTES, "%s", name);
    CHECK(sl_zstream_reader_new(&reader, fd) == 0, "memory");
    while (sl_zstream_read(reader, b.ptr + b.len, 1) == 0)
        b.len++;
    sl_zstream_reader_free(reader);
    close(fd);
    return b;
}

/* A file with that in its stream, its checksums right. */
static void pack(const char *name, const uint8_t *data, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct sl_zstream_writer *writer;

    CHECK(fd >= 0 && write(fd, "sluice-sequence\n", MAGIC_BYTES) == MAGIC_BYTES, "%s", name);
    CHECK(sl_zstream_writer_new(&writer, fd) == 0, "memory");
    sl_zstream_write(writer, data, len);
    CHECK(sl_zstream_flush(writer) == 0, "%s", name);
    sl_zstream_writer_free(writer);
    close(fd);
}

static void check_made_up(struct sluice_session *s)
{
    static const struct {
        uint32_t word, value;
        int code;
        const char *text;
    } cases[] = {
        { VERSION, 2, -ENOTSUP, "version 2" },
        { KV, SLUICE_KV_F32, -EINVAL, "KV cache" },
        { KV, 77, -EINVAL, "KV cache" },
        { MODEL, 1, -EINVAL, "another model" },
        { BLOCK_BYTES, 64, -EBADMSG, "lengths" },
        { BLOCK_BYTES + 1, 1, -EBADMSG, "lengths" },
        { BLOCK_TOK, 128, -EBADMSG, "lengths" },
        { N_IN_FILE, 1025, -ERANGE, "1025 tokens" },
        { N_IN_FILE, UINT32_MAX, -ERANGE, "the context has room for 1024" },
        { N_IN_FILE, 290, -EBADMSG, "damaged" },
        { N_IN_FILE, 3, -EBADMSG, "lengths" },
        { N_IN_FILE, 1000, -EBADMSG, "damaged" },
        { N_RING, 1, -EBADMSG, "lengths" },
        { N_RING, UINT32_MAX, -EBADMSG, "lengths" },
        { N_RING, 10, -EBADMSG, "follows" },
        { ZERO, 1, -EBADMSG, "lengths" },
        { TOKENS + 5, UINT32_MAX, -EBADMSG, "vocabulary" },
        { TOKENS + 5, 1u << 30, -EBADMSG, "vocabulary" },
    };
    struct bytes good = unpack(path);
    uint32_t *words = (uint32_t *)good.ptr, kept;
    const float *logits;
    int32_t one = 1;
    struct sluice_batch batch = { 0, 1, &one, 1 };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kept = words[cases[i].word];
        words[cases[i].word] = cases[i].value;
        pack(other, good.ptr, good.len);
        check_refused(s, other, cases[i].code, cases[i].text);
        words[cases[i].word] = kept;
    }
    pack(other, good.ptr, good.len - 1);
    check_refused(s, other, -EBADMSG, "ends early");
    pack(other, good.ptr, 20);
    check_refused(s, other, -EBADMSG, "ends early");
    good.ptr[good.len] = 0;
    pack(other, good.ptr, good.len + 1);
    check_refused(s, other, -EBADMSG, "follows");

    /* what was computed can be anything: that shows in the logits, and nowhere else */
    memset(words + TOKENS + words[N_IN_FILE], 0xFF,
           good.len - sizeof(uint32_t) * (TOKENS + words[N_IN_FILE]));
    pack(other, good.ptr, good.len);
    batch.seq = load(s, other);
    CHECK(sluice_decode(s, &batch, 1, &logits) == 0, "%s", sluice_session_error(s));
    CHECK(sluice_seq_free(s, batch.seq) == 0, "freeing");
    free(good.ptr);
}

/* A file that ends early, or in which a byte is another: it is refused, or the byte is one
 * that says nothing. */
static void check_damaged(struct sluice_session *s, int seq, const int32_t *tokens,
                          uint32_t n_vocab, uint64_t rng)
{
    struct bytes good = read_file(path);
    int share = getenv("SL_QUICK") ? 4 : 1;

    for (int i = 0; i < 60 / share; i++) {
        size_t len = i < 10 ? (size_t)i : common_random(&rng) % good.len;

        write_file(other, good.ptr, len);
        check_refused(s, other, -EBADMSG, len < MAGIC_BYTES ? "no saved sequence" : "ends early");
    }
    for (int i = 0; i < 150 / share; i++) {
        size_t at = i < 20 ? (size_t)i : common_random(&rng) % good.len;
        uint8_t bit = (uint8_t)(1u << common_random(&rng) % 8);
        int r;

        good.ptr[at] ^= bit;
        write_file(other, good.ptr, good.len);
        r = sluice_seq_load(s, other, NULL);
        CHECK(r >= 0 || r == -EBADMSG, "byte %zu: %d, %s", at, r, sluice_session_error(s));
        if (r >= 0) {
            check_same(s, seq, s, r, 300, tokens, n_vocab);
            CHECK(sluice_seq_free(s, r) == 0, "freeing");
        }
        good.ptr[at] ^= bit;
    }
    free(good.ptr);
}

static void check_places(struct sluice_session *s, int seq)
{
    char aside[80];
    struct stat st;

    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode);
    check_refused(s, "nowhere/at-all", -ENOENT, "nowhere/at-all");
    check_refused(s, ".", -EBADMSG, "no saved sequence");
    check_refused(s, "/dev/null", -EBADMSG, "no saved sequence");
    unlink(other);
    CHECK(mkfifo(other, 0600) == 0, "mkfifo");
    check_refused(s, other, -EBADMSG, "no saved sequence"); /* and nobody waits */
    unlink(other);
    CHECK(sluice_seq_save(s, seq, "nowhere/at-all", NULL) == -ENOENT, "saved nowhere");
    CHECK(strstr(sluice_session_error(s), "nowhere/at-all"), "%s", sluice_session_error(s));
    CHECK(mkdir(other, 0700) == 0, "mkdir");
    CHECK(sluice_seq_save(s, seq, other, NULL) < 0, "saved over a folder");
    CHECK(rmdir(other) == 0, "%s: something was left in it", other);
    CHECK(sluice_seq_save(s, 2, path, NULL) == -EINVAL, "no such sequence");
    (void)snprintf(aside, sizeof(aside), "%s.XXXXXX", path);
    CHECK(access(aside, F_OK) < 0, "something was left aside");
}

static void check_hostile(uint64_t seed)
{
    struct sluice_model *model = open_model("models/tiny-q4_k_m.gguf", false);
    struct sluice_model *foreign = open_model("models/tiny-q8_0.gguf", false);
    struct sluice_session_opts f32 = opts;
    struct sluice_session *s = common_session(model, &opts), *t;
    uint32_t n_vocab = n_vocab_of(model);
    int32_t tokens[303];
    int seq, more;

    fill_tokens(tokens, 303, n_vocab, seed);
    seq = make_seq(s, n_vocab, tokens, 300);
    CHECK(sluice_seq_save(s, seq, path, NULL) == 0, "%s", sluice_session_error(s));
    check_damaged(s, seq, tokens, n_vocab, seed);
    check_places(s, seq);
    CHECK(sluice_seq_free(s, seq) == 0, "freeing");
    check_made_up(s);
    check_refused(s, common_data("models/tiny-q4_k_m.gguf"), -EBADMSG, "no saved sequence");
    t = common_session(foreign, &opts);
    check_refused(t, path, -EINVAL, "another model's");
    sluice_session_free(t);
    f32.kv = SLUICE_KV_F32;
    t = common_session(model, &f32);
    check_refused(t, path, -EINVAL, "another type of KV cache");
    sluice_session_free(t);
    /* no room: 300 tokens take two blocks of four */
    seq = load(s, path);
    more = load(s, path);
    CHECK(sluice_seq_load(s, path, NULL) == -ENOMEM, "there was no room");
    CHECK(strstr(sluice_session_error(s), "2 blocks"), "%s", sluice_session_error(s));
    check_same(s, seq, s, more, 300, tokens, n_vocab);
    sluice_session_free(s);
    sluice_model_close(foreign);
    sluice_model_close(model);
}

int main(void)
{
    uint64_t seed = common_seed();

    (void)snprintf(path, sizeof(path), "seqfile-%d", (int)getpid());
    (void)snprintf(other, sizeof(other), "seqfile-other-%d", (int)getpid());
    check_round_trips("models/random-moe-f32.gguf", false, SLUICE_KV_F32, seed);
    check_round_trips("models/tiny-q4_k_m.gguf", true, SLUICE_KV_F16, seed);
    check_round_trips("models/random-dense-f32.gguf", false, SLUICE_KV_Q8_0, seed);
    check_hostile(seed);
    unlink(path);
    unlink(other);
    return 0;
}
