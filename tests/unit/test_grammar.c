/*
 * GBNF grammars over texts: what each construct matches, how errors are told, and limits
 * that hold: left recursion, endless rules, deep nesting, ambiguity, repetition. Texts are
 * also fed one byte at a time, and past the point where states are forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar.h"
#include "text/matcher.h"
#include "text/stackset.h"

static struct sl_grammar *compile(const char *text)
{
    struct sl_grammar *grammar = NULL;
    struct sl_diag diag = {""};

    if (sl_grammar_new(&grammar, text, strlen(text), &diag) != 0)
        fail_msg("%s\n%s", diag.text, text);
    return grammar;
}

/* Whether the whole text matches; at once and by bytes must agree. */
static bool matches_bytes(const struct sl_grammar *grammar, const char *text, size_t len)
{
    struct sl_matcher *at_once = NULL, *by_bytes = NULL;
    bool whole, parts = true;
    int r;

    assert_int_equal(sl_matcher_new(&at_once, grammar), 0);
    assert_int_equal(sl_matcher_clone(&by_bytes, at_once), 0);
    r = sl_matcher_accept(at_once, text, len);
    assert_in_range(r, 0, 1);
    whole = r == 1;
    for (size_t i = 0; i < len && parts; i++)
        parts = sl_matcher_accept(by_bytes, text + i, 1) == 1;
    assert_int_equal(whole, parts);
    whole = whole && sl_matcher_is_done(at_once);
    assert_int_equal(whole, parts && sl_matcher_is_done(by_bytes));
    sl_matcher_free(at_once);
    sl_matcher_free(by_bytes);
    return whole;
}

/* A grammar, texts that match and texts that do not; both lists end in NULL. */
static void check(const char *text, const char *const *good, const char *const *bad)
{
    struct sl_grammar *grammar = compile(text);

    for (; *good; good++)
        if (!matches_bytes(grammar, *good, strlen(*good)))
            fail_msg("does not match \"%s\":\n%s", *good, text);
    for (; *bad; bad++)
        if (matches_bytes(grammar, *bad, strlen(*bad)))
            fail_msg("matches \"%s\":\n%s", *bad, text);
    sl_grammar_free(grammar);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING ((const char *const[]){NULL})

static void test_terminals(void **state)
{
    check("root ::= \"ab\" \"c\"", LIST("abc"), LIST("", "ab", "abcd", "ABC"));
    check("root ::= [a-cx]", LIST("a", "b", "c", "x"), LIST("", "d", "-", "ab"));
    check("root ::= [-a]", LIST("-", "a"), LIST("b"));
    check("root ::= [a-]", LIST("-", "a"), LIST("b"));
    check("root ::= [^a-c]", LIST("d", "-", "\n", "\xc3\xa4"), LIST("", "a", "b", "c", "\xc3"));
    check("root ::= [\\]\\[\\-\\^\\\\\\\"]", LIST("]", "[", "-", "^", "\\", "\""), LIST("a"));
    check("root ::= \"\\\"\\\\\\n\\r\\t[]-^\"", LIST("\"\\\n\r\t[]-^"), LIST("n"));
    check("root ::= .", LIST("a", "\n", "\xe2\x82\xac", "\xf0\x9f\x98\x80"),
          LIST("", "aa", "\x80", "\xff", "\xe2\x82"));
    check("root ::= \"\"", LIST(""), LIST("a"));
    check("root ::= \"\\x41\\u00e4\\U0001F600\"", LIST("A\xc3\xa4\xf0\x9f\x98\x80"), LIST("A"));
}

static void test_utf8(void **state)
{
    check("root ::= [\xc3\xa4-\xc3\xbc]", LIST("\xc3\xa4", "\xc3\xb6", "\xc3\xbc"),
          LIST("\xc3\xa3", "\xc3\xbd", "a"));
    check("root ::= [\\x7F-\\u0800]", LIST("\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80"),
          LIST("~", "\xe0\xa0\x81", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80"));
    check("root ::= [\\uFFFF-\\U00010000]", LIST("\xef\xbf\xbf", "\xf0\x90\x80\x80"),
          LIST("\xef\xbf\xbe", "\xf0\x90\x80\x81", "\xf0\x80\x80\x80"));
    check("root ::= .", LIST("\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"),
          LIST("\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80"));
    check("root ::= [^\\x00-\\uFFFF]", LIST("\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"),
          LIST("a", "\xef\xbf\xbf"));
}

/* Every character's UTF-8 and nothing else matches a class, around all its edges. */
static void test_utf8_all(void **state)
{
    struct sl_grammar *grammar =
        compile("root ::= [\\x03-\\x30\\u0123-\\u0456\\u1001-\\u9ABC\\uD123-\\uE234"
                "\\U00012345-\\U000ABCDE]");
    static const uint32_t edges[][2] = {{0x3, 0x30}, {0x123, 0x456}, {0x1001, 0x9ABC},
                                        {0xD123, 0xE234}, {0x12345, 0xABCDE}};
    struct sl_matcher *matcher = NULL;

    assert_int_equal(sl_matcher_new(&matcher, grammar), 0);
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char b[4] = {(char)(0xF0 | cp >> 18), (char)(0x80 | (cp >> 12 & 0x3F)),
                     (char)(0x80 | (cp >> 6 & 0x3F)), (char)(0x80 | (cp & 0x3F))};
        uint32_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        int64_t at = sl_matcher_begin(matcher);
        bool want = false;

        if (n < 4)
            b[4 - n] = (char)(n == 1 ? cp : n == 2 ? 0xC0 | cp >> 6 : 0xE0 | cp >> 12);
        for (uint32_t i = 4 - n; i < 4; i++)
            at = sl_matcher_step(matcher, (uint32_t)at, (unsigned char)b[i]);
        for (size_t i = 0; i < sizeof(edges) / sizeof(*edges); i++)
            want |= cp >= edges[i][0] && cp <= edges[i][1] && (cp < 0xD800 || cp > 0xDFFF);
        if (want != (at != SL_MATCHER_DEAD))
            fail_msg("U+%04X", cp);
    }
    sl_matcher_free(matcher);
    sl_grammar_free(grammar);
}

static void test_structure(void **state)
{
    check("root ::= \"a\" | \"b\" | \"cd\"", LIST("a", "b", "cd"), LIST("", "c", "ab"));
    check("root ::= \"x\" (\"a\" | \"b\") \"y\"", LIST("xay", "xby"), LIST("xy", "xaby", "ay"));
    check("root ::= \"x\" (\"a\" |) \"y\" | ", LIST("xay", "xy", ""), LIST("x", "a"));
    check("root ::= ()", LIST(""), LIST("a"));
    check("root ::= a b a\na ::= \"1\"\nb ::= \"2\"", LIST("121"), LIST("12", "112"));
    check("a-1_B ::= \"1\"\nroot ::= a-1_B", LIST("1"), LIST("2"));
    check("# all\n\nroot ::= # then\n  \"a\" | # or\n\n \"b\" (# within\n \"c\" #\n | \"d\"\n)"
          "\r\n\r\n#",
          LIST("a", "bc", "bd"), LIST("b", "ab"));
    check("root::=\"a\"|\"b\"", LIST("a", "b"), LIST("ab"));
    check("root ::= a \"b\"\na ::= \"\" | \"a\" a", LIST("b", "ab", "aaab"), LIST("a", "ba"));
}

static void test_repetition(void **state)
{
    check("root ::= \"a\"*", LIST("", "a", "aaaa"), LIST("b", "ab"));
    check("root ::= \"a\"+ \"b\"?", LIST("a", "aab"), LIST("", "b", "abb"));
    check("root ::= [ab]{3}", LIST("aba", "bbb"), LIST("ab", "abab"));
    check("root ::= [ab]{2,} \"c\"", LIST("abc", "abababc"), LIST("ac", "c", "ab"));
    check("root ::= \"a\"{ 1 , 3 }", LIST("a", "aaa"), LIST("", "aaaa"));
    check("root ::= (\"a\" | \"bc\"){0,2} \"d\"", LIST("d", "ad", "bcd", "abcd", "bcad"),
          LIST("aaad", "abd", "bcbcbcd"));
    check("root ::= (\"ab\"){2,3}", LIST("abab", "ababab"), LIST("ab", "abababab", "aba"));
    check("root ::= (\"ab\"){3,}", LIST("ababab", "abababab"), LIST("abab", "ababa"));
    check("root ::= \"x\" \"a\"{0} \"y\"", LIST("xy"), LIST("xay"));
    check("root ::= \"a\"?* \"b\"", LIST("b", "aaab"), LIST("a"));
    check("root ::= (\"a\"*)* \"b\"", LIST("b", "aaab"), LIST("a"));
    check("root ::= (\"a\"* \"b\"*){2} \"c\"", LIST("c", "abc", "abbaac", "baac"),
          LIST("ababac", "babac"));
    check("root ::= (\"a\"{2}){2}", LIST("aaaa"), LIST("aa", "aaaaaa"));
    check("root ::= n{1,3}\nn ::= \"\" | \"z\"", LIST("", "z", "zzz"), LIST("zzzz"));
}

static void test_recursion(void **state)
{
    check("root ::= \"(\" root \")\" | \"x\"", LIST("x", "(x)", "(((x)))"), LIST("(x", "x)", "()"));
    check("root ::= \"(\" root \")\" root |", LIST("", "()", "(())()", "()()()"),
          LIST("(", ")", "())"));
    check("root ::= \"a\" root \"a\" | \"b\" root \"b\" |", LIST("", "aa", "abba", "abbbba"),
          LIST("ab", "aba", "a"));
    check("root ::= \"a\" root | \"a\"", LIST("a", "aaaaaaaaaa"), LIST("", "b"));
    check("root ::= e \"c\"\ne ::= f f f\nf ::= \"a\" | g\ng ::= \"b\"?",
          LIST("c", "ac", "abc", "bbbc", "bac"), LIST("aaaac", "a"));
    /* a rule that can be empty stands in front of one that ends with it */
    check("root ::= s \"!\"\ns ::= o \"x\" s o | \"y\"\no ::= \"z\"?",
          LIST("y!", "xy!", "zxyz!", "xzxyzz!"), LIST("zy!", "zxyzz!"));
}

static void check_error(const char *text, int code, const char *want)
{
    struct sl_grammar *grammar = NULL;
    struct sl_diag diag = {""};
    int r = sl_grammar_new(&grammar, text, strlen(text), &diag);

    assert_null(grammar);
    assert_int_equal(r, code);
    if (!strstr(diag.text, want))
        fail_msg("\"%s\" is not in \"%s\"", want, diag.text);
}

static void test_syntax_errors(void **state)
{
    const int bad = -EBADMSG;

    check_error("", bad, "no rule called \"root\"");
    check_error("a ::= \"x\"", bad, "no rule called \"root\"");
    check_error("root ::= \"x", bad, "line 1, column 12: expected \" at the end of the literal, "
                                     "found the end of the grammar");
    check_error("root ::= [x", bad, "line 1, column 12: expected ] at the end of the class");
    check_error("root ::= (\"a\"\n", bad, "line 2, column 1: expected an item, | or ), found the "
                                         "end of the grammar");
    check_error("root ::= \"a\" )", bad, "line 1, column 14: expected an item, | or the end of "
                                         "the line, found ')'");
    check_error("root = \"a\"", bad, "line 1, column 6: expected ::= behind the name of a rule, "
                                     "found '='");
    check_error("root ::= \"a\"\n\n  \xc3\xa4 ::= \"b\"", bad,
                "line 3, column 3: expected the name of a rule, found '\xc3\xa4'");
    check_error("root ::= \"\xc3\xa4\" %", bad, "line 1, column 14: expected");
    check_error("root ::= * \"a\"", bad, "line 1, column 10: expected");
    check_error("root ::= \"\\q\"", bad, "line 1, column 12: expected one of n r t");
    check_error("root ::= \"\\x4\"", bad, "column 14: expected 2 hexadecimal digits behind \\x");
    check_error("root ::= [\\u12x4]", bad, "expected 4 hexadecimal digits");
    check_error("root ::= [\\U00110000]", bad, "above U+10FFFF");
    check_error("root ::= \"\\uD800\"", bad, "surrogate");
    check_error("root ::= []", bad, "line 1, column 10: expected a character in the class");
    check_error("root ::= [^\\x00-\\U0010FFFF]", bad, "expected a character in the class");
    check_error("root ::= [z-a]", bad, "line 1, column 11: expected a range from low to high");
    check_error("root ::= \"a\"{", bad, "expected a number of repetitions");
    check_error("root ::= \"a\"{2,1}", bad, "found a most below the least");
    check_error("root ::= \"a\"{2 3}", bad, "expected , or }, found '3'");
    check_error("root ::= \"a\"{100001}", -E2BIG, "up to 100000");
    check_error("root ::= \"a\"{99999999999999999999}", -E2BIG, "up to 100000");
    check_error("root ::= <think", bad, "expected > at the end of a token");
    check_error("root ::= <[12>", bad, "expected ]> behind the number of a token");
    check_error("root ::= !<think>", -ENOTSUP, "negated tokens are not supported");
    check_error("root ::= \"\xff\"", bad, "expected UTF-8, found byte 0xff");
    check_error("root ::= \x01", bad, "found character U+0001");
    check_error("root ::= \"a\" b", bad, "line 1, column 14: expected the name of a rule, found "
                                         "\"b\", which none has");
    check_error("root ::= \"a\"\nroot ::= \"b\"", bad,
                "line 2, column 1: rule \"root\" is there already, on line 1");
}

static void test_bad_rules(void **state)
{
    check_error("root ::= root \"a\" | \"b\"", -EBADMSG, "line 1: rule \"root\" is left-recursive");
    check_error("root ::= \"x\" a\na ::= b\nb ::= c?  \"1\" | a \"2\"\nc ::= \"3\"", -EBADMSG,
                "is left-recursive");
    check_error("root ::= c root \"a\" | \"b\"\nc ::= \"d\"*", -EBADMSG, "is left-recursive");
    check_error("root ::= (\"a\" | (root \"b\")){2}", -EBADMSG, "\"root\" is left-recursive");
    check_error("root ::= root", -EBADMSG, "never end");
    check_error("root ::= \"a\" | b\nb ::= \"x\" b", -EBADMSG,
                "line 2: rule \"b\" can never end");
    /* not left recursion: something is read in between */
    check("root ::= a root \"a\" | \"b\"\na ::= \"d\"+", LIST("b", "dba", "dddba", "dddbaaa"),
          LIST("bb", "dbaa", ""));
}

static void test_large(void **state)
{
    static char text[2 * SL_STACKSET_DEPTH_MAX + 3];
    const size_t n = SL_STACKSET_DEPTH_MAX;
    struct sl_grammar *grammar = compile("root ::= \"(\" root \")\" | \"x\"");

    /* as deep as allowed, and one deeper */
    memset(text, '(', n);
    text[n] = 'x';
    memset(text + n + 1, ')', n);
    assert_true(matches_bytes(grammar, text, 2 * n + 1));
    memset(text, '(', n + 1);
    text[n + 1] = 'x';
    memset(text + n + 2, ')', n + 1);
    assert_false(matches_bytes(grammar, text, 2 * n + 3));
    sl_grammar_free(grammar);

    check_error("root ::= (\"ab\"{100} \"cd\"{100000} | [x-z]{20000} \"ef\"{100000}){2,3} | "
                "\"x\"{100000} \"y\"{100000} \"z\"{100000} [a]{100000} [b]{100000} [c]{100000} "
                "[d]{100000} [e]{100000} [f]{100000}", -E2BIG, "too large");
    check_error("root ::= x{100000}\nx ::= \"a\"?", -E2BIG, "too large");
    /* from each x the way leads through all that is empty: not 3e10 steps */
    check_error("root ::= \"x\"{0,100000} \"\"{0,100000} \"\"{0,100000} \"\"{0,100000}", -E2BIG,
                "too many parts in a row that may be empty");
}

/* Groups within groups: bounded, told with the place. */
static void test_groups(void **state)
{
    char text[1024] = "root ::= ", *at = text + 9;

    memset(at, '(', 200);
    strcpy(at + 200, "\"a\"");
    memset(at + 203, ')', 200);
    at[403] = '\0';
    check(text, LIST("a"), LIST("", "aa"));
    memset(at, '(', 201);
    at[201] = '\0';
    check_error(text, -E2BIG, "column 210: more than 200 groups");
}

/* 2^n ways of nesting at n levels: the work must not grow so. */
static void test_ambiguity(void **state)
{
    char text[1024];
    struct sl_grammar *grammar = compile("root ::= a | b | \"x\"\n"
                                         "a ::= \"(\" root \")\" | \"(\" a2 \")\"\n"
                                         "a2 ::= root | root \" \"\n"
                                         "b ::= \"(\" root [)]\n");

    memset(text, '(', 300);
    text[300] = 'x';
    memset(text + 301, ')', 300);
    assert_true(matches_bytes(grammar, text, 601));
    text[350] = ' ';
    assert_true(matches_bytes(grammar, text, 600) == false);
    sl_grammar_free(grammar);
    grammar = compile("root ::= (([a-z]+ \" \"?){1,1000} | [a-z ]*) \".\"");
    memset(text, 'a', 999);
    text[999] = '.';
    assert_true(matches_bytes(grammar, text, 1000));
    sl_grammar_free(grammar);
}

/* Where it would take too long: an error, soon, and the state stays. */
static void test_too_ambiguous(void **state)
{
    struct sl_grammar *grammar = compile("root ::= (a{0,400} b{0,400}){0,400}\n"
                                         "a ::= ([a-z ]{1,400} | b b){1,400}\n"
                                         "b ::= [b-z ]{1,400} [c-z]{1,400}");
    struct sl_matcher *matcher = NULL;
    char text[400];

    memset(text, 'c', sizeof(text));
    assert_int_equal(sl_matcher_new(&matcher, grammar), 0);
    assert_int_equal(sl_matcher_accept(matcher, text, sizeof(text)), -E2BIG);
    assert_int_equal(sl_matcher_accept(matcher, "A", 1), 0);
    assert_int_equal(sl_matcher_accept(matcher, "a", 1), 1);
    assert_int_equal(sl_matcher_accept(matcher, text, 10), 1);
    sl_matcher_free(matcher);
    sl_grammar_free(grammar);
}

/* Long texts whose states do not repeat: forgetting must not change anything. */
static void test_forgetting(void **state)
{
    struct sl_grammar *grammar = compile("root ::= (\"(\" root \")\" | [a-y]{0,90000} \"z\" | "
                                         "[ACEGIKMOQSUWY]){1,3}");
    struct sl_matcher *matcher = NULL;
    static char text[100000];
    uint64_t generation;

    memset(text, 'a', sizeof(text));
    assert_int_equal(sl_matcher_new(&matcher, grammar), 0);
    assert_int_equal(sl_matcher_accept(matcher, "((((", 4), 1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 90000; i += 1000)
            assert_int_equal(sl_matcher_accept(matcher, text, 1000), 1);
        assert_int_equal(sl_matcher_accept(matcher, "a", 1), 0);
        assert_int_equal(sl_matcher_accept(matcher, "z", 1), 1);
    }
    generation = sl_matcher_generation(matcher);
    assert_true(generation > 0);
    assert_int_equal(sl_matcher_accept(matcher, "z", 1), 0);
    assert_int_equal(sl_matcher_accept(matcher, "))))", 4), 1);
    assert_true(sl_matcher_is_done(matcher));
    assert_int_equal(sl_matcher_accept(matcher, ")", 1), 0);
    sl_matcher_free(matcher);
    sl_grammar_free(grammar);
}

/* A clone goes its own way. */
static void test_clone(void **state)
{
    struct sl_grammar *grammar = compile("root ::= \"(\" root \")\" | [ab]");
    struct sl_matcher *one = NULL, *other = NULL;

    assert_int_equal(sl_matcher_new(&one, grammar), 0);
    assert_int_equal(sl_matcher_accept(one, "((", 2), 1);
    assert_int_equal(sl_matcher_clone(&other, one), 0);
    assert_int_equal(sl_matcher_accept(one, "a))", 3), 1);
    assert_int_equal(sl_matcher_accept(other, "(b)", 3), 1);
    assert_true(sl_matcher_is_done(one));
    assert_false(sl_matcher_is_done(other));
    sl_matcher_free(one);
    assert_int_equal(sl_matcher_accept(other, "))", 2), 1);
    assert_true(sl_matcher_is_done(other));
    sl_matcher_free(other);
    sl_grammar_free(grammar);
}

/* What does not match leaves the state as it was. */
static void test_refusal(void **state)
{
    struct sl_grammar *grammar = compile("root ::= \"ab\" \"cd\"");
    struct sl_matcher *matcher = NULL;

    assert_int_equal(sl_matcher_new(&matcher, grammar), 0);
    assert_int_equal(sl_matcher_accept(matcher, "abx", 3), 0);
    assert_int_equal(sl_matcher_accept(matcher, "abc", 3), 1);
    assert_int_equal(sl_matcher_accept(matcher, "dd", 2), 0);
    assert_int_equal(sl_matcher_accept(matcher, "", 0), 1);
    assert_int_equal(sl_matcher_accept(matcher, "d", 1), 1);
    assert_true(sl_matcher_is_done(matcher));
    sl_matcher_free(matcher);
    sl_grammar_free(grammar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminals),     cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_all),      cmocka_unit_test(test_structure),
        cmocka_unit_test(test_repetition),    cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_syntax_errors), cmocka_unit_test(test_bad_rules),
        cmocka_unit_test(test_large),         cmocka_unit_test(test_groups),
        cmocka_unit_test(test_ambiguity),     cmocka_unit_test(test_too_ambiguous),
        cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_clone),         cmocka_unit_test(test_refusal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
