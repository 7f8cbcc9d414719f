/*
 * The tokenizer: pieces of the lfm2 expression, order of merges, special tokens cut out
 * by llama.cpp's rule, bytes that are not UTF-8 kept, long runs, and the stream back to
 * text. Built twice: test_tokenizer_interpreted has no JIT.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/gguf_vocab.h"
#include "tests/unit/small_vocab.h"
#include "text/split.h"
#include "text/tokenizer.h"

#define IDS_MAX 256

struct fixture {
    struct sl_vocab *vocab;
    struct sl_tokenizer *tok;
    struct sl_split *split;
    struct sl_split_cursor *cursor;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t make_seed(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    print_message("SL_SEED=%llu\n", (unsigned long long)seed);
    return (seed ^ 0x9e3779b97f4a7c15) | 1;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct sl_diag diag = {""};

    if (!f || small_vocab_new(&f->vocab, &diag) < 0 ||
        sl_tokenizer_new(&f->tok, f->vocab, &diag) < 0 || sl_split_new(&f->split, &diag) < 0)
        return -1;
    f->cursor = sl_split_cursor_new(f->split);
    *state = f;
    return f->cursor ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sl_split_cursor_free(f->cursor);
    sl_split_free(f->split);
    sl_tokenizer_free(f->tok);
    sl_vocab_free(f->vocab);
    free(f);
    return 0;
}

/* --- pieces */

/* parts: the pieces joined, each followed by | ; no text here has one. */
static void assert_pieces(struct fixture *f, const char *parts)
{
    char text[512], got[1024];
    size_t len = 0, n = 0;

    for (const char *p = parts; *p; p++)
        if (*p != '|')
            text[len++] = *p;
    for (size_t off = 0; off < len;) {
        int64_t end = sl_split_next(f->cursor, text, len, off);

        assert_in_range(end, off + 1, len);
        memcpy(got + n, text + off, (size_t)end - off);
        n += (size_t)end - off;
        got[n++] = '|';
        off = (size_t)end;
    }
    got[n] = '\0';
    assert_string_equal(got, parts);
}

static void test_pieces(void **state)
{
    static const char *const cases[] = {
        "Hello|,| World|!|",
        "don|'t| DON|'T| we|'ve| WE|'Ve| I|'m| he|'ll|'D|'lL|",
        " '|s|'s|'d|", "''|s|", "x|'|", "'r|", "r|'\xc5\xbf|",
        "123|456|7| |8|a|", "1|a|12|b|", "\xd9\xa1\xd9\xa2\xd9\xa3|\xd9\xa4|",
        "a| | b|", "a|  | b|", "a| |", "a|  |", " | a|", "\t|\ta|", "  | |1|",
        "   \n|  | x|", "a|\n|b|", "a|\r\n\r\n|b|", "a| \n \n|  |", "\n|  |", "\n\n| x|",
        "!\n\n\n|", " !\r\n| x|", "...\r\r\n| |", "!|  \n|",
        "\xc2\xa0| x|", "\t|!|", "\xc2\xa0|!|", "a| !|", "a|\xe3\x80\x80|\xe3\x80\x80x|",
        "\xe1\xa0\x8e\xe1\xa0\x8e|1|", "\xe2\x80\x8b\xe2\x80\x8b|",
        "if| (|x|[|0|]+=| -|y| &&|", "a|\xcc\x81|", "a|\xcc\x81z|",
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_pieces(*state, cases[i]);
}

static size_t put_char(char *out, uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

/* Whether before, cp and after are one piece. */
static bool is_joined(struct fixture *f, const char *before, uint32_t cp, const char *after)
{
    char text[16];
    size_t len = strlen(before);

    memcpy(text, before, len);
    len += put_char(text + len, cp);
    memcpy(text + len, after, strlen(after));
    len += strlen(after);
    return sl_split_next(f->cursor, text, len, 0) == (int64_t)len;
}

/* The numbers are llama.cpp's, which was asked for every code point: Unicode 15.1. A
 * PCRE2 with newer tables than 15.1 would be seen here. */
static void test_class_sizes(void **state)
{
    unsigned n_letters = 0, n_numbers = 0, n_spaces = 0;

    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        n_letters += is_joined(*state, "a", cp, "a");
        n_numbers += is_joined(*state, "1", cp, "1");
        n_spaces += is_joined(*state, "\t", cp, "\t") || cp == '\r' || cp == '\n';
    }
    assert_int_equal(n_letters, 136726);
    assert_int_equal(n_numbers, 1831);
    assert_int_equal(n_spaces, 25);
}

/* --- ids */

static void assert_ids(struct fixture *f, const char *text, size_t len, uint32_t flags,
                       const int32_t *want, size_t n_want)
{
    int32_t ids[IDS_MAX];

    assert_int_equal(sl_tokenizer_encode(f->tok, text, len, flags, ids, IDS_MAX), n_want);
    for (size_t i = 0; i < n_want; i++)
        if (ids[i] != want[i])
            fail_msg("\"%s\" flags %u: id %zu is %d, not %d", text, flags, i, ids[i], want[i]);
}

#define IDS(f, text, flags, ...)                                                              \
    do {                                                                                      \
        const int32_t ids_[] = {__VA_ARGS__};                                                 \
        assert_ids(f, text, sizeof(text) - 1, flags, ids_, sizeof(ids_) / sizeof(ids_[0]));   \
    } while (0)

#define B(c) (SMALL_BYTES + (unsigned char)(c))
#define M(i) (SMALL_MERGED + (i))

static void test_merge_order(void **state)
{
    struct fixture *f = *state;

    assert_ids(f, "", 0, 0, NULL, 0);
    IDS(f, "abc", 0, M(2));
    IDS(f, "abcb", 0, M(2), B('b'));
    IDS(f, "bcabc", 0, M(1), M(2)); /* ab before bc, then what is left of bc */
    IDS(f, "aabb", 0, B('a'), M(0), B('b'));
    IDS(f, "lll", 0, M(14), B('l')); /* leftmost first */
    IDS(f, "llll", 0, M(14), M(14));
    IDS(f, "the the", 0, M(4), M(5));
    IDS(f, "1231", 0, M(10), B('1'));
    IDS(f, "        x", 0, M(7), M(6), B(' '), B(' '), B('x'));
    IDS(f, "\xc3\xa9", 0, M(13));
    IDS(f, "\n\n\n", 0, M(8), B('\n'));
    IDS(f, "zebra", 0, SMALL_ZEBRA); /* no merge makes it: a whole piece */
    IDS(f, "azebra", 0, B('a'), B('z'), B('e'), B('b'), B('r'), B('a'));
    IDS(f, "(p", 0, M(11));
    IDS(f, "1(p", 0, B('1'), M(11));
    IDS(f, "!(p", 0, B('!'), B('('), B('p')); /* ! and ( are one piece */
}

static void test_special(void **state)
{
    struct fixture *f = *state;

    IDS(f, "ab<|im_end|>ab", SL_TOKENIZER_SPECIAL, M(0), SMALL_IM_END, M(0));
    IDS(f, "<|im_end|>", SL_TOKENIZER_SPECIAL, SMALL_IM_END);
    IDS(f, "<|im_end|", SL_TOKENIZER_SPECIAL, B('<'), B('|'), B('i'), B('m'), B('_'), B('e'),
        B('n'), B('d'), B('|'));
    IDS(f, "<|im_end|>", 0, B('<'), B('|'), B('i'), B('m'), B('_'), B('e'), B('n'), B('d'), B('|'),
        B('>'));
    IDS(f, "<<|pad|><|pad|>|", SL_TOKENIZER_SPECIAL, B('<'), SMALL_PAD, SMALL_PAD, B('|'));
    IDS(f, "two words", 0, SMALL_LITERAL); /* user-defined: always */
    IDS(f, "a<think>", 0, B('a'), SMALL_THINK);
    /* the longer of two that overlap, wherever it begins, if it is to be cut at all */
    IDS(f, "<think>tails", SL_TOKENIZER_SPECIAL, B('<'), M(3), B('i'), SMALL_NK_TAIL);
    IDS(f, "<think>tails", 0, SMALL_THINK, B('t'), B('a'), B('i'), B('l'), B('s'));
    IDS(f, "<think>tail", SL_TOKENIZER_SPECIAL, SMALL_THINK, B('t'), B('a'), B('i'), B('l'));
    /* what is cut out ends the text before it: the blanks stay together */
    IDS(f, "  <think>  x", 0, M(6), SMALL_THINK, B(' '), B(' '), B('x'));
}

static void test_flags(void **state)
{
    struct fixture *f = *state;
    int32_t ids[3] = {-7, -7, -7};

    IDS(f, "ab", SL_TOKENIZER_BOS, SMALL_BOS, M(0));
    IDS(f, "", SL_TOKENIZER_BOS, SMALL_BOS);
    /* more ids than room: the count is right, and no more is written */
    assert_int_equal(sl_tokenizer_encode(f->tok, "xyz.", 4, 0, ids, 2), 4);
    assert_int_equal(ids[0], B('x'));
    assert_int_equal(ids[1], B('y'));
    assert_int_equal(ids[2], -7);
    assert_int_equal(sl_tokenizer_encode(f->tok, "xyz.", 4, 0, NULL, 0), 4);
    assert_int_equal(sl_tokenizer_encode(f->tok, "", SL_TOKENIZER_TEXT_BYTES_MAX + 1u, 0, NULL, 0),
                     -E2BIG);
}

static void test_eos_where_wanted(void **state)
{
    struct small_store *store = calloc(1, sizeof(*store));
    struct sl_vocab_opts opts;
    struct fixture f = {0};

    assert_non_null(store);
    small_vocab_opts(&opts, store);
    opts.add_bos = false;
    opts.add_eos = true;
    assert_int_equal(sl_vocab_new(&f.vocab, &opts, NULL), 0);
    assert_int_equal(sl_tokenizer_new(&f.tok, f.vocab, NULL), 0);
    IDS(&f, "ab", SL_TOKENIZER_BOS, M(0), SMALL_IM_END);
    IDS(&f, "ab", 0, M(0));
    sl_tokenizer_free(f.tok);
    sl_vocab_free(f.vocab);
    free(store);
}

static void test_bytes_without_token(void **state)
{
    struct small_store *store = calloc(1, sizeof(*store));
    struct sl_vocab_opts opts;
    struct fixture f = {0};

    assert_non_null(store);
    small_vocab_opts(&opts, store);
    store->tokens[SMALL_BYTES + 'z'] = (struct sl_str_view){"other", 5};
    assert_int_equal(sl_vocab_new(&f.vocab, &opts, NULL), 0);
    assert_int_equal(sl_tokenizer_new(&f.tok, f.vocab, NULL), 0);
    IDS(&f, "abzab", 0, M(0), M(0));
    assert_ids(&f, "z", 1, 0, NULL, 0);
    sl_tokenizer_free(f.tok);
    sl_vocab_free(f.vocab);
    free(store);
}

/* --- every byte comes back */

static void assert_round_trip(const struct fixture *f, const char *text, size_t len, uint32_t flags)
{
    int32_t *ids = malloc((len + 1) * sizeof(*ids));
    int64_t n = sl_tokenizer_encode(f->tok, text, len, flags, ids, len + 1);
    size_t off = 0;

    assert_in_range(n, 0, len);
    for (int64_t i = 0; i < n; i++) {
        struct sl_str_view piece = sl_vocab_piece(f->vocab, ids[i]);

        assert_true(piece.len <= len - off);
        assert_memory_equal(text + off, piece.ptr, piece.len);
        off += piece.len;
    }
    assert_int_equal(off, len);
    free(ids);
}

static void test_invalid_bytes(void **state)
{
    struct fixture *f = *state;

    IDS(f, "ab\xff" "ab", 0, M(0), B(0xff), M(0));
    IDS(f, "\xc3", 0, B(0xc3));
    IDS(f, "\xc3\xc3\xa9", 0, B(0xc3), M(13));
    IDS(f, "\xed\xa0\x80", 0, B(0xed), B(0xa0), B(0x80)); /* a surrogate */
    IDS(f, "\xc0\x80\0", 0, B(0xc0), B(0x80), B(0));
    IDS(f, "  \xff", 0, M(6), B(0xff)); /* text ends where it stops being UTF-8 */
    IDS(f, "<|im\xff_end|>", SL_TOKENIZER_SPECIAL, B('<'), B('|'), B('i'), B('m'), B(0xff), B('_'),
        B('e'), B('n'), B('d'), B('|'), B('>'));
}

static void test_random_bytes_come_back(void **state)
{
    static const char *const parts[] = {
        "<|im_end|>", "<think>tails", "the ", "  ", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80",
        "12", "abc", "'s", "\xe4\xb8", "two words",
    };
    uint64_t seed = make_seed();
    char text[400];

    for (int round = 0; round < 3000; round++) {
        size_t len = 0, n = next_random(&seed) % 20;

        for (size_t i = 0; i < n; i++) {
            uint64_t x = next_random(&seed);
            const char *part = parts[x % (sizeof(parts) / sizeof(parts[0]))];

            if (x >> 32 & 1) {
                memcpy(text + len, part, strlen(part));
                len += strlen(part);
            } else {
                text[len++] = (char)(x >> 40);
            }
        }
        assert_round_trip(*state, text, len, 0);
        assert_round_trip(*state, text, len, SL_TOKENIZER_SPECIAL);
    }
}

static void test_long_runs(void **state)
{
    static const char *const units[] = {"a", " ", "\n", "7", "\xe4\xb8\xad", "!", " \n", "\n ", "<",
                                        "<|im_end|>", "<think>", "\xff", "'s", " x", "\xcc\x81"};
    const size_t len = 1 << 20;
    char *text = malloc(len);

    assert_non_null(text);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n_unit = strlen(units[i]), n = len / n_unit * n_unit;

        for (size_t off = 0; off < n; off += n_unit)
            memcpy(text + off, units[i], n_unit);
        assert_round_trip(*state, text, n, SL_TOKENIZER_SPECIAL);
    }
    free(text);
}

/* --- threads */

static void *encode_often(void *arg)
{
    static const char text[] = "the abc <|im_end|>  \n 123 <think>\xff the";
    struct fixture *f = arg;
    const uint32_t flags = SL_TOKENIZER_SPECIAL;
    int32_t ids[64];
    int64_t want = sl_tokenizer_encode(f->tok, text, sizeof(text) - 1, flags, ids, 64);

    for (int i = 0; i < 200; i++)
        if (sl_tokenizer_encode(f->tok, text, sizeof(text) - 1, flags, ids, 64) != want)
            return f;
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    void *wrong;

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, *state), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

/* --- stream */

/* Feed text in parts of step bytes; the output, ended. */
static size_t stream(const char *text, size_t len, size_t step, char *out)
{
    struct sl_utf8_stream s = {0};
    size_t n = 0;

    for (size_t off = 0; off < len; off += step) {
        size_t part = len - off < step ? len - off : step;
        size_t put = sl_utf8_stream_feed(&s, text + off, part, out + n);

        assert_true(put <= 3 * part + 9);
        assert_true(s.n_held <= 3);
        n += put;
    }
    n += sl_utf8_stream_end(&s, out + n);
    assert_int_equal(sl_utf8_stream_end(&s, out + n), 0);
    return n;
}

#define R "\xef\xbf\xbd"

static void test_stream(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"abc", "abc"},
        {"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"},
        {"\xff", R},
        {"\x80" "a", R "a"},
        {"\xc3", R},
        {"\xc3" "a", R "a"},
        {"\xe4\xb8", R},
        {"\xe4\xb8" "a", R "a"},
        {"\xe4\xb8\xc3\xa9", R "\xc3\xa9"},
        {"\xf0\x9f\x98", R},
        {"\xf0\x9f\x98\xff", R R},
        {"\xc0\x80", R R},
        {"\xed\xa0\x80", R R R},
        {"\xf4\x90\x80\x80", R R R R},
        {"\xf8\x88\x80\x80\x80", R R R R R},
        {"\xe0\x80\x80", R R R},
        {"\xf0\x80\x80\x80", R R R R},
        /* Unicode 16, table 3-11 */
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf" "A", R R R R "A"},
    };
    char out[64];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t step = 1; step <= 6; step++) {
            size_t n = stream(cases[i].in, strlen(cases[i].in), step, out);

            out[n] = '\0';
            assert_string_equal(out, cases[i].out);
        }
}

static void test_stream_shows_at_once(void **state)
{
    struct sl_utf8_stream s = {0};
    char out[32];

    assert_int_equal(sl_utf8_stream_feed(&s, "a\xf0\x9f", 3, out), 1);
    assert_int_equal(sl_utf8_stream_feed(&s, "\x98", 1, out), 0);
    assert_int_equal(sl_utf8_stream_feed(&s, "\x80" "b", 2, out), 5);
    assert_memory_equal(out, "\xf0\x9f\x98\x80" "b", 5);
    assert_int_equal(sl_utf8_stream_feed(&s, "", 0, out), 0);
}

/* --- the real vocabulary */

static void test_held_out_text(void **state)
{
    const char *shared = getenv("SL_SHARED");
    char path[3][4096];
    static const char *const names[] = {"tiny-q4_k_m.gguf", "tiny-val.txt", "tiny-val.ids"};
    static char text[1 << 16], list[1 << 16];
    int32_t *ids = malloc(sizeof(text) * sizeof(*ids));
    struct fixture f = {0};
    struct sl_diag diag = {""};
    FILE *files[2];
    size_t len, n = 0;
    int64_t n_ids;

    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof(path[i]), "%s/models/%s", shared ? shared : SHARED_DEFAULT,
                 names[i]);
    for (int i = 0; i < 2; i++)
        files[i] = fopen(path[i + 1], "rb");
    if (!files[0] || !files[1]) {
        print_message("skipped: no %s (SL_SHARED names the folder of models/)\n", path[1]);
        free(ids);
        skip();
    }
    len = fread(text, 1, sizeof(text), files[0]);
    list[fread(list, 1, sizeof(list) - 1, files[1])] = '\0';
    fclose(files[0]);
    fclose(files[1]);
    if (gguf_vocab_read(&f.vocab, path[0], &diag) < 0)
        fail_msg("%s", diag.text);
    assert_int_equal(sl_tokenizer_new(&f.tok, f.vocab, &diag), 0);

    n_ids = sl_tokenizer_encode(f.tok, text, len, 0, ids, sizeof(text));
    for (char *p = list, *end;; p = end, n++) {
        long id = strtol(p + strspn(p, ", \n"), &end, 10);

        if (end == p + strspn(p, ", \n"))
            break;
        assert_true((int64_t)n < n_ids);
        assert_int_equal(ids[n], id);
    }
    assert_int_equal(n, n_ids);
    assert_true(n > 7000);
    assert_round_trip(&f, text, len, 0);
    sl_tokenizer_free(f.tok);
    sl_vocab_free(f.vocab);
    free(ids);
}

static void test_has_jit(void **state)
{
    const struct fixture *f = *state;

#ifdef WITHOUT_JIT
    assert_false(sl_tokenizer_has_jit(f->tok));
#else
    print_message("JIT: %s\n", sl_tokenizer_has_jit(f->tok) ? "yes" : "not on this machine");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_class_sizes),
        cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_eos_where_wanted),
        cmocka_unit_test(test_bytes_without_token),
        cmocka_unit_test(test_invalid_bytes),
        cmocka_unit_test(test_random_bytes_come_back),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_shows_at_once),
        cmocka_unit_test(test_held_out_text),
        cmocka_unit_test(test_has_jit),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
