/* Names of models: parts and types in file names, names that are alike, and which of the
 * models that a list holds a text means. The stores themselves: tests/cli/test_cli_ls.py. */
#include <errno.h>
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

#include "store/allstores.h"
#include "store/filetype.h"
#include "store/find.h"
#include "store/modelfile.h"
#include "store/nearname.h"

static void test_file_names(void **state)
{
    static const struct {
        const char *name;
        enum sl_modelfile_kind kind;
        const char *stem, *type;
        uint32_t part, n_parts;
    } cases[] = {
        {"LFM2-24B-A2B-Q4_K_M.gguf", SL_MODELFILE_MODEL, "LFM2-24B-A2B-Q4_K_M", "Q4_K_M", 1, 1},
        {"x.slpack", SL_MODELFILE_MODEL, "x", "", 1, 1},
        {"X.GGUF", SL_MODELFILE_MODEL, "X", "", 1, 1},
        {"model.f16.gguf", SL_MODELFILE_MODEL, "model.f16", "f16", 1, 1},
        {"a-UD-Q4_K_XL-00002-of-00003.gguf", SL_MODELFILE_MODEL, "a-UD-Q4_K_XL", "Q4_K_XL", 2, 3},
        {"a-IQ4_NL.gguf.part", SL_MODELFILE_PARTIAL, "a-IQ4_NL", "IQ4_NL", 1, 1},
        {"a-BF16.gguf.downloadInProgress", SL_MODELFILE_PARTIAL, "a-BF16", "BF16", 1, 1},
        {"a-00001-of-00001.gguf", SL_MODELFILE_MODEL, "a-00001-of-00001", "", 1, 1},
        {"a-00004-of-00003.gguf", SL_MODELFILE_MODEL, "a-00004-of-00003", "", 1, 1},
        {"a-00000-of-00003.gguf", SL_MODELFILE_MODEL, "a-00000-of-00003", "", 1, 1},
        {"a-00001-of-99999.gguf", SL_MODELFILE_MODEL, "a-00001-of-99999", "", 1, 1},
        {"a-0001-of-00003.gguf", SL_MODELFILE_MODEL, "a-0001-of-00003", "", 1, 1},
        {"-00001-of-00003.gguf", SL_MODELFILE_MODEL, "-00001-of-00003", "", 1, 1},
        {"Qwen.gguf", SL_MODELFILE_MODEL, "Qwen", "", 1, 1},
        {"Q8_0.gguf", SL_MODELFILE_MODEL, "Q8_0", "Q8_0", 1, 1},
    };
    static const char *const others[] = {"", ".gguf", ".slpack", ".a.gguf", "gguf", "a.gguf.txt",
                                         "a.part", "a.ggu", "a.gguf.", ".gguf.part"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_modelfile_name n = sl_modelfile_parse(cases[i].name);
        size_t type = sl_modelfile_find_type(cases[i].name, n.stem_len);

        assert_int_equal(n.kind, cases[i].kind);
        assert_int_equal(n.stem_len, strlen(cases[i].stem));
        assert_int_equal(n.part, cases[i].part);
        assert_int_equal(n.n_parts, cases[i].n_parts);
        assert_int_equal(n.stem_len - type, strlen(cases[i].type));
        assert_memory_equal(cases[i].name + type, cases[i].type, n.stem_len - type);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(sl_modelfile_parse(others[i]).kind, SL_MODELFILE_NONE);
}

static bool has_tag(const char *stem, const char *tag)
{
    return sl_modelfile_has_tag(stem, strlen(stem), tag, strlen(tag));
}

static void test_tags(void **state)
{
    assert_true(has_tag("LFM2-24B-Q4_K_M", "q4_k_m"));
    assert_true(has_tag("LFM2-UD-Q4_K_M", "UD-Q4_K_M"));
    assert_true(has_tag("Q4_K_M", "Q4_K_M"));
    assert_true(has_tag("a.q8_0", "Q8_0"));
    assert_false(has_tag("LFM2-IQ4_XS", "Q4_XS"));
    assert_false(has_tag("LFM2-Q4_K_M", ""));
    assert_false(has_tag("M", "Q4_K_M"));
}

static void test_names_alike(void **state)
{
    char long_name[400];

    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(sl_nearname_distance("LFM2:24B", "lfm2:24b"), 0);
    assert_int_equal(sl_nearname_distance("lfm2:24", "lfm2:24b"), 1);
    assert_int_equal(sl_nearname_distance("lmf2:24b", "lfm2:24b"), 1);
    assert_int_equal(sl_nearname_distance("llm2:24x", "lfm2:24b"), 2);
    assert_int_equal(sl_nearname_distance("24b", "lfm2:24b"), 1);
    assert_int_equal(sl_nearname_distance("gpt-oss", "lfm2:24b"), UINT32_MAX);
    assert_int_equal(sl_nearname_distance("", "a"), UINT32_MAX);
    assert_int_equal(sl_nearname_distance(long_name, long_name), UINT32_MAX);
}

static void test_file_types(void **state)
{
    assert_string_equal(sl_filetype_name(15), "Q4_K_M");
    assert_string_equal(sl_filetype_name(32), "BF16");
    assert_null(sl_filetype_name(4));
    assert_null(sl_filetype_name(UINT64_MAX));
}

/* A model without a file, as far as finding it goes. */
static void add(struct sl_store *store, enum sl_store_kind kind, const char *repo,
                const char *tag, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct sl_store_model m = {
        .kind = kind, .repo = (char *)repo, .tag = (char *)tag, .path = (char *)path,
        .file = (char *)(slash ? slash + 1 : path), .n_parts = 1, .is_inspected = true,
        .is_lfm2 = true, .architecture = "lfm2moe",
    };

    m.ino = store->n_models + 1; /* all differ */
    assert_non_null(sl_store_add(store, &m));
}

static const char *find(struct sl_store *store, const char *text)
{
    struct sl_find found;
    int r = sl_find_model(store, text, &found);
    const char *path = r == 0 ? found.models[0]->path : r == -ENOTUNIQ ? "several" : "none";

    sl_find_done(&found);
    return path;
}

static void test_names_of_a_list(void **state)
{
    static const char *const strange[] = {"/",    ":",    "@",         "u/",    "/r", "u/r:",
                                          "u/r@", ":24b", "a/b/c/d/e", "lfm2:", "//"};
    struct sl_store store = {0};

    add(&store, SL_STORE_OLLAMA, "registry.ollama.ai/library/lfm2", "24b", "/o/1");
    add(&store, SL_STORE_OLLAMA, "registry.ollama.ai/me/lfm2", "24b", "/o/2");
    add(&store, SL_STORE_OLLAMA, "hf.co/u/r", "Q8_0", "/o/3");
    add(&store, SL_STORE_HF, "u/r", "Q4_0", "/h/r-Q4_0.gguf");
    add(&store, SL_STORE_HF, "u/r", "Q6_K", "/h/r-Q6_K.gguf");
    add(&store, SL_STORE_LMSTUDIO, "p/q", "", "/l/p/q/q.gguf");
    add(&store, SL_STORE_FOLDER, "", "", "/f/one.gguf");
    add(&store, SL_STORE_FOLDER, "", "", "/g/one.gguf");
    sl_store_finish(&store);
    assert_int_equal(store.n_models, 8);

    assert_string_equal(find(&store, "lfm2:24b"), "/o/1");
    assert_string_equal(find(&store, "LFM2:24B"), "/o/1");
    assert_string_equal(find(&store, "lfm2"), "/o/1");
    assert_string_equal(find(&store, "library/lfm2:24b"), "/o/1");
    assert_string_equal(find(&store, "registry.ollama.ai/library/lfm2:24b"), "/o/1");
    assert_string_equal(find(&store, "ollama.com/me/lfm2"), "/o/2");
    assert_string_equal(find(&store, "hf.co/library/lfm2:24b"), "none");
    assert_string_equal(find(&store, "me/lfm2"), "/o/2");
    assert_string_equal(find(&store, "hf.co/u/r:Q8_0"), "/o/3");
    assert_string_equal(find(&store, "hf.co/u/r:q4_0"), "/h/r-Q4_0.gguf");
    assert_string_equal(find(&store, "huggingface.co/u/r:q8_0"), "/o/3");
    assert_string_equal(find(&store, "https://hf.co/u/r:Q6_K"), "/h/r-Q6_K.gguf");
    assert_string_equal(find(&store, "u/r@main:Q6_K"), "/h/r-Q6_K.gguf");
    assert_string_equal(find(&store, "U/R:r-q6_k"), "/h/r-Q6_K.gguf");
    assert_string_equal(find(&store, "r-Q6_K"), "/h/r-Q6_K.gguf");
    assert_string_equal(find(&store, "u/r:Q8_0"), "none");
    assert_string_equal(find(&store, "u"), "none");
    assert_string_equal(find(&store, "u/r"), "several");
    assert_string_equal(find(&store, "u/r:r-Q6_K.gguf"), "/h/r-Q6_K.gguf");
    assert_string_equal(find(&store, "P/Q"), "/l/p/q/q.gguf");
    assert_string_equal(find(&store, "q"), "/l/p/q/q.gguf");
    assert_string_equal(find(&store, "one"), "several");
    assert_string_equal(find(&store, "f/one"), "/f/one.gguf");
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
        (void)find(&store, strange[i]); /* whatever it is, it ends */
    assert_string_equal(find(&store, ""), "none");
    assert_string_equal(find(&store, "lfm2:8b"), "none");
    sl_store_done(&store);
}

/* Ollama's service, whose folders no variable names, and a home that is not there. */
static void test_services(void **state)
{
    char root[] = "/tmp/sl-store-XXXXXX", blobs[64], link[64];
    const char *services[] = {root, "/nowhere/at/all", link, NULL};
    struct sl_allstores_env env = {.home = "/nowhere", .ollama_services = services};
    struct sl_store store = {0};

    assert_non_null(mkdtemp(root));
    (void)snprintf(blobs, sizeof(blobs), "%s/blobs", root);
    (void)snprintf(link, sizeof(link), "%s/again", root);
    assert_int_equal(mkdir(blobs, 0700), 0);
    assert_int_equal(symlink(".", link), 0);
    assert_int_equal(sl_allstores_list(&store, &env), 0);
    assert_int_equal(store.n_models, 0);
    for (size_t i = 0, n = 0; i < store.n_places; i++) {
        n += store.places[i].access == SL_STORE_THERE;
        assert_int_not_equal(n, 2); /* by two names one place */
        assert_true(store.places[i].access != SL_STORE_DENIED);
        if (i + 1 == store.n_places)
            assert_int_equal(n, 1);
    }
    sl_store_done(&store);
    unlink(link);
    rmdir(blobs);
    rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_names),      cmocka_unit_test(test_tags),
        cmocka_unit_test(test_names_alike),     cmocka_unit_test(test_file_types),
        cmocka_unit_test(test_names_of_a_list), cmocka_unit_test(test_services),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
