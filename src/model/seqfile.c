/*
 * Sequences on disk. A file is
 *
 *     "sluice-sequence\n"
 *     a stream of zstd blocks (loader/zstream.h):
 *         struct head
 *         tokens                 int32 [n_tok]
 *         KV blocks              [ceil(n_tok / 256)][block_bytes], as they lie in memory
 *         convolution inputs     float [n_conv_layers][n_ring][width], of the last positions
 *
 * so that a sequence comes back bit for bit, and can be gone back in as far as before. What a
 * file holds is only of use to the model that computed it: the head has a fingerprint of its
 * shape and of samples of the matrices that all tokens share (a model that was trained further
 * differs there; reading all of it would take seconds). Every block of the stream has a
 * checksum; lengths and tokens are checked before they are used, and a file that is too short
 * or too long is refused. Numbers in KV blocks can be any: computing with them is safe.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/outfile.h"
#include "loader/check.h"
#include "loader/zstream.h"
#include "model/session.h"

#define MAGIC "sluice-sequence\n"
#define MAGIC_BYTES (sizeof(MAGIC) - 1)
#define VERSION 1u
#define SAMPLE_BYTES 4096u /* of each matrix, in the fingerprint */

struct head {
    uint32_t version;
    uint32_t kv_type;
    uint64_t model; /* fingerprint */
    uint64_t block_bytes;
    uint32_t block_tok;
    uint32_t n_tok;
    uint32_t n_ring; /* positions before n_tok whose convolution inputs follow */
    uint32_t zero;
};
_Static_assert(sizeof(struct head) == 40, "no padding");

static uint64_t add_hash(uint64_t hash, const void *data, size_t bytes)
{
    uint64_t both[2] = {hash, sl_check_hash(data, bytes)};

    return sl_check_hash(both, sizeof(both));
}

/* -ENOMEM, or what reading the matrices met. */
static int fingerprint(struct sluice_session *s, uint64_t *ret_hash)
{
    struct sluice_model *m = s->model;
    const struct sl_hparams *hp = &m->hp;
    const uint32_t shape[] = {hp->n_layers, hp->width, hp->n_heads, hp->head_dim, hp->n_taps,
                              hp->n_dense, hp->n_experts, hp->n_experts_used,
                              m->weights.n_vocab};
    const double numbers[] = {hp->norm_eps, hp->rope_theta};
    struct sl_tensor **views = calloc(2 + (size_t)SL_SHARED_PER_LAYER * hp->n_layers,
                                      sizeof(struct sl_tensor *));
    uint64_t hash = add_hash(0, shape, sizeof(shape));
    uint32_t n;

    if (!views)
        return sl_diag_set(&s->error, -ENOMEM, "not enough memory");
    hash = add_hash(hash, numbers, sizeof(numbers));
    hash = add_hash(hash, hp->n_heads_kv, sizeof(*hp->n_heads_kv) * hp->n_layers);
    n = sl_weights_list_shared(&m->weights, hp, views);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes = sl_tensor_mat_bytes(views[i]);
        const uint32_t kind[] = {views[i]->dtype, views[i]->n_cols, views[i]->n_rows};

        hash = add_hash(hash, kind, sizeof(kind));
        hash = add_hash(hash, views[i]->data, bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES);
    }
    free(views);
    *ret_hash = hash;
    return sl_engine_check_mappings(m, &s->error);
}

static uint32_t n_blocks_of(uint32_t n_tok)
{
    return (n_tok + SL_KV_BLOCK_TOK - 1) / SL_KV_BLOCK_TOK;
}

/* The head that a file of n_tok tokens has, but for n_ring. */
static int make_head(struct sluice_session *s, uint32_t n_tok, struct head *ret_head)
{
    *ret_head = (struct head){
        .version = VERSION,
        .kv_type = s->opts.kv,
        .block_bytes = s->timeline.block_bytes,
        .block_tok = SL_KV_BLOCK_TOK,
        .n_tok = n_tok,
    };
    return fingerprint(s, &ret_head->model);
}

static void write_ring(const struct sluice_session *s, uint32_t seq, uint32_t n_ring,
                       struct sl_zstream_writer *w)
{
    const struct sl_hparams *hp = &s->model->hp;
    uint32_t n_tok = s->timeline.seqs[seq].n_tok;

    for (uint32_t layer = 0; layer < hp->n_layers; layer++)
        for (uint32_t pos = n_tok - n_ring; pos < n_tok && !hp->n_heads_kv[layer]; pos++)
            sl_zstream_write(w, sl_timeline_ring(&s->timeline, seq, layer, pos),
                             sizeof(float) * hp->width);
}

static int write_all(struct sluice_session *s, uint32_t seq, struct sl_outfile *out)
{
    const struct sl_seq *from = &s->timeline.seqs[seq];
    struct sl_zstream_writer *w;
    struct head head;
    int r = make_head(s, from->n_tok, &head);

    if (r < 0)
        return r;
    head.n_ring = from->ring_lo > 0 ? from->n_tok - (uint32_t)from->ring_lo : from->n_tok;
    r = sl_zstream_writer_new(&w, out->fd);
    if (r < 0)
        return sl_diag_set(&s->error, r, "not enough memory");
    (void)fwrite(MAGIC, 1, MAGIC_BYTES, out->file); /* a failure shows in the commit */
    if (fflush(out->file) == 0) {
        sl_zstream_write(w, &head, sizeof(head));
        sl_zstream_write(w, from->tokens, sizeof(*from->tokens) * from->n_tok);
        for (uint32_t i = 0; i < n_blocks_of(from->n_tok); i++)
            sl_zstream_write(w, sl_timeline_block(&s->timeline, seq, i), head.block_bytes);
        write_ring(s, seq, head.n_ring, w);
        r = sl_zstream_flush(w);
    }
    sl_zstream_writer_free(w);
    return r < 0 ? sl_diag_set(&s->error, r, "cannot write %s: %s", out->path, sl_err_text(r)) : 0;
}

int sluice_seq_save(struct sluice_session *s, int seq, const char *path, uint64_t *ret_bytes)
{
    struct sl_outfile out;
    struct stat st = {0};
    int r = sl_session_check_seq(s, seq);

    if (r < 0)
        return r;
    r = sl_outfile_open(&out, path, &s->error);
    if (r < 0)
        return r;
    (void)fchmod(out.fd, 0600); /* it is what people said; where modes are unknown, so be it */
    r = write_all(s, (uint32_t)seq, &out);
    if (r == 0)
        (void)fstat(out.fd, &st); /* of an open file */
    if (r == 0)
        r = sl_outfile_commit(&out, &s->error);
    sl_outfile_done(&out);
    if (r == 0 && ret_bytes)
        *ret_bytes = (uint64_t)st.st_size;
    return r;
}

/* What is being read. */
struct reading {
    struct sluice_session *s;
    const char *path;
    struct sl_zstream_reader *zstream;
    struct head head;
};

static int fail(const struct reading *in, int code, const char *what)
{
    return sl_diag_set(&in->s->error, code, "%s: %s", in->path, what);
}

static int read_part(const struct reading *in, void *ret_data, size_t bytes)
{
    int r = sl_zstream_read(in->zstream, ret_data, bytes);

    if (r == -EIO)
        return fail(in, r, sl_err_text(r));
    return r < 0 ? fail(in, -EBADMSG, "the file is damaged, or ends early") : 0;
}

static int check_head(const struct reading *in)
{
    const struct head *head = &in->head;
    uint32_t n_least = in->s->model->hp.n_taps - 1;
    struct head want;
    int r;

    if (head->version != VERSION)
        return sl_diag_set(&in->s->error, -ENOTSUP, "%s: version %" PRIu32 " of the format, known "
                           "is %u", in->path, head->version, VERSION);
    r = make_head(in->s, head->n_tok, &want);
    if (r < 0)
        return r;
    if (head->model != want.model)
        return fail(in, -EINVAL, "the sequence is another model's");
    if (head->kv_type != want.kv_type)
        return fail(in, -EINVAL, "the sequence has another type of KV cache; use the same --kv");
    if (head->n_tok > in->s->opts.n_ctx)
        return sl_diag_set(&in->s->error, -ERANGE, "%s: %" PRIu32 " tokens, the context has room "
                           "for %" PRIu32, in->path, head->n_tok, in->s->opts.n_ctx);
    n_least = head->n_tok < n_least ? head->n_tok : n_least;
    if (head->block_bytes != want.block_bytes || head->block_tok != want.block_tok ||
        head->n_ring > head->n_tok || head->n_ring > in->s->timeline.ring_len ||
        head->n_ring < n_least || head->zero)
        return fail(in, -EBADMSG, "lengths that cannot be; the file is damaged");
    if (n_blocks_of(head->n_tok) > in->s->timeline.n_free)
        return sl_diag_set(&in->s->error, -ENOMEM, "the context is full: %" PRIu32 " blocks of %d "
                           "positions needed, %" PRIu32 " are free", n_blocks_of(head->n_tok),
                           SL_KV_BLOCK_TOK, in->s->timeline.n_free);
    return 0;
}

static int read_ring(const struct reading *in, uint32_t seq)
{
    const struct sl_hparams *hp = &in->s->model->hp;
    uint32_t n_tok = in->head.n_tok;
    int r = 0;

    for (uint32_t layer = 0; layer < hp->n_layers; layer++)
        for (uint32_t pos = n_tok - in->head.n_ring;
             pos < n_tok && !hp->n_heads_kv[layer] && r == 0; pos++)
            r = read_part(in, sl_timeline_ring(&in->s->timeline, seq, layer, pos),
                          sizeof(float) * hp->width);
    return r;
}

static int check_end(const struct reading *in)
{
    char more;
    int r = sl_zstream_read(in->zstream, &more, 1);

    if (r == -ENODATA)
        return 0;
    return r == -EIO ? fail(in, r, sl_err_text(r))
                     : fail(in, -EBADMSG, "something follows the sequence; the file is damaged");
}

/* Into a new sequence. */
static int read_seq(const struct reading *in, uint32_t seq)
{
    struct sl_timeline *tl = &in->s->timeline;
    struct sl_seq *to = &tl->seqs[seq];
    uint32_t n_tok = in->head.n_tok;
    int r = read_part(in, to->tokens, sizeof(*to->tokens) * n_tok);

    for (uint32_t i = 0; i < n_tok && r == 0; i++)
        if (to->tokens[i] < 0 || (uint32_t)to->tokens[i] >= in->s->model->weights.n_vocab)
            r = fail(in, -EBADMSG, "a token outside the vocabulary; the file is damaged");
    if (r < 0)
        return r;
    sl_timeline_extend(tl, seq, n_tok);
    sl_timeline_commit(tl, seq, to->tokens, n_tok);
    if (in->head.n_ring < n_tok && in->head.n_ring < tl->ring_len)
        to->ring_lo = n_tok - in->head.n_ring;
    for (uint32_t i = 0; i < n_blocks_of(n_tok) && r == 0; i++)
        r = read_part(in, sl_timeline_block(tl, seq, i), tl->block_bytes);
    if (r == 0)
        r = read_ring(in, seq);
    return r < 0 ? r : check_end(in);
}

/* fd is a file of ours, just behind the magic. Returns the new sequence. */
static int read_all(struct reading *in, int fd)
{
    int r = sl_zstream_reader_new(&in->zstream, fd);
    int seq;

    if (r < 0)
        return fail(in, r, "not enough memory");
    r = read_part(in, &in->head, sizeof(in->head));
    if (r == 0)
        r = check_head(in);
    seq = r == 0 ? sluice_seq_new(in->s) : r;
    if (seq >= 0)
        r = read_seq(in, (uint32_t)seq);
    if (seq >= 0 && r < 0)
        sl_timeline_free_seq(&in->s->timeline, (uint32_t)seq);
    sl_zstream_reader_free(in->zstream);
    return r < 0 ? r : seq;
}

/* Returns the descriptor, at the end of the magic. */
static int open_file(struct sluice_session *s, const char *path, uint64_t *ret_bytes)
{
    char magic[MAGIC_BYTES];
    struct stat st = {0};
    ssize_t n = 0;
    int r = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* waits for nobody at a pipe */

    if (fd < 0) {
        r = -errno;
        return sl_diag_set(&s->error, r, "%s: %s", path, sl_err_text(r));
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        n = read(fd, magic, sizeof(magic));
        r = n < 0 ? -errno : 0;
    }
    if (n == (ssize_t)sizeof(magic) && memcmp(magic, MAGIC, sizeof(magic)) == 0) {
        *ret_bytes = (uint64_t)st.st_size;
        return fd;
    }
    (void)close(fd); /* only read */
    if (r < 0)
        return sl_diag_set(&s->error, r, "%s: %s", path, sl_err_text(r));
    return sl_diag_set(&s->error, -EBADMSG, "%s: this is no saved sequence", path);
}

int sluice_seq_load(struct sluice_session *s, const char *path, uint64_t *ret_bytes)
{
    struct reading in = {.s = s, .path = path};
    uint64_t bytes = 0;
    int fd = open_file(s, path, &bytes), seq;

    if (fd < 0)
        return fd;
    seq = read_all(&in, fd);
    (void)close(fd); /* only read */
    if (seq >= 0 && ret_bytes)
        *ret_bytes = bytes;
    return seq;
}
