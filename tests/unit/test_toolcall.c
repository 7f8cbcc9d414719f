/*
 * Replies split into text, reasoning and calls: every case whole, byte by byte, and cut
 * in two at each place; values as Python reads them; calls rendered and read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "text/pyliteral.h"
#include "text/reply.h"
#include "text/toolcall.h"
#include "text/utf8.h"

#define S "<|tool_call_start|>"
#define E "<|tool_call_end|>"

/* Events as one text: T{...}, R{...}, C{name arguments}; pieces in a row make one. */
struct heard {
    struct sl_strbuf out;
    enum sl_reply_kind kind;
    uint32_t n_calls;
    bool open, utf8;
};

static void hear(void *user, const struct sl_reply_event *event)
{
    struct heard *heard = user;

    assert_true(event->len > 0);
    if (heard->utf8)
        assert_int_equal(sl_utf8_valid_len(event->text, event->len), event->len);
    if (heard->open && (heard->kind != event->kind || event->kind == SL_REPLY_CALL))
        sl_strbuf_add_str(&heard->out, "}");
    if (!heard->open || heard->kind != event->kind || event->kind == SL_REPLY_CALL)
        sl_strbuf_add_fmt(&heard->out, "%c{", "TRC"[event->kind]);
    if (event->kind == SL_REPLY_CALL) {
        assert_int_equal(event->i_call, heard->n_calls++);
        sl_strbuf_add_fmt(&heard->out, "%s ", event->name);
    } else {
        assert_null(event->name);
    }
    sl_strbuf_add(&heard->out, event->text, event->len);
    heard->open = true;
    heard->kind = event->kind;
}

struct reply_case {
    const char *in, *want;
    enum sl_reply_think think;
    bool no_calls;
};

static const char *const tools[] = {"get_time", "get", "ns.f", "get_weather"};

/* Feed the first `cut` bytes, then the rest in pieces of `step`. */
static void check_cut(const struct reply_case *c, size_t cut, size_t step)
{
    struct heard heard = {.utf8 = sl_utf8_valid_len(c->in, strlen(c->in)) == strlen(c->in)};
    struct sl_reply_opts opts = {
        .think = c->think,
        .calls = !c->no_calls,
        .tools = tools,
        .n_tools = 4,
        .fn = hear,
        .user = &heard,
    };
    size_t len = strlen(c->in);
    struct sl_reply *reply = NULL;

    assert_int_equal(sl_reply_new(&reply, &opts), 0);
    assert_int_equal(sl_reply_feed(reply, c->in, cut), 0);
    for (size_t i = cut; i < len; i += step)
        assert_int_equal(sl_reply_feed(reply, c->in + i, i + step < len ? step : len - i), 0);
    assert_int_equal(sl_reply_end(reply), 0);
    if (heard.open)
        sl_strbuf_add_str(&heard.out, "}");
    sl_strbuf_add(&heard.out, "", 0);
    if (strcmp(heard.out.ptr, c->want) != 0)
        fail_msg("%s\ncut at %zu, then %zu:\n  %s\nexpected:\n  %s", c->in, cut, step,
                 heard.out.ptr, c->want);
    sl_reply_free(reply);
    sl_strbuf_done(&heard.out);
}

static void check_reply(const struct reply_case *c)
{
    size_t len = strlen(c->in);

    check_cut(c, len, 1);
    check_cut(c, 0, 1);
    check_cut(c, 0, 3);
    for (size_t cut = 1; cut < len; cut++)
        check_cut(c, cut, len);
}

static void check_replies(const struct reply_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_reply(&cases[i]);
}

#define CHECK_REPLIES(cases) check_replies(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_text(void **state)
{
    static const struct reply_case cases[] = {
        {"", ""},
        {"Hello, world!\nWhat's up?", "T{Hello, world!\nWhat's up?}"},
        {" \n x \n", "T{ \n x \n}"},
        {"\n\n", "T{\n\n}"},
        {"Use <html> or 1 < 2.\n", "T{Use <html> or 1 < 2.\n}"},
        {"See [link text](url) and [Wikipedia](https://www.wikipedia.org).",
         "T{See [link text](url) and [Wikipedia](https://www.wikipedia.org).}"},
        {"[get](url)", "T{[get](url)}"},
        {"A <|tool_call_started|> b", "T{A <|tool_call_started|> b}"},
        {"A <|tool_call_sta", "T{A <|tool_call_sta}"},
        {"<|tool_<|tool_call_x", "T{<|tool_<|tool_call_x}"},
        {"a" E "b", "T{a" E "b}"},
        {"V\u00e9rifions \U0001F30D.", "T{V\u00e9rifions \U0001F30D.}"},
        {"bad \xE2\x82 \xF0\x9F", "T{bad \xE2\x82 \xF0\x9F}"},
        {"x" S "[get_time()]" E, "T{x" S "[get_time()]" E "}", .no_calls = true},
        {"[get_time()]", "T{[get_time()]}", .no_calls = true},
    };

    CHECK_REPLIES(cases);
}

static void test_calls(void **state)
{
    static const struct reply_case cases[] = {
        {S "[f(a=1)]" E, "C{f {\"a\":1}}"},
        {S "[f()]" E, "C{f {}}"},
        {S "[f(a=\"x\", b=True), g()]" E, "C{f {\"a\":\"x\",\"b\":true}}C{g {}}"},
        {"One.\n" S "[f()]" E "\nTwo.", "T{One.\n}C{f {}}T{\nTwo.}"},
        {S "[f()]" E S "[g()]" E, "C{f {}}C{g {}}"},
        {S "[f()]" E "between" S "[g()]" E, "C{f {}}T{between}C{g {}}"},
        {"V\u00e9rifions \U0001F30D." S "[f(\u00e4=\"\u20ac\")]" E,
         "T{V\u00e9rifions \U0001F30D.}C{f {\"\u00e4\":\"\u20ac\"}}"},
        {S " \n[ f ( a = 1 , ) , ]\n " E, "C{f {\"a\":1}}"},
        {S "f(a=1)" E, "C{f {\"a\":1}}"},
        {S "[f(a=1)]", "C{f {\"a\":1}}"}, /* only the end marker is missing */
        {S "[Calendar.create_event(title=\"demo\", participants=[\"A\", \"B\"], "
           "metadata={\"priority\": \"high\", \"reminder\": true})]" E,
         "C{Calendar.create_event {\"title\":\"demo\",\"participants\":[\"A\",\"B\"],"
         "\"metadata\":{\"priority\":\"high\",\"reminder\":true}}}"},
        {S "[register(name='J D', age=37, address={'city': 'S F'}, role=None, ok=True, "
           "aliases=['J', 'Jo'])]" E,
         "C{register {\"name\":\"J D\",\"age\":37,\"address\":{\"city\":\"S F\"},\"role\":null,"
         "\"ok\":true,\"aliases\":[\"J\",\"Jo\"]}}"},
        {S "[set(config={\"enabled\": true, \"note\": null, \"off\": false})]" E,
         "C{set {\"config\":{\"enabled\":true,\"note\":null,\"off\":false}}}"},
        {S "[move(from='a', to='b', class=1, in=2)]" E,
         "C{move {\"from\":\"a\",\"to\":\"b\",\"class\":1,\"in\":2}}"},
        {S "[get-it(max-results=5)]" E, "C{get-it {\"max-results\":5}}"},
        {S "[f(a=1, **{\"b c\": 2}, d=3)]" E, "C{f {\"a\":1,\"b c\":2,\"d\":3}}"},
    };

    CHECK_REPLIES(cases);
}

/* What is no list of calls is text, with its markers. */
static void test_not_calls(void **state)
{
    static const char *const lists[] = {
        "",
        "[]",
        "[f]",
        "[f(]",
        "[f()",
        "f()]",
        "[f()] x",
        "[f() g()]",
        "[f(), , g()]",
        "[,]",
        "[f(a=1, a=2)]",
        "[f(a=1, **{'a': 2})]",
        "[f(**{1: 2})]",
        "[f(**x)]",
        "[f(1)]",
        "[f(a=1, 2)]",
        "[f(a)]",
        "[f(a=)]",
        "[f(a=b)]",
        "[f(a=\"x)]",
        "[f(a='x\")]",
        "[f(a=1)](url)",
        "[f..g()]",
        "[.f()]",
        "[1f()]",
        "[f(a.b=1)]",
        "[f(a=1 b=2)]",
        "[f(a=g(1))]",
        "[f(a=[1, 2)]",
        "[f(a={1, 2})]",
        "[f(a={'a'})]",
        "[f(a={'a': 1, 2})]",
        "[f(a={1.5: 1})]",
        "[f(a={None: 1})]",
        "[f(a={1: 1, '1': 2})]",
        "[f(a=(1))]",
        "[f(a=\xC3)]",
        "[link text](url)",
        "{}",
        "{\"name\": \"f\"}",
        "{\"name\": \"\", \"arguments\": {}}",
        "{\"name\": \"a b\", \"arguments\": {}}",
        "{\"name\": \"f\", \"arguments\": [1]}",
        "{\"name\": \"f\", \"arguments\": \"{\"}",
        "[{\"name\": \"f\", \"arguments\": {}}, 1]",
    };

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct sl_strbuf in = {0}, want = {0};
        struct sl_toolcalls calls = {0};

        assert_int_equal(sl_toolcall_parse(&calls, lists[i], strlen(lists[i])), -EBADMSG);
        assert_null(calls.calls);
        sl_strbuf_add_fmt(&in, "a " S "%s" E " b", lists[i]);
        sl_strbuf_add_fmt(&want, "T{%s}", in.ptr);
        check_reply(&(struct reply_case){in.ptr, want.ptr});
        sl_strbuf_done(&in);
        sl_strbuf_done(&want);
    }
}

/* After a list that is none, or was never finished, the next one still counts. */
static void test_recovery(void **state)
{
    static const struct reply_case cases[] = {
        {S "[f(" E S "[g()]" E, "T{" S "[f(" E "}C{g {}}"},
        {S "[f(a=\"x" S "[g()]" E, "T{" S "[f(a=\"x}C{g {}}"},
        {S S "[g()]" E, "T{" S "}C{g {}}"},
        {"x" S "[f(a=1), g(b=\"cut off", "T{x" S "[f(a=1), g(b=\"cut off}"},
        {S "[special_function(arg1=", "T{" S "[special_function(arg1=}"},
        {S "[f()" E, "T{" S "[f()" E "}"},
        {S, "T{" S "}"},
        {S "[f(a=\"" E "\")]" E, "T{" S "[f(a=\"" E "\")]" E "}"},
    };

    CHECK_REPLIES(cases);
}

static void test_json_form(void **state)
{
    static const struct reply_case cases[] = {
        {S "{\"name\": \"f\", \"arguments\": {\"a\": [1.50, \"\\/\"]}}" E,
         "C{f {\"a\":[1.5,\"/\"]}}"},
        {S "[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"parameters\": {\"b\":1}}]" E,
         "C{f {}}C{g {\"b\":1}}"},
        {S "[{\"type\": \"function\", \"function\": {\"name\": \"f\", "
           "\"arguments\": \"{\\\"a\\\": 1}\"}}]" E,
         "C{f {\"a\":1}}"},
        {S "{'name': 'f', 'arguments': {'a': True, 'b': None}}" E,
         "C{f {\"a\":true,\"b\":null}}"},
        {S "{\"name\": \"f\", \"arguments\": null}" E, "C{f {}}"},
    };

    CHECK_REPLIES(cases);
}

/* Calls of known tools without markers, when they are all there is. */
static void test_bare(void **state)
{
    static const struct reply_case cases[] = {
        {"[get_time(city=\"Paris\")]", "C{get_time {\"city\":\"Paris\"}}"},
        {"\n [ get_time(), ns.f(a=1)]\n", "C{get_time {}}C{ns.f {\"a\":1}}"},
        {"[get()]" E "x", "C{get {}}T{x}"},
        {"[get_time(), other()]", "T{[get_time(), other()]}"},
        {"[other()]", "T{[other()]}"},
        {"[get_tim()]", "T{[get_tim()]}"},
        {"[get_time", "T{[get_time}"},
        {"[get_time()] I called it.", "T{[get_time()] I called it.}"},
        {"x [get_time()]", "T{x [get_time()]}"},
        {"[get_time(" S "[f()]" E, "T{[get_time(}C{f {}}"},
        {"{\"name\": \"get_weather\", \"arguments\": {\"a\": 1}}", "C{get_weather {\"a\":1}}"},
        {"[{\"name\" : \"get\", \"arguments\": {}}]", "C{get {}}"},
        {"{\"name\": \"get\", \"age\": 3}", "T{{\"name\": \"get\", \"age\": 3}}"},
        {"{\"name\": \"Bob\"}", "T{{\"name\": \"Bob\"}}"},
        {"<think>t</think>\n[get()]", "R{t}C{get {}}", SL_REPLY_THINK_SPLIT},
    };

    CHECK_REPLIES(cases);
}

static void test_reasoning(void **state)
{
    static const struct reply_case cases[] = {
        {"<think>a\n- b</think>\n\nHere.", "R{a\n- b}T{Here.}", SL_REPLY_THINK_SPLIT},
        {"\n<think>\na\n</think>x", "R{\na\n}T{x}", SL_REPLY_THINK_SPLIT},
        {"<think></think>x", "T{x}", SL_REPLY_THINK_SPLIT},
        {"<think>a", "R{a}", SL_REPLY_THINK_SPLIT},
        {"<think>a</thi", "R{a</thi}", SL_REPLY_THINK_SPLIT},
        {"<think>a < b </b></think>", "R{a < b </b>}", SL_REPLY_THINK_SPLIT},
        {"<thin", "T{<thin}", SL_REPLY_THINK_SPLIT},
        {"direct", "T{direct}", SL_REPLY_THINK_SPLIT},
        {"x <think>a</think>", "T{x <think>a</think>}", SL_REPLY_THINK_SPLIT},
        {"<think>\u00e4\u20ac</think>\U0001F30D", "R{\u00e4\u20ac}T{\U0001F30D}",
         SL_REPLY_THINK_SPLIT},
        {"<think>a</think>\n" S "[f()]" E, "R{a}C{f {}}", SL_REPLY_THINK_SPLIT},
        {"<think>a</think>b" S "[f()]" E, "R{a}T{b}C{f {}}", SL_REPLY_THINK_SPLIT},
        {"<think>not " S "[f()]" E "</think>", "R{not " S "[f()]" E "}", SL_REPLY_THINK_SPLIT},
        {"a</think>b", "R{a}T{b}", SL_REPLY_THINK_OPEN},
        {"a", "R{a}", SL_REPLY_THINK_OPEN},
        {"<think>a</think>b", "T{<think>a</think>b}", SL_REPLY_THINK_NONE},
        {"<think>a</think>b" S "[f()]" E, "R{a}T{b" S "[f()]" E "}", SL_REPLY_THINK_SPLIT, true},
    };

    CHECK_REPLIES(cases);
}

/* JSON of one value, or NULL. The caller frees. */
static char *value_of(const char *text, size_t len)
{
    struct sl_toolcalls calls = {0};
    struct sl_strbuf list = {0};
    char *json = NULL;

    sl_strbuf_add_str(&list, "[f(v=");
    sl_strbuf_add(&list, text, len);
    sl_strbuf_add_str(&list, ")]");
    if (sl_toolcall_parse(&calls, list.ptr, list.len) == 0) {
        assert_int_equal(calls.n, 1);
        assert_int_equal(strlen(calls.calls[0].arguments), calls.calls[0].arguments_len);
        json = strndup(calls.calls[0].arguments + 5, calls.calls[0].arguments_len - 6);
        sl_toolcall_done(&calls);
    }
    sl_strbuf_done(&list);
    return json;
}

static void test_values(void **state)
{
    static const struct {
        const char *python, *json; /* NULL: refused */
    } cases[] = {
        {"0", "0"}, {"00", "0"}, {"-0", "0"}, {"+1", "1"}, {"-1", "-1"}, {"- 1", "-1"},
        {"1_000", "1000"}, {"1__0", NULL}, {"1_", NULL}, {"_1", NULL}, {"07", NULL}, {"--1", NULL},
        {"9223372036854775808", "9223372036854775808"},
        {"-123456789012345678901234567890", "-123456789012345678901234567890"},
        {"0xFf", "255"}, {"0x_f", "15"}, {"0o17", "15"}, {"0b101", "5"}, {"0x", NULL},
        {"0xg", NULL}, {"0b2", NULL}, {"0o8", NULL}, {"-0x10", "-16"},
        {"0xffffffffffffffffffff", "1208925819614629174706175"},
        {"0x3b9aca00", "1000000000"}, {"0x3b9aca0000000000", "4294967296000000000"},
        {"1.5", "1.5"}, {"1.", "1.0"}, {".5", "0.5"}, {"-.5e1", "-5.0"}, {"1e5", "100000.0"},
        {"1E+16", "1e+16"}, {"1e-7", "1e-07"}, {"007.5", "7.5"}, {"1_0.0_1e0_1", "100.1"},
        {"0.1", "0.1"}, {"-0.0", "-0.0"}, {"1e400", NULL}, {"1e", NULL}, {".", NULL}, {"1.e", NULL},
        {"5e-324", "5e-324"}, {"1j", NULL}, {"1+2j", NULL}, {"1+1", NULL}, {"inf", NULL},
        {"nan", NULL}, {"NaN", NULL}, {"-True", NULL}, {"1 2", NULL}, {"1.2.3", NULL},
        {"True", "true"}, {"False", "false"}, {"None", "null"}, {"true", "true"},
        {"false", "false"}, {"null", "null"}, {"TRUE", NULL}, {"Trues", NULL}, {"...", NULL},
        {"'a\"b'", "\"a\\\"b\""}, {"\"it's\"", "\"it's\""}, {"'it\\'s'", "\"it's\""},
        {"''", "\"\""},
        {"'\\n\\t\\r\\\\'", "\"\\n\\t\\r\\\\\""}, {"'\\a\\b\\f\\v'", "\"\\u0007\\b\\f\\u000b\""},
        {"'\\x41\\101\\0'", "\"AA\\u0000\""}, {"'\\1012'", "\"A2\""}, {"'\\400'", "\"\u0100\""},
        {"'\\u20ac\\U0001F30d'", "\"\u20ac\U0001F30D\""}, {"'\\ud83c\\udf0d'", "\"\U0001F30D\""},
        {"'\\ud83c' '\\udf0d'", "\"\U0001F30D\""}, {"'\\ud83c'", NULL}, {"'\\udf0d'", NULL},
        {"'\\ud83cx'", NULL}, {"'\\x4'", NULL}, {"'\\u123'", NULL}, {"'\\U00110000'", NULL},
        {"'\\N{BULLET}'", NULL}, {"'\\q\\/'", "\"\\\\q\\\\/\""}, {"'a\\\nb'", "\"ab\""},
        {"'a\nb'", "\"a\\nb\""}, {"'a\r\nb\rc'", "\"a\\nb\\nc\""}, {"'a' \"b\"\n'c'", "\"abc\""},
        {"'''a'b\nc'''", "\"a'b\\nc\""}, {"\"\"\"\\\"\"\"\"", "\"\\\"\""}, {"''''a'''", "\"'a\""},
        {"'''a''", NULL}, {"'\\'", NULL}, {"'", NULL}, {"''''", NULL},
        {"r'\\d\\'x'", "\"\\\\d\\\\'x\""}, {"R\"\\\\\"", "\"\\\\\\\\\""}, {"r'\\'", NULL},
        {"u'\\x41'", "\"A\""}, {"b'x'", NULL}, {"f'x'", NULL}, {"x'y'", NULL},
        {"'\u00e4\u20ac\U0001F30D\u2028'", "\"\u00e4\u20ac\U0001F30D\u2028\""},
        {"[]", "[]"}, {"[1, 'a', [None], ]", "[1,\"a\",[null]]"}, {"[,]", NULL}, {"[1 2]", NULL},
        {"()", "[]"}, {"(1,)", "[1]"}, {"(1, 2)", "[1,2]"}, {"(1)", NULL}, {"(,)", NULL},
        {"{}", "{}"}, {"{'a': 1, \"b\": {'c': (1, 2)},}", "{\"a\":1,\"b\":{\"c\":[1,2]}}"},
        {"{'b': 1, 'a': 2}", "{\"b\":1,\"a\":2}"}, {"{'a' 'b': 1}", "{\"ab\":1}"},
        {"{'a': 1, 'b': 2, 'a': {'x': 1, 'x': [3]}}", "{\"a\":{\"x\":[3]},\"b\":2}"},
        {"{1: 2, 0x2: 3, -1: 4}", "{\"1\":2,\"2\":3,\"-1\":4}"},
        {"{1: 2, 0x1: 3}", "{\"1\":3}"},
        {"{'a': 1 'b': 2}", NULL}, {"{'a'}", NULL}, {"{'a': }", NULL}, {"{,}", NULL},
        {"{**x}", NULL},
        {"{True: 1}", NULL}, {"{'\\n\"': 1}", "{\"\\n\\\"\":1}"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *json = value_of(cases[i].python, strlen(cases[i].python));

        if (!json != !cases[i].json || (json && strcmp(json, cases[i].json) != 0))
            fail_msg("%s: %s, %s expected", cases[i].python, json ? json : "refused",
                     cases[i].json ? cases[i].json : "refused");
        free(json);
    }
    assert_null(value_of("'a\0b'", 5));
}

static void add_times(struct sl_strbuf *buf, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sl_strbuf_add_str(buf, text);
}

/* [[[...]]] of this depth. */
static int parse_nested(size_t depth)
{
    struct sl_toolcalls calls = {0};
    struct sl_strbuf text = {0};
    int r;

    sl_strbuf_add_str(&text, "f(a=");
    add_times(&text, "[", depth);
    add_times(&text, "]", depth);
    sl_strbuf_add_str(&text, ")");
    r = sl_toolcall_parse(&calls, text.ptr, text.len);
    sl_strbuf_done(&text);
    sl_toolcall_done(&calls);
    return r;
}

static int parse_many(const char *item, size_t n)
{
    struct sl_toolcalls calls = {0};
    struct sl_strbuf text = {0};
    int r;

    sl_strbuf_add_str(&text, "[");
    add_times(&text, item, n);
    sl_strbuf_add_str(&text, "]");
    r = sl_toolcall_parse(&calls, text.ptr, text.len);
    if (r == 0)
        assert_int_equal(calls.n, n);
    sl_strbuf_done(&text);
    sl_toolcall_done(&calls);
    return r;
}

/* Digits of a literal that Python still reads, and one more. */
static int parse_digits(size_t n)
{
    struct sl_strbuf text = {0};
    char *json;
    int ok;

    add_times(&text, "7", n);
    json = value_of(text.ptr, text.len);
    ok = json && strcmp(json, text.ptr) == 0;
    free(json);
    sl_strbuf_done(&text);
    return ok;
}

static void test_limits(void **state)
{
    assert_int_equal(parse_nested(SL_PYLITERAL_DEPTH_MAX), 0);
    assert_int_equal(parse_nested(SL_PYLITERAL_DEPTH_MAX + 1), -E2BIG);
    assert_int_equal(parse_nested(100000), -E2BIG);
    assert_int_equal(parse_many("f(),", SL_TOOLCALL_N_MAX), 0);
    assert_int_equal(parse_many("f(),", SL_TOOLCALL_N_MAX + 1), -E2BIG);
    assert_true(parse_digits(4300));
    assert_false(parse_digits(4301));
}

/* The longest hexadecimal literal there may be, of which every group is full. */
static void test_long_hex(void **state)
{
    struct sl_strbuf text = {0};
    char *json;

    sl_strbuf_add_str(&text, "0x");
    add_times(&text, "f", 3500);
    json = value_of(text.ptr, text.len);
    assert_non_null(json);
    assert_int_equal(strlen(json), 4215);
    free(json);
    add_times(&text, "f", 1);
    assert_null(value_of(text.ptr, text.len));
    sl_strbuf_done(&text);
}

static void feed_all(const char *text, size_t len, size_t step, struct heard *heard)
{
    struct sl_reply_opts opts = {.calls = true, .fn = hear, .user = heard};
    struct sl_reply *reply = NULL;

    assert_int_equal(sl_reply_new(&reply, &opts), 0);
    for (size_t i = 0; i < len; i += step)
        assert_int_equal(sl_reply_feed(reply, text + i, i + step < len ? step : len - i), 0);
    assert_int_equal(sl_reply_end(reply), 0);
    sl_reply_free(reply);
}

/* A list longer than may be held is text, however it comes; the next one is a list. */
static void test_long_list(void **state)
{
    static const size_t steps[] = {1 << 30, 4096, 7};

    for (size_t i = 0; i < 3; i++) {
        struct sl_strbuf text = {0};
        struct heard heard = {0};
        size_t len;

        sl_strbuf_add_str(&text, S "[f(a=\"");
        add_times(&text, "0123456789abcdef", SL_REPLY_HELD_BYTES_MAX / 16);
        sl_strbuf_add_str(&text, "\")]" E);
        len = text.len;
        sl_strbuf_add_str(&text, S "[g()]" E);
        feed_all(text.ptr, text.len, steps[i], &heard);
        assert_int_equal(heard.out.len, 2 + len + strlen("}C{g {}"));
        assert_memory_equal(heard.out.ptr + 2, text.ptr, len);
        assert_string_equal(heard.out.ptr + 2 + len, "}C{g {}");
        sl_strbuf_done(&heard.out);
        sl_strbuf_done(&text);
    }
}

/* Time must grow with the length alone: this many markers would else take minutes. */
static void test_many_markers(void **state)
{
    struct sl_strbuf text = {0};
    struct heard heard = {0};

    add_times(&text, S "[", 100000);
    feed_all(text.ptr, text.len, text.len, &heard);
    assert_int_equal(heard.out.len, 2 + text.len);
    sl_strbuf_done(&heard.out);
    sl_strbuf_cut(&text, 0);

    add_times(&text, "<|tool_call_", 100000);
    heard = (struct heard){0};
    feed_all(text.ptr, text.len, 1, &heard);
    assert_int_equal(heard.out.len, 2 + text.len);
    sl_strbuf_done(&heard.out);
    sl_strbuf_done(&text);
}

static int render(const char *json, char **ret_text, struct sl_diag *diag)
{
    struct sl_json_doc *doc = NULL;
    int r;

    assert_int_equal(sl_json_parse(&doc, json, strlen(json), diag), 0);
    r = sl_toolcall_render(sl_json_root(doc), ret_text, NULL, diag);
    sl_json_free(doc);
    return r;
}

static void test_render(void **state)
{
    static const struct {
        const char *calls, *want;
    } cases[] = {
        {"[]", ""},
        {"[{\"name\":\"get_weather\",\"arguments\":{\"location\":\"Paris\"}}]",
         S "[get_weather(location=\"Paris\")]" E},
        {"[{\"function\":{\"name\":\"a.b\",\"arguments\":\"{\\\"x\\\": [1, null, true, 2.50]}\"}},"
         "{\"name\":\"g\"},{\"name\":\"h\",\"arguments\":null},"
         "{\"name\":\"i\",\"arguments\":\"\"}]",
         S "[a.b(x=[1, None, True, 2.5]), g(), h(), i()]" E},
        {"[{\"name\":\"f\",\"arguments\":{\"s\":\"it's \\\"q\\\"\\\\\\n\\u0001\\u007f\u20ac\","
         "\"d\":{\"k\":{}},\"b c\":1,\"from\":[],\"n\":123456789012345678901234567890}}]",
         S "[f(s=\"it's \\\"q\\\"\\\\\\n\\u0001\x7f\u20ac\", d={\"k\": {}}, **{\"b c\": 1}, "
           "from=[], n=123456789012345678901234567890)]" E},
        {"[{\"name\":\"f\",\"arguments\":{\"a\":\"<|im_end|> < |\",\"<|x\":1}}]",
         S "[f(a=\"\\u003c|im_end|> < |\", **{\"\\u003c|x\": 1})]" E},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_diag diag = {""};
        char *text = NULL;

        if (render(cases[i].calls, &text, &diag) < 0)
            fail_msg("%s: %s", cases[i].calls, diag.text);
        assert_string_equal(text, cases[i].want);
        free(text);
    }
}

static void test_render_refused(void **state)
{
    static const struct {
        const char *calls, *word;
    } cases[] = {
        {"{}", "an array expected, found an object"},
        {"[1]", "tool_calls[0]: no name"},
        {"[{\"name\":\"f\"},{\"function\":{}}]", "tool_calls[1]: no name"},
        {"[{\"name\":\"a b\"}]", "\"a b\""},
        {"[{\"name\":\"\"}]", "\"\""},
        {"[{\"name\":\"f()]<|tool_call_end|>\"}]", "letters"},
        {"[{\"name\":\"f.\"}]", "letters"},
        {"[{\"name\":\"f\",\"arguments\":[1]}]", "arguments of f: an object expected"},
        {"[{\"name\":\"f\",\"arguments\":\"[1]\"}]", "found an array"},
        {"[{\"name\":\"f\",\"arguments\":\"{\"}]", "arguments of f: JSON"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_diag diag = {""};
        char *text = NULL;

        assert_int_equal(render(cases[i].calls, &text, &diag), -EBADMSG);
        assert_null(text);
        if (!strstr(diag.text, cases[i].word))
            fail_msg("%s: \"%s\", \"%s\" expected in it", cases[i].calls, diag.text,
                     cases[i].word);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),          cmocka_unit_test(test_calls),
        cmocka_unit_test(test_not_calls),     cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_json_form),     cmocka_unit_test(test_bare),
        cmocka_unit_test(test_reasoning),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_long_hex),
        cmocka_unit_test(test_long_list),     cmocka_unit_test(test_many_markers),
        cmocka_unit_test(test_render),        cmocka_unit_test(test_render_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
