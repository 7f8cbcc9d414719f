/*
 * A file that shrinks while the model is open: the step ends with -EIO naming a tensor
 * and an offset, and so does every later call; the process lives. Streaming, a file that
 * is written to in place ends in -EIO too; one that is replaced under its name is read on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
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

static char path[64];

/* A copy that was last written to an hour ago, so that any write changes its time. */
static void make_file(void)
{
    struct timespec times[2];

    copy_file(common_data("models/tiny-q8_0.gguf"), path);
    CHECK(clock_gettime(CLOCK_REALTIME, &times[0]) == 0, "clock");
    times[0].tv_sec -= 3600;
    times[1] = times[0];
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0, "utimensat");
}

static void check_resident(void)
{
    const struct sluice_session_opts session_opts = { .n_ctx = 256 };
    struct sluice_model_opts opts = { .n_threads = 2, .cpu = common_cpu() };
    struct sluice_session *session;
    struct sluice_model *model;
    struct sluice_error error;
    struct sluice_batch batch = { .n_tokens = 3, .tokens = (const int32_t[]){ 1, 300, 400 },
                                  .n_logits = 1 };
    const float *logits;
    struct stat st;

    make_file();
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
}

enum change { NOTHING, CUT, WRITTEN, LENGTHENED, REPLACED, REMOVED, N_CHANGES };

static void change_file(enum change change)
{
    char other[80];
    struct stat st;
    int fd = open(path, O_RDWR);
    uint8_t byte;

    CHECK(fd >= 0 && fstat(fd, &st) == 0, "open");
    (void)snprintf(other, sizeof(other), "%s.other", path);
    if (change == CUT)
        CHECK(ftruncate(fd, st.st_size / 2) == 0, "truncate");
    if (change == WRITTEN)
        CHECK(pread(fd, &byte, 1, st.st_size / 2) == 1 && (byte ^= 0x55, true) &&
                  pwrite(fd, &byte, 1, st.st_size / 2) == 1, "write");
    if (change == LENGTHENED)
        CHECK(ftruncate(fd, st.st_size + 1) == 0, "lengthen");
    if (change == REPLACED) {
        copy_file(SOURCE_ROOT "/meson.build", other);
        CHECK(rename(other, path) == 0, "rename");
    }
    if (change == REMOVED)
        CHECK(unlink(path) == 0, "unlink");
    CHECK(close(fd) == 0, "close");
}

static void check_streaming(enum change change, enum sluice_io io)
{
    static const int wants[N_CHANGES] = { 0, -EIO, -EIO, -EIO, 0, 0 };
    const struct sluice_session_opts session_opts = { .n_ctx = 256 };
    struct sluice_model_opts opts = { .n_threads = 2, .cpu = common_cpu(), .io = io,
                                      .residency = SLUICE_RESIDENCY_STREAM,
                                      .ram_bytes = SLUICE_RAM_MIN, .session = &session_opts };
    struct sluice_session *session;
    struct sluice_model *model;
    struct sluice_error error;
    struct sluice_batch batch = { .n_tokens = 3, .tokens = (const int32_t[]){ 1, 300, 400 },
                                  .n_logits = 1 };
    const float *logits;

    make_file();
    CHECK(sluice_model_open(&model, path, &opts, &error) == 0, "%s", error.text);
    session = common_session(model, &session_opts);
    batch.seq = sluice_seq_new(session);
    CHECK(sluice_decode(session, &batch, 1, &logits) == 0, "decode before");
    change_file(change);
    for (int i = 0; i < 2; i++) {
        int r = sluice_decode(session, &batch, 1, &logits);

        CHECK(r == wants[change], "change %d: expected %d, found %d: %s", (int)change,
              wants[change], r, r ? sluice_session_error(session) : "");
        CHECK(r == 0 || strstr(sluice_session_error(session), path), "no path in: %s",
              sluice_session_error(session));
        CHECK(change != WRITTEN || strstr(sluice_session_error(session), "open the model again"),
              "no way out in: %s", sluice_session_error(session));
    }
    CHECK(sluice_seq_tokens(session, batch.seq, NULL) == (wants[change] ? 3 : 9),
          "tokens of a failed step were kept");
    if (wants[change])
        printf("ok: %s\n", sluice_session_error(session));
    sluice_session_free(session);
    sluice_model_close(model);
    CHECK(change == REMOVED || unlink(path) == 0, "unlink");
}

int main(void)
{
    (void)snprintf(path, sizeof(path), "truncated-%d.gguf", (int)getpid());
    check_resident();
    for (int i = 0; i < N_CHANGES; i++) {
        check_streaming((enum change)i, SLUICE_IO_AUTO);
        check_streaming((enum change)i, SLUICE_IO_BUFFERED);
    }
    return 0;
}
