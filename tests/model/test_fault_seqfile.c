/*
 * Saving and loading a sequence while the n-th call of a kind fails, for every n until a run
 * meets no failure: a save gives the whole file or leaves what was there, a load gives the
 * whole sequence or none; the error says what failed, and no descriptor, file or block is lost.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "tests/fault/faults.h"

#define N_TOK 300u /* two blocks */
#define N_SEQS 3
#define BYTES_MAX (1 << 22)
#define OLD "what was there before"

/* Calls that faults.h does not know, those of our own code. */
enum fault { ALLOC_AND_OPEN, FULL_DISK, BAD_DISK, BAD_READ, BAD_SYNC, N_FAULTS };
static const char *const names[] = { "allocating or opening", "writing to a full disk",
                                     "writing", "reading", "syncing" };

static enum fault fault = N_FAULTS;
static int64_t left; /* calls until the one that fails */
static bool is_hit;

static bool fails(enum fault kind)
{
    if (fault != kind || left <= 0 || --left > 0)
        return false;
    is_hit = true;
    return true;
}

ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n);
ssize_t __real_read(int fd, void *ret_data, size_t n);
ssize_t __wrap_read(int fd, void *ret_data, size_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

ssize_t __wrap_write(int fd, const void *data, size_t n)
{
    if (fails(FULL_DISK) || fails(BAD_DISK)) {
        errno = fault == FULL_DISK ? ENOSPC : EIO;
        return -1;
    }
    return __real_write(fd, data, n);
}

ssize_t __wrap_read(int fd, void *ret_data, size_t n)
{
    if (fails(BAD_READ)) {
        errno = EIO;
        return -1;
    }
    return __real_read(fd, ret_data, n);
}

int __wrap_fsync(int fd)
{
    if (fails(BAD_SYNC)) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

static void arm(enum fault kind, int n)
{
    if (kind == ALLOC_AND_OPEN)
        faults_arm(FAULTS_ALL, (uint64_t)n);
    fault = kind;
    left = n;
    is_hit = false;
}

/* Whether a call has failed since. */
static bool disarm(void)
{
    bool was_armed = fault == ALLOC_AND_OPEN;

    fault = N_FAULTS;
    faults_disarm();
    return was_armed ? faults_hit() : is_hit;
}

static bool is_code_of(enum fault kind, int code)
{
    if (kind == ALLOC_AND_OPEN)
        return code == -ENOMEM || code == -EMFILE;
    return code == (kind == FULL_DISK ? -ENOSPC : -EIO);
}

static int n_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;

    CHECK(dir, "%s", folder);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

struct bytes {
    char *ptr;
    size_t len;
};

static struct bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct bytes b = { malloc(BYTES_MAX), 0 };

    CHECK(file && b.ptr, "%s", path);
    b.len = fread(b.ptr, 1, BYTES_MAX, file);
    CHECK(b.len < BYTES_MAX, "%s is too large", path);
    fclose(file);
    return b;
}

static void check_content(const char *path, const char *want, size_t len)
{
    struct bytes got = read_file(path);

    CHECK(got.len == len && memcmp(got.ptr, want, len) == 0, "%s holds something else", path);
    free(got.ptr);
}

static void write_old(const char *path)
{
    FILE *file = fopen(path, "wb");

    CHECK(file && fputs(OLD, file) >= 0 && fclose(file) == 0, "%s", path);
}

/* All but n sequences are free. */
static void check_free(struct sluice_session *s, int n)
{
    int seqs[N_SEQS];

    for (int i = n; i < N_SEQS; i++) {
        seqs[i] = sluice_seq_new(s);
        CHECK(seqs[i] >= 0, "a sequence is lost");
    }
    CHECK(sluice_seq_new(s) < 0, "there was one too many");
    for (int i = n; i < N_SEQS; i++)
        sluice_seq_free(s, seqs[i]);
}

/* Returns how many faults there were. */
static int save_with(enum fault kind, struct sluice_session *s, int seq, const char *path,
                     const struct bytes *good)
{
    for (int n = 1; n < 100000; n++) {
        int n_fds = n_entries("/proc/self/fd"), n_files, r;
        bool hit;

        write_old(path);
        n_files = n_entries(".");
        arm(kind, n);
        r = sluice_seq_save(s, seq, path, NULL);
        hit = disarm();
        CHECK(r == 0 || (hit && is_code_of(kind, r)), "%s, %d: %d (%s)", names[kind], n, r,
              sluice_session_error(s));
        CHECK(r == 0 || sluice_session_error(s)[0], "%s, %d: no text", names[kind], n);
        if (r == 0)
            check_content(path, good->ptr, good->len);
        else
            check_content(path, OLD, strlen(OLD));
        CHECK(n_entries(".") == n_files, "%s, %d: a file was left", names[kind], n);
        CHECK(n_entries("/proc/self/fd") == n_fds, "%s, %d: a descriptor", names[kind], n);
        check_free(s, 1);
        if (!hit)
            return n - 1;
    }
    CHECK(false, "no end");
}

static int load_with(enum fault kind, struct sluice_session *s, const char *path,
                     const char *again, const struct bytes *good)
{
    for (int n = 1; n < 100000; n++) {
        int n_fds = n_entries("/proc/self/fd"), r;
        bool hit;

        arm(kind, n);
        r = sluice_seq_load(s, path, NULL);
        hit = disarm();
        CHECK(r >= 0 || (hit && is_code_of(kind, r)), "%s, %d: %d (%s)", names[kind], n, r,
              sluice_session_error(s));
        CHECK(r >= 0 || strstr(sluice_session_error(s), path) ||
              strstr(sluice_session_error(s), "memory"), "%s", sluice_session_error(s));
        CHECK(n_entries("/proc/self/fd") == n_fds, "%s, %d: a descriptor", names[kind], n);
        if (r >= 0) {
            CHECK(sluice_seq_save(s, r, again, NULL) == 0, "%s", sluice_session_error(s));
            check_content(again, good->ptr, good->len);
            CHECK(sluice_seq_free(s, r) == 0, "freeing");
        }
        check_free(s, 0);
        if (!hit)
            return n - 1;
    }
    CHECK(false, "no end");
}

int main(void)
{
    static const enum fault of_save[] = { ALLOC_AND_OPEN, FULL_DISK, BAD_DISK, BAD_SYNC };
    static const enum fault of_load[] = { ALLOC_AND_OPEN, BAD_READ };
    const struct sluice_model_opts opts = { .n_threads = 1, .cpu = common_cpu() };
    const struct sluice_session_opts session_opts = { .n_ctx = 512, .n_seq_max = N_SEQS };
    struct sluice_error error;
    struct sluice_session *s;
    struct sluice_model *model;
    struct bytes good;
    int32_t tokens[N_TOK];
    char folder[32], again[] = "again", path[] = "sequence", other[] = "other";
    int seq;

    CHECK(sluice_model_open(&model, SOURCE_ROOT "/models/demo.gguf", &opts, &error) == 0, "%s",
          error.text);
    s = common_session(model, &session_opts);
    (void)snprintf(folder, sizeof(folder), "fault-seqfile-XXXXXX");
    CHECK(mkdtemp(folder) && chdir(folder) == 0, "%s", folder);
    for (uint32_t i = 0; i < N_TOK; i++)
        tokens[i] = (int32_t)(i % 100 + 300);
    seq = sluice_seq_new(s);
    common_feed(s, seq, tokens, N_TOK, N_TOK, 0, NULL);
    CHECK(sluice_seq_save(s, seq, path, NULL) == 0, "%s", sluice_session_error(s));
    good = read_file(path);
    for (size_t i = 0; i < sizeof(of_save) / sizeof(of_save[0]); i++) {
        int n = save_with(of_save[i], s, seq, other, &good);

        CHECK(n > 0, "%s: nothing failed", names[of_save[i]]);
        printf("saving, %s: %d faults\n", names[of_save[i]], n);
    }
    CHECK(sluice_seq_free(s, seq) == 0, "freeing");
    for (size_t i = 0; i < sizeof(of_load) / sizeof(of_load[0]); i++) {
        int n = load_with(of_load[i], s, path, again, &good);

        CHECK(n > 0, "%s: nothing failed", names[of_load[i]]);
        printf("loading, %s: %d faults\n", names[of_load[i]], n);
    }
    free(good.ptr);
    sluice_session_free(s);
    sluice_model_close(model);
    unlink(path);
    unlink(other);
    unlink(again);
    CHECK(chdir("..") == 0 && rmdir(folder) == 0, "%s: something was left", folder);
    return 0;
}
