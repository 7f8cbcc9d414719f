/*
 * Looking for models while the n-th call of a kind fails, for n = 1, 2, 3, ... until a run
 * meets no failure: the list is well-formed, what is missing from it is said by the result,
 * no file stays open (and no memory leaks, under a sanitizer).
 */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
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

#include "faults.h"
#include "store/allstores.h"
#include "store/find.h"
#include "store/inspect.h"

#define N_MAX 20000 /* more calls than a run makes */
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static char home[] = "/tmp/sl-store-XXXXXX";
static char folder[64];
static struct sl_allstores_env env = {.home = home, .sluice_models = folder};

static void put(const char *name, const void *data, size_t len)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", home, name);
    for (char *p = strchr(path + 5, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        (void)mkdir(path, 0700);
        *p = '/';
    }
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

/* A header with an architecture, and nothing else. */
static size_t make_gguf(unsigned char *out, const char *architecture)
{
    static const char key[] = "general.architecture";
    uint32_t magic = 0x46554747, version = 3, type = 8;
    uint64_t counts[2] = {0, 1}, len = strlen(key), value = strlen(architecture);
    unsigned char *at = out;

    memcpy(at, &magic, 4), memcpy(at + 4, &version, 4), memcpy(at + 8, counts, 16), at += 24;
    memcpy(at, &len, 8), memcpy(at + 8, key, len), at += 8 + len;
    memcpy(at, &type, 4), memcpy(at + 4, &value, 8), memcpy(at + 12, architecture, value);
    return (size_t)(at + 12 + value - out);
}

static int make_world(void **state)
{
    static const char manifest[] =
        "{\"schemaVersion\":2,\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\","
        "\"digest\":\"sha256:" HEX64 "\",\"size\":80}]}";
    static const char list[] =
        "{\"manifests\":[{\"runner\":\"ollama\",\"digest\":\"sha256:" HEX64 "\"}]}";
    unsigned char gguf[256];
    size_t len;

    if (!mkdtemp(home))
        return -1;
    len = make_gguf(gguf, "lfm2moe");
    put(".ollama/models/manifests/registry.ollama.ai/library/lfm2/24b", manifest, strlen(manifest));
    put(".ollama/models/manifests-v2/ollama.com/library/two/1", list, strlen(list));
    put(".ollama/models/blobs/sha256-" HEX64, gguf, len);
    put(".lmstudio/models/p/q/a-Q4_0.gguf", gguf, len);
    put(".lmstudio/settings.json", "{\"downloadsFolder\": 1}", 22);
    put(".cache/huggingface/hub/models--u--r/refs/main", COMMIT, 40);
    put(".cache/huggingface/hub/models--u--r/refs/pr/1", COMMIT, 40);
    put(".cache/huggingface/hub/models--u--r/snapshots/" COMMIT "/a-Q4_0.gguf", gguf, len);
    put(".cache/huggingface/hub/models--u--r/snapshots/" COMMIT "/a-Q8_0-00001-of-00002.gguf",
        gguf, len);
    put(".cache/huggingface/hub/models--u--r/blobs/x.incomplete", gguf, len);
    len = make_gguf(gguf, "llama");
    put("m/deep/er/b.gguf", gguf, len);
    put("m/c.gguf", "nothing", 7);
    (void)snprintf(folder, sizeof(folder), "%s/m", home);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

static int remove_world(void **state)
{
    return nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
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

/* One run: 0, or the first failure that it told of. */
static int look(size_t *ret_n_models)
{
    struct sl_store store = {0};
    struct sl_find found = {0};
    int r = sl_allstores_list(&store, &env);

    *ret_n_models = store.n_models;
    for (size_t i = 0; i < store.n_models; i++) {
        assert_non_null(store.models[i].name);
        assert_non_null(store.models[i].repo);
        assert_non_null(store.models[i].tag);
    }
    if (r == 0)
        sl_inspect_all(&store);
    if (r == 0)
        r = sl_find_model(&store, "u/r:Q4_0", &found);
    if (r == 0)
        assert_non_null(found.models[0]->path);
    sl_find_done(&found);
    sl_store_done(&store);
    return r;
}

static void test_calls_that_fail(void **state)
{
    static const struct {
        uint32_t kinds;
        const char *name;
    } kinds[] = {{FAULTS_ALLOC, "allocations"}, {FAULTS_OPEN, "opens"}, {FAULTS_READ, "reads"}};
    size_t n_all, n_models;
    int n_files = n_open_files();

    assert_int_equal(look(&n_all), 0);
    assert_int_equal(n_all, 7);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        uint64_t n, n_told = 0;

        for (n = 1; n < N_MAX; n++) {
            int r;

            faults_arm(kinds[k].kinds, n);
            r = look(&n_models);
            faults_disarm();
            assert_int_equal(n_open_files(), n_files);
            if (!faults_hit())
                break;
            assert_true(r == 0 || r == -ENOMEM || r == -ENOENT);
            if (kinds[k].kinds == FAULTS_ALLOC && n_models < n_all)
                assert_int_not_equal(r, 0); /* nothing is lost in silence */
            n_told += r != 0;
        }
        assert_true(n > 1 && n < N_MAX);
        printf("%llu failing %s, %llu of them told\n", (unsigned long long)n - 1, kinds[k].name,
               (unsigned long long)n_told);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_calls_that_fail)};

    return cmocka_run_group_tests(tests, make_world, remove_world);
}
