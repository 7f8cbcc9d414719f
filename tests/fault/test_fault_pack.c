/*
 * Writing, opening and loading packs with the n-th call of each kind failing, for
 * n = 1, 2, 3, ... until a run meets no failure: the right code and a text, nothing left
 * open, and never something that opens as a pack. Short and interrupted writes are no
 * failures. pwrite and ftruncate are wrapped here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "loader/packwrite.h"

#define N_MAX 2000
#define COLS 64u
#define ROWS 96u
#define N_EXPERTS 2u

enum mode { MODE_NONE, MODE_ERROR, MODE_SHORT, MODE_EINTR };

static enum mode mode;
static int write_error;
static uint64_t writes_left; /* until the one that fails */
static bool write_failed;

ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t off);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t n, off_t off);
int __real_ftruncate(int fd, off_t n);
int __wrap_ftruncate(int fd, off_t n);
int __wrap_ftruncate64(int fd, off_t n);

static bool is_next(void)
{
    if (mode != MODE_ERROR || --writes_left != 0)
        return false;
    write_failed = true;
    errno = write_error;
    return true;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t off)
{
    static unsigned turn;

    if (is_next())
        return -1;
    if (mode == MODE_SHORT && n > 1)
        n = n / 2 + 1;
    if (mode == MODE_EINTR && turn++ % 2) {
        errno = EINTR;
        return -1;
    }
    return __real_pwrite(fd, data, n, off);
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t n, off_t off)
{
    return __wrap_pwrite(fd, data, n, off);
}

int __wrap_ftruncate(int fd, off_t n)
{
    return is_next() ? -1 : __real_ftruncate(fd, n);
}

int __wrap_ftruncate64(int fd, off_t n)
{
    return __wrap_ftruncate(fd, n);
}

static int n_open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void put(int fd, const void *data, size_t n)
{
    assert_int_equal(write(fd, data, n), n);
}

static void put_tensor(int fd, const char *name, uint64_t n_mats, uint64_t off)
{
    uint64_t len = strlen(name), ne[] = { COLS, ROWS, n_mats };
    uint32_t n_dims = n_mats > 1 ? 3 : 2, dtype = SL_DTYPE_BF16;

    put(fd, &len, 8);
    put(fd, name, len);
    put(fd, &n_dims, 4);
    put(fd, ne, 8 * n_dims);
    put(fd, &dtype, 4);
    put(fd, &off, 8);
}

/* A model of one matrix and one layer of experts, in a file of memory. */
static int make_model(char *ret_path, size_t path_bytes)
{
    static const char *const parts[] = { "gate", "up", "down" };
    uint64_t mat = 2ull * COLS * ROWS, n_tensors = 4, n_kv = 0, pad;
    int fd = memfd_create("model", MFD_CLOEXEC);
    uint32_t version = 3;

    assert_true(fd >= 0);
    put(fd, "GGUF", 4);
    put(fd, &version, 4);
    put(fd, &n_tensors, 8);
    put(fd, &n_kv, 8);
    put_tensor(fd, "token_embd.weight", 1, 0);
    for (uint64_t i = 0; i < 3; i++) {
        char name[64];

        snprintf(name, sizeof(name), "blk.2.ffn_%s_exps.weight", parts[i]);
        put_tensor(fd, name, N_EXPERTS, mat * (1 + N_EXPERTS * i));
    }
    pad = -(uint64_t)lseek(fd, 0, SEEK_END) % 32;
    put(fd, (uint8_t[32]){ 0 }, pad);
    for (uint64_t i = 0; i < COLS * ROWS * (1 + 3 * N_EXPERTS); i++) {
        uint16_t x = (uint16_t)((120 + i % 4) << 7 | (i * i >> 3 & 0x7F));

        put(fd, &x, 2);
    }
    snprintf(ret_path, path_bytes, "/proc/self/fd/%d", fd);
    return fd;
}

static struct sl_gguf *gguf;

static int write_once(int fd, int level, struct sl_diag *diag)
{
    struct sl_packwrite_opts opts = { .level = level };
    struct sl_packwrite *pw;
    int r = sl_packwrite_new(&pw, gguf, &opts, diag);

    if (r < 0)
        return r;
    r = sl_packwrite_run(pw, fd, diag);
    sl_packwrite_free(pw);
    return r;
}

/* A file of memory for a pack, with its path. */
static int new_file(char *ret_path, size_t path_bytes)
{
    int fd = memfd_create("pack", MFD_CLOEXEC);

    assert_true(fd >= 0);
    snprintf(ret_path, path_bytes, "/proc/self/fd/%d", fd);
    return fd;
}

static void expect_whole(const char *path)
{
    struct sl_packwrite_opts opts = { 0 };
    struct sl_diag diag = { "" };
    struct sl_pack *pack;

    if (sl_pack_open(&pack, path, 0, &diag) < 0 ||
        sl_packwrite_compare(gguf, pack, &opts, &diag) < 0)
        fail_msg("%s", diag.text);
    sl_pack_close(pack);
}

/* An error of the n-th write; returns how many runs failed. */
static int write_with(int error, int code, const char *word, int level)
{
    for (uint64_t n = 1; n < N_MAX; n++) {
        struct sl_diag diag = { "" };
        int n_files = n_open_files(), r, fd;
        char path[32];

        fd = new_file(path, sizeof(path));
        writes_left = n;
        write_error = error;
        write_failed = false;
        mode = MODE_ERROR;
        r = write_once(fd, level, &diag);
        mode = MODE_NONE;
        if (!write_failed) {
            assert_int_equal(r, 0);
            expect_whole(path);
            close(fd);
            return (int)n - 1;
        }
        if (r != code || !strstr(diag.text, word))
            fail_msg("write %d: expected %d, got %d: %s", (int)n, code, r, diag.text);
        assert_false(sl_pack_detect(path));
        close(fd);
        assert_int_equal(n_open_files(), n_files);
    }
    fail_msg("no run without a failure");
    return 0;
}

static void every_failed_write_is_reported(void **state)
{
    (void)state;
    for (int level = 0; level <= 1; level++) {
        assert_in_range(write_with(ENOSPC, -ENOSPC, "", level), 10, N_MAX);
        assert_in_range(write_with(EIO, -EIO, "write failed", level), 10, N_MAX);
    }
}

static void short_and_interrupted_writes_are_continued(void **state)
{
    (void)state;
    for (enum mode m = MODE_SHORT; m <= MODE_EINTR; m++) {
        struct sl_diag diag = { "" };
        char path[32];
        int fd = new_file(path, sizeof(path));

        mode = m;
        assert_int_equal(write_once(fd, 1, &diag), 0);
        mode = MODE_NONE;
        expect_whole(path);
        close(fd);
    }
}

static void writing_survives_a_lack_of_memory(void **state)
{
    static const uint32_t kinds[] = { FAULTS_ALLOC, FAULTS_MMAP, FAULTS_THREAD, FAULTS_READ };

    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (uint64_t n = 1;; n++) {
            struct sl_diag diag = { "" };
            int n_files = n_open_files(), r, fd;
            char path[32];

            assert_true(n < N_MAX);
            fd = new_file(path, sizeof(path));
            faults_arm(kinds[k], n);
            r = write_once(fd, 1, &diag);
            faults_disarm();
            if (r == 0)
                expect_whole(path); /* a missing thread or a cold cache only cost time */
            else
                assert_true(strlen(diag.text) > 10 && !sl_pack_detect(path));
            close(fd);
            assert_int_equal(n_open_files(), n_files);
            if (!faults_hit()) {
                assert_int_equal(r, 0);
                break;
            }
        }
}

static int open_and_load(const char *path, struct sl_diag *diag)
{
    struct sl_pack *pack;
    int r = sl_pack_open(&pack, path, 0, diag);

    if (r < 0)
        return r;
    r = sl_pack_prepare(pack, 4);
    if (r < 0)
        sl_diag_set(diag, r, "no memory for four workers");
    else
        r = sl_pack_load(pack, SL_PACK_LOAD_SHARED | SL_PACK_LOAD_EXPERTS, NULL, NULL, NULL,
                         diag);
    sl_pack_close(pack);
    return r;
}

static void opening_and_loading_survive_any_failure(void **state)
{
    static const struct {
        uint32_t kinds;
        int code;
    } kinds[] = { { FAULTS_ALLOC, -ENOMEM }, { FAULTS_MMAP, -ENOMEM }, { FAULTS_OPEN, -EMFILE } };
    struct sl_diag diag = { "" };
    char path[32];
    int fd = new_file(path, sizeof(path));

    (void)state;
    assert_int_equal(write_once(fd, 1, &diag), 0);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (uint64_t n = 1;; n++) {
            int n_files = n_open_files(), r;

            assert_true(n < N_MAX);
            diag.text[0] = '\0';
            faults_arm(kinds[k].kinds, n);
            r = open_and_load(path, &diag);
            faults_disarm();
            assert_int_equal(n_open_files(), n_files);
            if (!faults_hit()) {
                assert_int_equal(r, 0);
                break;
            }
            if (r != kinds[k].code && r != 0) /* 0: warming went without */
                fail_msg("call %d: expected %d, got %d: %s", (int)n, kinds[k].code, r, diag.text);
            assert_true(r == 0 || strlen(diag.text) > 10);
        }
    close(fd);
}

/* The file is cut while the pack is in use. */
static void a_pack_cut_while_open_is_an_error(void **state)
{
    struct sl_diag diag = { "" };
    struct sl_pack *pack;
    char path[32];
    int fd = new_file(path, sizeof(path));

    (void)state;
    assert_int_equal(sl_mapping_install_sigbus(), 0);
    assert_int_equal(write_once(fd, 1, &diag), 0);
    assert_int_equal(sl_pack_open(&pack, path, 0, &diag), 0);
    assert_int_equal(ftruncate(fd, (off_t)sl_pack_layer_at(pack, 0)->parts[2].off), 0);
    assert_int_equal(sl_pack_load(pack, SL_PACK_LOAD_EXPERTS, NULL, NULL, NULL, &diag), -EIO);
    assert_int_equal(sl_pack_verify(pack, SL_PACK_LOAD_EXPERTS, NULL, NULL, NULL, &diag), -EIO);
    sl_pack_close(pack);
    assert_int_not_equal(sl_pack_open(&pack, path, 0, &diag), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failed_write_is_reported),
        cmocka_unit_test(short_and_interrupted_writes_are_continued),
        cmocka_unit_test(writing_survives_a_lack_of_memory),
        cmocka_unit_test(opening_and_loading_survive_any_failure),
        cmocka_unit_test(a_pack_cut_while_open_is_an_error),
    };
    struct sl_diag diag = { "" };
    char path[32];
    int fd = make_model(path, sizeof(path)), r;

    if (sl_gguf_open(&gguf, path, 0, &diag) < 0) {
        fprintf(stderr, "%s\n", diag.text);
        return 1;
    }
    r = cmocka_run_group_tests_name("fault-pack", tests, NULL, NULL);
    sl_gguf_close(gguf);
    close(fd);
    return r;
}
