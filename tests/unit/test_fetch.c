/*
 * What sluice pull is made of, without a network: names, listings, choices, answers, the
 * journal, and the file that fills. The network is tests/cli/test_cli_pull.py's.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetch/hubname.h"
#include "fetch/hubpick.h"
#include "fetch/partial.h"
#include "fetch/retry.h"

static char folder[64];

static int make_folder(void **state)
{
    strcpy(folder, "/tmp/test-fetch-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    return rmdir(folder); /* tests leave nothing */
}

static void test_sha256(void **state)
{
    /* FIPS 180-4's examples */
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char two[] = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    char hex[SL_SHA256_HEX_BYTES];
    struct sl_sha256 *sum;

    assert_int_equal(sl_sha256_new(&sum), 0);
    assert_int_equal(sl_sha256_add(sum, "abc", 3), 0);
    assert_int_equal(sl_sha256_end(sum, hex), 0);
    assert_string_equal(hex, abc);
    assert_int_equal(sl_sha256_add(sum, "abcdbcdecdefdefgefghfghi", 24), 0);
    assert_int_equal(sl_sha256_add(sum, "ghijhijkijkljklmklmnlmnomnopnopq", 32), 0);
    assert_int_equal(sl_sha256_end(sum, hex), 0);
    assert_string_equal(hex, two);
    sl_sha256_free(sum);
    assert_true(sl_sha256_is_hex(two));
    assert_false(sl_sha256_is_hex(two + 1));
    hex[5] = 'x';
    assert_false(sl_sha256_is_hex(hex));
}

static void test_names(void **state)
{
    static const struct {
        const char *text, *repo, *revision, *tag;
    } good[] = {
        {"user/repo", "user/repo", "main", ""},
        {"user/repo:Q4_K_M", "user/repo", "main", "Q4_K_M"},
        {"hf.co/u/r.x-GGUF:a/b.gguf", "u/r.x-GGUF", "main", "a/b.gguf"},
        {"https://huggingface.co/u/r@refs/pr/1:Q8_0", "u/r", "refs/pr/1", "Q8_0"},
        {"u/r@v1", "u/r", "v1", ""},
    };
    static const char *const bad[] = {
        "", "u", "/", "u/", "/r", "u/r/s", "../r", "u/..", "u/.r", "u/r.", "u/-r", "u--v/r",
        "u/a..b", "u/r b", "u/r\n", "u/r@", "u/r:", "u/r@../x", "u/r@a//b", "u/r@/a", "ü/r",
    };
    struct sl_hubname name;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(sl_hubname_parse(&name, good[i].text, NULL), 0);
        assert_string_equal(name.repo, good[i].repo);
        assert_string_equal(name.revision, good[i].revision);
        assert_string_equal(name.tag, good[i].tag);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sl_hubname_parse(&name, bad[i], NULL), -EBADMSG);
}

static void test_urls(void **state)
{
    char url[32] = "x/";

    assert_true(sl_hubname_add_url(url, sizeof(url), "a b/c?", true));
    assert_string_equal(url, "x/a%20b/c%3F");
    assert_true(sl_hubname_add_url(url, sizeof(url), "/%", false));
    assert_string_equal(url, "x/a%20b/c%3F%2F%25");
    assert_false(sl_hubname_add_url(url, sizeof(url), "0123456789abcdef", false));
}

#define SHA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LFS(bytes) "\"lfs\":{\"sha256\":\"" SHA "\",\"size\":" #bytes "}"
#define LIST(files) \
    "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[" files "]}"

static void test_choices(void **state)
{
    static const char json[] = LIST(
        "{\"rfilename\":\"m-Q8_0-00002-of-00002.gguf\"," LFS(5) "},"
        "{\"rfilename\":\"m-Q8_0-00001-of-00002.gguf\"," LFS(7) "},"
        "{\"rfilename\":\"m-Q4_K_M.gguf\"," LFS(3) "},"
        "{\"rfilename\":\"mmproj-Q4_K_M.gguf\"," LFS(1) "},"
        "{\"rfilename\":\"d/n-Q6_K.gguf\"," LFS(1) "},"
        "{\"rfilename\":\"n-Q6_K.gguf\"," LFS(1) "},"
        "{\"rfilename\":\"../n-Q2_K.gguf\"," LFS(1) "},"
        "{\"rfilename\":\"README.md\",\"size\":4}");
    static const struct {
        const char *tag, *path;
        int result;
    } cases[] = {
        {"", "m-Q4_K_M.gguf", 0}, {"q8_0", "m-Q8_0-00001-of-00002.gguf", 0},
        {"m-Q8_0", "m-Q8_0-00001-of-00002.gguf", 0}, {"d/n-Q6_K", "d/n-Q6_K.gguf", 0},
        {"Q6_K", NULL, -ENOTUNIQ}, {"Q2_K", NULL, -ENOENT}, {"README.md", NULL, -ENOENT},
        {"n-Q6_K.gguf", "n-Q6_K.gguf", 0}, {"mmproj-Q4_K_M", "mmproj-Q4_K_M.gguf", 0},
    };
    struct sl_hublist list;
    struct sl_hubpick pick;

    assert_int_equal(sl_hublist_parse(&list, json, strlen(json), NULL), 0);
    assert_int_equal(list.n_files, 7);
    assert_int_equal(list.n_refused, 1);
    assert_string_equal(sl_hublist_find(&list, "README.md")->sha256, "");
    assert_null(sl_hublist_find(&list, "README"));
    assert_int_equal(sl_hubpick_find(&pick, &list), 0);
    assert_int_equal(pick.n_models, 5);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(sl_hubpick_choose(&pick, cases[i].tag), cases[i].result);
        if (cases[i].result == 0)
            assert_string_equal(pick.models[pick.chosen].first->path, cases[i].path);
    }
    assert_int_equal(sl_hubpick_choose(&pick, "Q8_0"), 0);
    assert_int_equal(pick.models[pick.chosen].n_parts, 2);
    assert_int_equal(pick.models[pick.chosen].bytes, 12);
    assert_int_equal(sl_hubpick_part(&list, &pick.models[pick.chosen], 1)->bytes, 5);
    sl_hubpick_done(&pick);
    sl_hublist_done(&list);
}

static struct sl_transfer_reply reply_of(int status, uint64_t retry_after_s)
{
    return (struct sl_transfer_reply){.status = status, .retry_after_s = retry_after_s};
}

static void test_retry(void **state)
{
    static const struct {
        int status, result;
    } cases[] = {
        {200, 0}, {206, 0}, {401, -EACCES}, {403, -EACCES}, {404, -ENOENT}, {416, -ESTALE},
        {408, -EAGAIN}, {429, -EAGAIN}, {500, -EAGAIN}, {503, -EAGAIN}, {501, -EPROTO},
        {400, -EPROTO}, {204, -EPROTO}, {302, -EPROTO}, {0, -EPROTO},
    };
    const struct sl_retry_opts opts = {.n_tries = 8, .first_ms = 500};
    char text[SL_RETRY_TEXT_BYTES];
    struct sl_transfer_reply reply;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reply = reply_of(cases[i].status, SL_TRANSFER_UNKNOWN);
        assert_int_equal(sl_retry_judge(&reply, text), cases[i].result);
        assert_int_equal(text[0] == '\0', cases[i].result == 0);
    }
    reply = reply_of(429, SL_RETRY_AFTER_MAX_S + 1);
    assert_int_equal(sl_retry_judge(&reply, text), -EPROTO);
    reply = (struct sl_transfer_reply){.error = -ECONNRESET};
    assert_int_equal(sl_retry_judge(&reply, text), -EAGAIN);
    reply.error = -EPROTO;
    assert_int_equal(sl_retry_judge(&reply, text), -EPROTO);
    for (uint32_t n = 1; n < 100; n++) {
        uint32_t most = n < 7 ? 500u << (n - 1) : 30000;

        for (uint64_t seed = 0; seed < 50; seed++) {
            uint32_t ms = sl_retry_wait_ms(&opts, n, seed);

            assert_true(ms <= most && ms >= most / 2);
        }
    }
    assert_int_not_equal(sl_retry_wait_ms(&opts, 5, 1), sl_retry_wait_ms(&opts, 5, 2));
}

#define N_BYTES ((size_t)700000) /* three chunks */
#define CHUNK 262144u

struct filling {
    char path[128], name[160];
    struct sl_journal_id id;
    struct sl_partial partial;
    char *data;
};

static void begin(struct filling *f)
{
    char hex[SL_SHA256_HEX_BYTES];
    struct sl_sha256 *sum;

    *f = (struct filling){.id = {.bytes = N_BYTES, .name = "some.gguf"}};
    (void)snprintf(f->path, sizeof(f->path), "%s/file", folder);
    f->data = malloc(N_BYTES);
    assert_non_null(f->data);
    for (size_t i = 0; i < N_BYTES; i++)
        f->data[i] = (char)((i * 2654435761u) >> 13);
    assert_int_equal(sl_sha256_new(&sum), 0);
    assert_int_equal(sl_sha256_add(sum, f->data, N_BYTES), 0);
    assert_int_equal(sl_sha256_end(sum, hex), 0);
    sl_sha256_free(sum);
    memcpy(f->id.sha256, hex, sizeof(hex));
    assert_int_equal(sl_partial_open(&f->partial, f->path, &f->id, NULL), 0);
    assert_int_equal(f->partial.journal.n_chunks, 3);
    assert_int_equal(f->partial.journal.chunk_bytes, CHUNK);
}

static uint64_t take(struct filling *f, uint64_t off, size_t len)
{
    uint64_t written = 0;

    assert_int_equal(sl_partial_take(&f->partial, off, f->data + off, len, &written, NULL), 0);
    return written;
}

static void reopen(struct filling *f)
{
    sl_partial_close(&f->partial);
    assert_int_equal(sl_partial_open(&f->partial, f->path, &f->id, NULL), 0);
}

static void finish(struct filling *f, int result)
{
    struct stat st;
    int more;

    do {
        more = sl_partial_check_some(&f->partial, NULL);
    } while (more > 0);
    assert_int_equal(more, 0);
    assert_int_equal(f->partial.checked_bytes, N_BYTES);
    assert_int_equal(sl_partial_finish(&f->partial, f->id.sha256, NULL), result);
    sl_partial_close(&f->partial);
    assert_int_equal(stat(f->path, &st), result == 0 ? 0 : -1);
    (void)unlink(f->path); /* or it is not there */
    free(f->data);
}

/* Out of order, twice, across chunks: each byte is written once. */
static void test_filling(void **state)
{
    struct filling f;

    begin(&f);
    assert_int_equal(take(&f, CHUNK, 1000), 1000);
    assert_int_equal(take(&f, CHUNK, 3000), 2000);
    assert_int_equal(sl_journal_prefix(&f.partial.journal), 0);
    assert_int_equal(f.partial.checked_bytes, 0);
    assert_int_equal(take(&f, 0, CHUNK), CHUNK);
    assert_int_equal(sl_journal_prefix(&f.partial.journal), CHUNK + 3000);
    assert_int_equal(f.partial.checked_bytes, CHUNK);
    assert_int_equal(take(&f, 0, N_BYTES), N_BYTES - CHUNK - 3000);
    assert_int_equal(take(&f, 0, N_BYTES), 0);
    assert_int_equal(f.partial.fetched_bytes, N_BYTES);
    finish(&f, 0);
}

static void test_resuming(void **state)
{
    struct filling f;

    begin(&f);
    take(&f, 0, 5000);
    take(&f, 2 * CHUNK, 70);
    reopen(&f); /* as after SIGKILL: nothing was flushed */
    assert_int_equal(f.partial.resumed_bytes, 5070);
    assert_int_equal(f.partial.checked_bytes, 0);
    assert_int_equal(take(&f, 0, N_BYTES), N_BYTES - 5070);
    finish(&f, 0);
}

/* Another boot: what was flushed counts, and nothing else. */
static void test_power_failure(void **state)
{
    struct filling f;
    char journal[160];
    int fd;

    begin(&f);
    take(&f, 0, 5000);
    assert_int_equal(sl_partial_sync(&f.partial, NULL), 0);
    take(&f, 5000, 100);
    take(&f, CHUNK, 10);
    sl_partial_close(&f.partial);
    (void)snprintf(journal, sizeof(journal), "%s" SL_PARTIAL_JOURNAL, f.path);
    fd = open(journal, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "another boot", 13, 8 + 8 + 8 + 72), 13);
    assert_int_equal(close(fd), 0);
    assert_int_equal(sl_partial_open(&f.partial, f.path, &f.id, NULL), 0);
    assert_int_equal(f.partial.resumed_bytes, 5000);
    reopen(&f); /* and it stays so */
    assert_int_equal(f.partial.resumed_bytes, 5000);
    assert_int_equal(take(&f, 0, N_BYTES), N_BYTES - 5000);
    finish(&f, 0);
}

static void test_wrong_bytes(void **state)
{
    struct filling f;

    begin(&f);
    f.data[N_BYTES - 1] ^= 1;
    take(&f, 0, N_BYTES);
    finish(&f, -EBADMSG);
}

/* Of another file nothing counts, nor of data that is gone. */
static void test_strangers(void **state)
{
    struct sl_journal_id read;
    struct filling f;
    char path[160];

    begin(&f);
    take(&f, 0, 5000);
    (void)snprintf(path, sizeof(path), "%s" SL_PARTIAL_JOURNAL, f.path);
    assert_true(sl_journal_read_id(path, &read));
    assert_string_equal(read.name, "some.gguf");
    assert_string_equal(read.sha256, f.id.sha256);
    assert_int_equal(read.bytes, N_BYTES);
    f.id.bytes = N_BYTES + 1;
    reopen(&f);
    assert_int_equal(f.partial.resumed_bytes, 0);
    f.id.bytes = N_BYTES;
    reopen(&f);
    take(&f, 0, 5000);
    (void)snprintf(path, sizeof(path), "%s" SL_PARTIAL_DATA, f.path);
    assert_int_equal(truncate(path, 4999), 0);
    reopen(&f);
    assert_int_equal(f.partial.resumed_bytes, 0);
    sl_partial_close(&f.partial);
    sl_partial_remove(f.path);
    assert_false(sl_journal_read_id(path, &read));
    free(f.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_retry),
        cmocka_unit_test_setup_teardown(test_filling, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_resuming, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_power_failure, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_wrong_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_strangers, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
