/*
 * Requests and replies of all APIs against files of expected results: each request of a file
 * is parsed, answered or played, and the whole file written anew; it has to come out as it was.
 *
 *     test_api_golden [--update] FILE...
 *
 * A file has comments and blank lines, and requests: a line "METHOD PATH" ("thinker" before it:
 * of a model that thinks), perhaps a line with the body, perhaps lines "| EVENT" of a reply to
 * play, then the result:
 *
 *     = WHAT        the request as it was understood
 *     ! STATUS BODY an error
 *     < LINE        status and type of an answer, then its bytes, line for line
 *
 * Events: start [PROMPT], progress N, token ID PIECE, text T, reason T, call NAME, args T, end,
 * finish REASON [WORD], error STATUS T. In texts \n is a line end, \xHH a byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apiworld.h"

#define EVENTS_MAX 64

struct block {
    const struct sl_apienv *env;
    enum sl_http_method method;
    char *path, *query, *body;
    struct apiworld_event events[EVENTS_MAX];
    char *texts[EVENTS_MAX];
    size_t n_events;
};

static void die(const char *what, const char *line)
{
    fprintf(stderr, "test_api_golden: %s: %s\n", what, line);
    exit(1);
}

static char *copy(const char *text, size_t len)
{
    char *out = strndup(text, len);

    if (!out)
        die("no memory", "");
    return out;
}

/* A text of a script, its escapes resolved. */
static char *unescape(const char *text)
{
    char *out = copy(text, strlen(text)), *w = out;

    for (const char *p = text; *p; p++) {
        if (p[0] == '\\' && p[1] == 'n') {
            *w++ = '\n';
            p++;
        } else if (p[0] == '\\' && p[1] == 'x') {
            char hex[3] = {p[2], p[3], '\0'};

            *w++ = (char)strtoul(hex, NULL, 16);
            p += 3;
        } else {
            *w++ = *p;
        }
    }
    *w = '\0';
    return out;
}

static int reason_of(const char *word)
{
    static const char *const reasons[] = {
        [SL_GENFINISH_EOS] = "eos",         [SL_GENFINISH_WORD] = "word",
        [SL_GENFINISH_LENGTH] = "length",   [SL_GENFINISH_CONTEXT] = "context",
        [SL_GENFINISH_CANCELLED] = "cancelled",
    };

    for (int i = 0; i < 5; i++)
        if (strcmp(reasons[i], word) == 0)
            return i;
    die("no such reason", word);
    return 0;
}

/* An event from its words; rest is what follows the first. */
static void read_event(struct block *b, const char *name, const char *rest)
{
    static const char *const names[] = {"start", "progress", "token", "text",   "reason",
                                        "call",  "args",     "end",   "finish", "error"};
    struct apiworld_event *event = &b->events[b->n_events];
    const char *blank = strchr(rest, ' ');
    int kind = -1;

    for (int i = 0; i < 10; i++)
        if (strcmp(name, names[i]) == 0)
            kind = i;
    if (kind < 0 || b->n_events == EVENTS_MAX)
        die("no such event, or too many", name);
    event->kind = (enum sl_genevent_kind)kind;
    if (kind == SL_GENEVENT_FINISH) {
        char *word = copy(rest, blank ? (size_t)(blank - rest) : strlen(rest));

        event->number = reason_of(word);
        free(word);
    } else {
        event->number = (int32_t)strtol(rest, NULL, 10);
    }
    if (kind == SL_GENEVENT_FINISH || kind == SL_GENEVENT_TOKEN || kind == SL_GENEVENT_ERROR)
        rest = blank ? blank + 1 : NULL;
    if (rest)
        event->text = b->texts[b->n_events] = unescape(rest);
    b->n_events++;
}

static void read_event_line(struct block *b, const char *line)
{
    const char *blank = strchr(line, ' ');
    char *name = copy(line, blank ? (size_t)(blank - line) : strlen(line));

    read_event(b, name, blank ? blank + 1 : "");
    free(name);
}

/* "METHOD PATH?QUERY"; false if the line is none. */
static int read_request(struct block *b, const char *line)
{
    static const enum sl_http_method methods[] = {SL_HTTP_GET, SL_HTTP_HEAD, SL_HTTP_POST,
                                                  SL_HTTP_PUT, SL_HTTP_DELETE};
    const char *query;

    *b = (struct block){.env = &apiworld_env};
    if (strncmp(line, "thinker ", 8) == 0) {
        b->env = &apiworld_thinker;
        line += 8;
    }
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        const char *name = sl_httphead_method_text(methods[i]);
        size_t len = strlen(name);

        if (strncmp(line, name, len) != 0 || line[len] != ' ' || line[len + 1] != '/')
            continue;
        b->method = methods[i];
        line += len + 1;
        query = strchr(line, '?');
        b->path = copy(line, query ? (size_t)(query - line) : strlen(line));
        b->query = copy(query ? query + 1 : "", query ? strlen(query + 1) : 0);
        return 1;
    }
    return 0;
}

static void block_done(struct block *b)
{
    for (size_t i = 0; i < b->n_events; i++)
        free(b->texts[i]);
    free(b->path);
    free(b->query);
    free(b->body);
}

/* The lines of a reply, each behind "< ". A last line without an end gets one. */
static void add_reply(struct sl_strbuf *out, struct sl_apireply reply,
                      const struct sl_strbuf *body)
{
    const char *p = body->len ? body->ptr : "";

    sl_strbuf_add_fmt(out, "< %d %s\n", reply.status, reply.type);
    while (*p) {
        size_t len = strcspn(p, "\n");

        sl_strbuf_add_str(out, len ? "< " : "<");
        sl_strbuf_add(out, p, len);
        sl_strbuf_add(out, "\n", 1);
        p += len + (p[len] == '\n');
    }
}

static void add_error(struct sl_strbuf *out, const struct sl_apierror *error,
                      enum sl_apiform form)
{
    sl_strbuf_add_fmt(out, "! %d ", error->status);
    sl_apierror_write(error, form, out);
    sl_strbuf_add(out, "\n", 1);
}

static void run(const struct block *b, struct sl_strbuf *out)
{
    struct sl_apicall *call = NULL;
    struct sl_apierror error;
    struct sl_apireply reply = {0, ""};
    struct sl_strbuf body = {0};
    const char *text = b->body ? b->body : "";
    int r = sl_api_parse(&call, b->env, b->method, b->path, b->query, text, strlen(text), &error);

    if (r < 0) {
        add_error(out, &error, sl_api_form(b->path));
        return;
    }
    if (call->work == SL_APIWORK_GENERATE && b->n_events) {
        if (apiworld_play(call, b->env, b->events, b->n_events, &body, &reply) < 0)
            die("a reply failed", b->path);
        add_reply(out, reply, &body);
    } else if (call->work > SL_APIWORK_TEXT) {
        sl_strbuf_add_str(out, "= ");
        apiworld_tell_call(call, b->env, out);
        sl_strbuf_add(out, "\n", 1);
    } else if (sl_api_answer(call, b->env, &apiworld_state, &apiworld_text, &body, &reply,
                             &error) < 0) {
        add_error(out, &error, sl_apicall_form(call));
    } else {
        add_reply(out, reply, &body);
    }
    sl_strbuf_done(&body);
    sl_apicall_free(call);
}

/* The file as it should be. */
static void rewrite(char *text, struct sl_strbuf *out)
{
    struct block b = {0};
    int is_open = 0;

    for (char *line = text; line;) {
        char *end = strchr(line, '\n');

        if (end)
            *end = '\0';
        if (is_open && (!*line || !end)) {
            run(&b, out);
            block_done(&b);
            is_open = 0;
        }
        if (!is_open && read_request(&b, line))
            is_open = 1;
        else if (is_open && strncmp(line, "| ", 2) == 0)
            read_event_line(&b, line + 2);
        else if (is_open && !strchr("=!<", *line))
            b.body = copy(line, strlen(line));
        if (!is_open || !strchr("=!<", *line) || !*line)
            sl_strbuf_add_fmt(out, "%s%s", line, end ? "\n" : "");
        line = end ? end + 1 : NULL;
    }
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct sl_strbuf buf = {0};
    char chunk[4096];
    char *text = NULL;
    size_t n;

    if (!file)
        die("cannot be opened", path);
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
        sl_strbuf_add(&buf, chunk, n);
    fclose(file);
    if (sl_strbuf_take(&buf, &text, NULL) < 0)
        die("no memory", path);
    return text;
}

static int compare(const char *path, const char *was, const char *is)
{
    int line = 1;

    if (strcmp(was, is) == 0)
        return 0;
    for (; *was && *was == *is; was++, is++)
        line += *was == '\n';
    fprintf(stderr, "%s:%d: expected\n  %.300s\nfound\n  %.300s\n", path, line, was, is);
    return 1;
}

int main(int argc, char **argv)
{
    int updates = argc > 1 && strcmp(argv[1], "--update") == 0;
    int n_bad = 0;

    for (int i = 1 + updates; i < argc; i++) {
        char *was = read_file(argv[i]);
        char *work = copy(was, strlen(was));
        struct sl_strbuf is = {0};

        rewrite(work, &is);
        if (is.error)
            die("no memory", argv[i]);
        if (updates) {
            FILE *file = fopen(argv[i], "wb");

            if (!file || fwrite(is.ptr, 1, is.len, file) != is.len || fclose(file) != 0)
                die("cannot be written", argv[i]);
        } else {
            n_bad += compare(argv[i], was, is.len ? is.ptr : "");
        }
        sl_strbuf_done(&is);
        free(work);
        free(was);
    }
    printf("%d files, %d of them differ\n", argc - 1 - updates, n_bad);
    return n_bad || argc <= 1 + updates;
}
