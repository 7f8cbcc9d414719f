/*
 * A file that shrinks while the model is open: the step ends with -EIO naming a tensor
 * and an offset, and so does every later call; the process lives.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

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

int main(void)
{
    const struct sluice_session_opts session_opts = { .n_ctx = 256 };
    struct sluice_model_opts opts = { .n_threads = 2, .cpu = common_cpu() };
    struct sluice_session *session;
    struct sluice_model *model;
    struct sluice_error error;
    struct sluice_batch batch = { .n_tokens = 3, .tokens = (const int32_t[]){ 1, 300, 400 },
                                  .n_logits = 1 };
    const char *from = common_data("models/tiny-q8_0.gguf");
    char path[64];
    const float *logits;
    struct stat st;

    (void)snprintf(path, sizeof(path), "truncated-%d.gguf", (int)getpid());
    copy_file(from, path);
    CHECK(stat(path, &st) == 0, "stat");
    CHECK(sluice_model_open(&model, path, &opts, &error) == 0, "%s", error.text);
    session = common_session(model, &session_opts);
    batch.seq = sluice_seq_new(session);
    CHECK(sluice_decode(session, &batch, 1, &logits) == 0, "decode before");

    CHECK(truncate(path, st.st_size / 2) == 0, "truncate");
    for (int i = 0; i < 2; i++) {
        int r = sluice_decode(session, &batch, 1, &logits);

        CHECK(r == -EIO, "expected -EIO, found %d", r);
        CHECK(strstr(sluice_session_error(session), "tensor blk.") &&
                  strstr(sluice_session_error(session), "offset"),
              "no tensor or offset in: %s", sluice_session_error(session));
    }
    CHECK(sluice_seq_tokens(session, batch.seq, NULL) == 3, "tokens of a failed step were kept");
    printf("ok: %s\n", sluice_session_error(session));
    sluice_session_free(session);
    sluice_model_close(model);
    CHECK(unlink(path) == 0, "unlink");
    return 0;
}
