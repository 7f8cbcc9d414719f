/*
 * GGUF files are read as written, and refused with the right code and words where
 * they lie. The files come from gguf_cases.py, whose list is the first argument;
 * models from SL_SHARED.
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "loader/gguf.h"

static const char *list; /* of bad files */
static char dir[2048];   /* the files: list without .txt */

static const char *path_of(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static struct sl_gguf *open_good(const char *name)
{
    struct sl_gguf *gguf = NULL;
    struct sl_diag diag = { "" };
    int r = sl_gguf_open(&gguf, path_of(name), 0, &diag);

    if (r < 0)
        fail_msg("%s: %d: %s", name, r, diag.text);
    return gguf;
}

static uint64_t u64_of(const struct sl_gguf *gguf, const char *key, uint64_t i)
{
    uint64_t x = 0;

    if (!sl_gguf_kv_u64(sl_gguf_kv_find(gguf, key), i, &x))
        fail_msg("%s is no integer", key);
    return x;
}

static double f64_of(const struct sl_gguf *gguf, const char *key, uint64_t i)
{
    double x = 0;

    if (!sl_gguf_kv_f64(sl_gguf_kv_find(gguf, key), i, &x))
        fail_msg("%s is no number", key);
    return x;
}

static bool str_is(struct sl_gguf_str str, const char *text, size_t len)
{
    return str.len == len && memcmp(str.ptr, text, len) == 0;
}

static void check_numbers(const struct sl_gguf *gguf)
{
    static const struct {
        const char *type;
        double f64;
        bool is_u64;
    } numbers[] = {
        { "u8", 200, true },          { "i8", -100, false },
        { "u16", 60000, true },       { "i16", -30000, false },
        { "u32", 4000000000.0, true }, { "i32", -2000000000.0, false },
        { "i64", -0x1p62, false },    { "f32", 0.5, false },
        { "f64", -0.125, false },
    };
    char key[32];
    uint64_t x;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        snprintf(key, sizeof(key), "scalar.%s", numbers[i].type);
        assert_true(f64_of(gguf, key, 0) == numbers[i].f64);
        assert_int_equal(sl_gguf_kv_u64(sl_gguf_kv_find(gguf, key), 0, &x), numbers[i].is_u64);
        assert_false(sl_gguf_kv_u64(sl_gguf_kv_find(gguf, key), 1, &x));
        assert_string_equal(sl_gguf_type_name(sl_gguf_kv_find(gguf, key)->type),
                            numbers[i].type);
        snprintf(key, sizeof(key), "array.%s", numbers[i].type);
        assert_true(f64_of(gguf, key, 2) == numbers[i].f64);
        assert_int_equal(sl_gguf_kv_find(gguf, key)->n_items, 3);
        assert_int_equal(sl_gguf_kv_find(gguf, key)->type, SL_GGUF_ARRAY);
        snprintf(key, sizeof(key), "empty.%s", numbers[i].type);
        assert_int_equal(sl_gguf_kv_find(gguf, key)->n_items, 0);
        assert_false(sl_gguf_kv_u64(sl_gguf_kv_find(gguf, key), 0, &x));
    }
}

static void check_strings(const struct sl_gguf *gguf)
{
    static const char *const words[] = { "", "a", "two words", "\u00e9\u4e2d" };
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(gguf, "words");
    struct sl_gguf_str str;
    uint64_t cursor = 0;

    assert_int_equal(kv->n_items, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(sl_gguf_kv_str(kv, &cursor, &str));
        assert_true(str_is(str, words[i], strlen(words[i])));
    }
    assert_int_equal(cursor, kv->bytes);
    assert_false(sl_gguf_kv_str(kv, &cursor, &str));
    cursor = 0;
    assert_true(sl_gguf_kv_str(sl_gguf_kv_find(gguf, "scalar.str"), &cursor, &str));
    assert_true(str_is(str, "two words", 9));
    cursor = 0;
    assert_true(sl_gguf_kv_str(sl_gguf_kv_find(gguf, "null"), &cursor, &str));
    assert_true(str_is(str, "a\0b", 3));
    cursor = 0;
    assert_false(sl_gguf_kv_str(sl_gguf_kv_find(gguf, "scalar.u64"), &cursor, &str));
    assert_false(sl_gguf_kv_str(NULL, &cursor, &str));
    cursor = UINT64_MAX;
    assert_false(sl_gguf_kv_str(kv, &cursor, &str));
}

static void check_tensors(const struct sl_gguf *gguf, uint32_t alignment)
{
    const struct sl_gguf_tensor *t = sl_gguf_tensor_find(gguf, "vec");
    float f[5];

    assert_int_equal(sl_gguf_n_tensors(gguf), 4);
    assert_ptr_equal(t, sl_gguf_tensor_at(gguf, 0));
    assert_int_equal(t->bytes, 20);
    memcpy(f, t->data, sizeof(f));
    assert_true(f[0] == 1 && f[4] == 5);
    t = sl_gguf_tensor_find(gguf, "stack");
    assert_int_equal(t->n_dims, 3);
    assert_true(t->ne[0] == 32 && t->ne[1] == 2 && t->ne[2] == 4 && t->ne[3] == 1);
    assert_int_equal(t->bytes, 18 * 8);
    t = sl_gguf_tensor_find(gguf, "mat");
    assert_int_equal(t->dtype, SL_DTYPE_Q8_0);
    assert_int_equal(t->data[34 + 33], 33);
    for (uint32_t i = 0; i < 4; i++) {
        t = sl_gguf_tensor_at(gguf, i);
        assert_int_equal(t->file_off % alignment, 0);
        assert_int_equal(t->split, 0);
        assert_ptr_equal(t->data, sl_mapping_data(sl_gguf_mapping(gguf, 0)) + t->file_off);
    }
    assert_null(sl_gguf_tensor_at(gguf, 4));
    assert_null(sl_gguf_tensor_find(gguf, "vec2"));
    assert_null(sl_gguf_tensor_find(gguf, ""));
}

static void every_type_is_read_in_both_versions(void **state)
{
    static const char *const names[] = { "good.gguf", "good2.gguf", "aligned.gguf" };

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct sl_gguf *gguf = open_good(names[i]);
        double d;

        assert_int_equal(sl_gguf_version(gguf), i == 1 ? 2 : 3);
        assert_int_equal(sl_gguf_n_splits(gguf), 1);
        assert_int_equal(sl_gguf_n_kv(gguf), 38 + (i == 2));
        assert_ptr_equal(sl_gguf_kv_at(gguf, 5), sl_gguf_kv_find(gguf, i == 2 ? "array.i8"
                                                                             : "empty.i8"));
        assert_null(sl_gguf_kv_at(gguf, 39));
        assert_null(sl_gguf_kv_find(gguf, "scalar"));
        assert_null(sl_gguf_mapping(gguf, 1));
        check_numbers(gguf);
        check_strings(gguf);
        check_tensors(gguf, i == 2 ? 1024 : 32);
        /* Nothing is converted where that would lose something. */
        assert_true(u64_of(gguf, "array.u64", 1) == (1ull << 63) + 1);
        assert_false(sl_gguf_kv_f64(sl_gguf_kv_find(gguf, "scalar.u64"), 0, &d));
        assert_int_equal(u64_of(gguf, "array.bool", 2), 1);
        assert_false(sl_gguf_kv_f64(sl_gguf_kv_find(gguf, "scalar.bool"), 0, &d));
        sl_gguf_close(gguf);
    }
    sl_gguf_close(NULL);
}

static void odd_but_sound_files_are_read(void **state)
{
    struct sl_gguf *gguf = open_good("nothing.gguf");
    const struct sl_gguf_tensor *t;

    (void)state;
    assert_int_equal(sl_gguf_n_kv(gguf) + sl_gguf_n_tensors(gguf), 0);
    assert_null(sl_gguf_kv_find(gguf, "general.architecture"));
    sl_gguf_close(gguf);

    gguf = open_good("unknown.gguf"); /* a type that we do not know: no size */
    t = sl_gguf_tensor_find(gguf, "t");
    assert_int_equal(t->dtype, 63);
    assert_int_equal(t->bytes, 0);
    assert_non_null(t->data);
    sl_gguf_close(gguf);

    gguf = open_good("unsupported.gguf"); /* iq2_xxs: known by size */
    assert_int_equal(sl_gguf_tensor_find(gguf, "t")->bytes, 132);
    sl_gguf_close(gguf);

    gguf = open_good("order.gguf");
    assert_int_equal(sl_gguf_tensor_find(gguf, "late")->file_off -
                     sl_gguf_tensor_find(gguf, "early")->file_off, 128);
    sl_gguf_close(gguf);
    sl_gguf_close(open_good("split-of-one.gguf"));
}

static void the_largest_number_of_tensors_is_found_by_name(void **state)
{
    struct sl_gguf *gguf = open_good("many.gguf");
    char name[32];

    (void)state;
    assert_int_equal(sl_gguf_n_tensors(gguf), SL_GGUF_TENSORS_MAX);
    for (uint32_t i = 0; i < SL_GGUF_TENSORS_MAX; i++) {
        snprintf(name, sizeof(name), "blk.%u.weight", i);
        assert_ptr_equal(sl_gguf_tensor_find(gguf, name), sl_gguf_tensor_at(gguf, i));
        assert_memory_equal(sl_gguf_tensor_at(gguf, i)->data, &i, sizeof(i));
    }
    sl_gguf_close(gguf);
}

static void check_split(const char *name, uint32_t n_tensors)
{
    struct sl_gguf *gguf = open_good(name);
    char tensor[32];
    uint32_t n = 0;

    assert_int_equal(sl_gguf_n_splits(gguf), 3);
    assert_int_equal(sl_gguf_n_tensors(gguf), n_tensors);
    assert_non_null(sl_gguf_kv_find(gguf, "general.architecture"));
    assert_int_equal(u64_of(gguf, "split.no", 0), 0);
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t t = 0; t <= i; t++) {
            const struct sl_gguf_tensor *found;
            float f;

            snprintf(tensor, sizeof(tensor), "blk.%u.%u", i, t);
            found = sl_gguf_tensor_find(gguf, tensor);
            if (!found)
                continue;
            n++;
            assert_int_equal(found->split, i);
            memcpy(&f, found->data, sizeof(f));
            assert_true(f == (float)(10 * i + t));
            assert_ptr_equal(found->data,
                             sl_mapping_data(sl_gguf_mapping(gguf, i)) + found->file_off);
        }
    assert_int_equal(n, n_tensors);
    sl_gguf_close(gguf);
}

static void split_models_open_by_any_part(void **state)
{
    char name[64];

    (void)state;
    for (int i = 1; i <= 3; i++) {
        snprintf(name, sizeof(name), "split/model-%05d-of-00003.gguf", i);
        check_split(name, 6);
    }
    check_split("split-kinds/model-00002-of-00003.gguf", 6);
    check_split("split-empty-first/model-00001-of-00003.gguf", 5);
}

static int code_of(const char *name)
{
    return strcmp(name, "EBADMSG") == 0   ? -EBADMSG
           : strcmp(name, "ENOTSUP") == 0 ? -ENOTSUP
           : strcmp(name, "E2BIG") == 0   ? -E2BIG
           : strcmp(name, "ENOENT") == 0  ? -ENOENT
                                          : 0;
}

static void check_bad(const char *name, uint32_t flags, int code, char *words)
{
    struct sl_gguf *gguf = (void *)&list;
    struct sl_diag diag = { "" };
    int r = sl_gguf_open(&gguf, path_of(name), flags, &diag);

    assert_int_not_equal(code, 0);
    if (r != code)
        fail_msg("%s: expected %d, got %d: %s", name, code, r, diag.text);
    assert_ptr_equal(gguf, (void *)&list); /* untouched */
    for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|"))
        if (!strstr(diag.text, word))
            fail_msg("%s: '%s' is not in: %s", name, word, diag.text);
    for (const char *c = diag.text; *c; c++)
        assert_true((unsigned char)*c >= ' ');
    assert_int_equal(sl_gguf_open(&gguf, path_of(name), flags, NULL), code);
}

static void files_that_lie_are_refused_in_words(void **state)
{
    FILE *f = fopen(list, "r");
    char line[512], name[128], code[32], words[256];
    unsigned flags;
    int n = 0;

    (void)state;
    assert_non_null(f);
    for (; fgets(line, sizeof(line), f); n++) {
        assert_int_equal(sscanf(line, "%127[^\t]\t%u\t%31[^\t]\t%255[^\n]", name, &flags, code,
                                words), 4);
        check_bad(name, flags, code_of(code), words);
    }
    fclose(f);
    assert_true(n > 60);
}

/* A file in memory, and its path. */
struct memfile {
    int fd;
    char path[32];
};

static struct memfile memfile_new(const void *data, size_t n)
{
    struct memfile m = { .fd = memfd_create("gguf", MFD_CLOEXEC) };

    assert_true(m.fd >= 0);
    if (n > 0)
        assert_int_equal(write(m.fd, data, n), n);
    snprintf(m.path, sizeof(m.path), "/proc/self/fd/%d", m.fd);
    return m;
}

static uint8_t *read_all(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(1 << 20);

    assert_non_null(f);
    assert_non_null(data);
    *ret_n = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    size_t n;
    uint8_t *data = read_all(path_of("good.gguf"), &n);
    struct sl_gguf *whole = open_good("good.gguf");
    const struct sl_gguf_tensor *last = sl_gguf_tensor_find(whole, "four");
    uint64_t header_bytes = sl_gguf_tensor_at(whole, 0)->file_off;
    uint64_t end = last->file_off + last->bytes;
    struct sl_gguf *gguf;
    struct sl_diag diag;

    (void)state;
    while (header_bytes > 0 && data[header_bytes - 1] == 0)
        header_bytes--; /* padding, and the zeros that end the last offset */
    assert_int_equal(end, n);
    for (size_t cut = 0; cut < n; cut++) {
        struct memfile m = memfile_new(data, cut);
        int r;

        diag.text[0] = '\0';
        assert_int_equal(sl_gguf_open(&gguf, m.path, 0, &diag), -EBADMSG);
        assert_true(strlen(diag.text) > 20);
        r = sl_gguf_open(&gguf, m.path, SL_GGUF_HEADLESS, &diag);
        if (cut < header_bytes)
            assert_int_equal(r, -EBADMSG);
        if (cut >= header_bytes + 8)
            assert_int_equal(r, 0);
        if (r == 0) {
            assert_null(sl_gguf_tensor_at(gguf, 3)->data);
            assert_int_equal(sl_gguf_tensor_at(gguf, 3)->bytes, 12);
            assert_int_equal(sl_gguf_tensor_at(gguf, 3)->file_off, last->file_off);
            sl_gguf_close(gguf);
        }
        close(m.fd);
    }
    assert_int_equal(sl_gguf_open(&gguf, path_of("good.gguf"), 6, &diag), -EINVAL);
    sl_gguf_close(whole);
    free(data);
}

/* Read everything that an open file offers; returns something that depends on it. */
static uint64_t walk(const struct sl_gguf *gguf)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < sl_gguf_n_kv(gguf); i++) {
        const struct sl_gguf_kv *kv = sl_gguf_kv_at(gguf, i);
        struct sl_gguf_str str;
        uint64_t cursor = 0;
        uint64_t x;
        double d;

        for (uint64_t k = 0; k < kv->bytes; k++)
            sum += kv->data[k];
        for (uint64_t k = 0; k < kv->n_items; k++) {
            sum += sl_gguf_kv_u64(kv, k, &x) ? x : 1;
            sum += sl_gguf_kv_f64(kv, k, &d);
            if (sl_gguf_kv_str(kv, &cursor, &str) && str.len > 0)
                sum += (uint8_t)str.ptr[str.len - 1];
        }
    }
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        for (uint64_t k = 0; k < t->bytes; k++)
            sum += t->data[k];
    }
    return sum;
}

static void files_with_random_damage_open_soundly_or_not_at_all(void **state)
{
    const char *given = getenv("SL_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    size_t n;
    uint8_t *data = read_all(path_of("good.gguf"), &n);
    uint8_t *bad = malloc(n);
    uint64_t sum = 0;
    int n_open = 0;

    (void)state;
    print_message("SL_SEED=%u\n", seed);
    srand(seed);
    for (int i = 0; i < 5000; i++) {
        struct sl_gguf *gguf;
        struct sl_diag diag = { "" };
        struct memfile m;

        memcpy(bad, data, n);
        for (int k = 1 + rand() % 4; k > 0; k--)
            bad[(size_t)rand() % n] = (uint8_t)(rand() % 3 ? rand() : 0xFF);
        m = memfile_new(bad, n);
        if (sl_gguf_open(&gguf, m.path, 0, &diag) == 0) {
            sum += walk(gguf);
            sl_gguf_close(gguf);
            n_open++;
        } else if (diag.text[0] == '\0') {
            fail_msg("an error without a text in round %d", i);
        }
        close(m.fd);
    }
    print_message("%d of 5000 open, sum %llu\n", n_open, (unsigned long long)sum);
    assert_true(n_open > 500 && n_open < 4500);
    free(bad);
    free(data);
}

static void check_model(const char *path)
{
    struct sl_gguf *gguf = NULL;
    struct sl_diag diag = { "" };
    const struct sl_gguf_tensor *embd;
    const struct sl_gguf_kv *tokens;
    struct sl_gguf_str str;
    uint64_t cursor = 0, end = 0;

    if (sl_gguf_open(&gguf, path, 0, &diag) < 0)
        fail_msg("%s", diag.text);
    assert_true(sl_gguf_kv_str(sl_gguf_kv_find(gguf, "general.architecture"), &cursor, &str));
    assert_true(str_is(str, "lfm2", 4) || str_is(str, "lfm2moe", 7));
    tokens = sl_gguf_kv_find(gguf, "tokenizer.ggml.tokens");
    embd = sl_gguf_tensor_find(gguf, "token_embd.weight");
    assert_non_null(tokens);
    assert_non_null(embd);
    assert_int_equal(tokens->n_items, embd->ne[1]);
    cursor = 0;
    for (uint64_t i = 0; i < tokens->n_items; i++)
        assert_true(sl_gguf_kv_str(tokens, &cursor, &str));
    assert_int_equal(cursor, tokens->bytes);
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        assert_true(t->bytes > 0);
        end = t->file_off + t->bytes > end ? t->file_off + t->bytes : end;
    }
    end = (end + 31) / 32 * 32;
    assert_int_equal(end, sl_mapping_bytes(sl_gguf_mapping(gguf, 0)));
    sl_gguf_close(gguf);
}

static void real_models_are_read(void **state)
{
    static const char *const folders[] = { "models", "models/types" };
    const char *shared = getenv("SL_SHARED");
    char path[4096];
    int n = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        DIR *d;
        struct dirent *entry;

        snprintf(path, sizeof(path), "%s/%s", shared ? shared : "../shared", folders[i]);
        d = opendir(path);
        if (!d) {
            print_message("skipped: no folder %s (SL_SHARED names its parent)\n", path);
            skip();
        }
        while ((entry = readdir(d))) {
            size_t len = strlen(entry->d_name);

            if (len < 5 || strcmp(entry->d_name + len - 5, ".gguf") != 0)
                continue;
            snprintf(path, sizeof(path), "%s/%s/%s", shared ? shared : "../shared", folders[i],
                     entry->d_name);
            check_model(path);
            n++;
        }
        closedir(d);
    }
    print_message("%d models\n", n);
    assert_true(n > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read_in_both_versions),
        cmocka_unit_test(odd_but_sound_files_are_read),
        cmocka_unit_test(the_largest_number_of_tensors_is_found_by_name),
        cmocka_unit_test(split_models_open_by_any_part),
        cmocka_unit_test(files_that_lie_are_refused_in_words),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(files_with_random_damage_open_soundly_or_not_at_all),
        cmocka_unit_test(real_models_are_read),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: test_gguf CASES.txt\n");
        return 2;
    }
    list = argv[1];
    snprintf(dir, sizeof(dir), "%.*s", (int)strlen(list) - 4, list);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
