/*
 * Redirects are followed by hand and not by libcurl, for three reasons: the token may go to
 * its server only, whatever libcurl's version thinks of ports and schemes; the answers on the
 * way say which file it is (X-Linked-Etag, X-Linked-Size); and the caller may keep the last
 * URL for the next ranges. From https nothing leads back to http.
 */
#include "fetch/transfer.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REDIRECTS_MAX 10
#define CONNECT_S_MAX 30L
#define SLOW_BYTES_PER_S 100L
#define BUFFER_BYTES ((long)256 << 10) /* of a connection; body() gets at most so much */
#define REFUSED_BODY_MAX ((size_t)64 << 10) /* of an answer that nobody wants to read */

struct running {
    struct sl_transfer *owner;
    struct running *prev, *next;
    CURL *easy;
    struct curl_slist *headers;
    struct sl_transfer_request request;
    struct sl_transfer_reply reply;
    char *url;
    char error[CURL_ERROR_SIZE];
    uint32_t n_redirects;
    size_t n_refused;
    bool has_begun; /* head was called */
    int stop;       /* what a callback returned */
};

struct sl_transfer {
    CURLM *multi;
    struct running *first;
    char *user_agent, *ca_file;
    long stall_s;
};

static void copy_text(char *to, size_t cap, const char *from, size_t len)
{
    (void)snprintf(to, cap, "%.*s", (int)(len < cap ? len : cap - 1), from); /* cut is fine */
    sl_text_clean(to);
}

/* An entity tag without W/ and quotes. */
static void copy_tag(char *to, const char *value, size_t len)
{
    if (len >= 2 && !strncmp(value, "W/", 2))
        value += 2, len -= 2;
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"')
        value++, len -= 2;
    copy_text(to, SL_TRANSFER_TAG_BYTES, value, len);
}

/* Digits alone, else SL_TRANSFER_UNKNOWN; what follows them to *ret_end, if that is asked. */
static uint64_t parse_number(const char *text, char **ret_end)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno || (!ret_end && *end))
        return SL_TRANSFER_UNKNOWN;
    if (ret_end)
        *ret_end = end;
    return value;
}

/* "bytes FIRST-LAST/TOTAL", TOTAL perhaps "*". */
static void parse_range(struct sl_transfer_reply *reply, const char *value)
{
    char *end = NULL;
    uint64_t first, last;

    if (strncasecmp(value, "bytes ", 6) != 0)
        return;
    first = parse_number(value + 6, &end);
    if (first == SL_TRANSFER_UNKNOWN || *end != '-')
        return;
    last = parse_number(end + 1, &end);
    if (last == SL_TRANSFER_UNKNOWN || last < first || *end != '/')
        return;
    reply->range_first = first;
    reply->range_last = last;
    reply->range_total = parse_number(end + 1, NULL);
}

/* What holds for one answer only; what is kept of those on the way stays. */
static void begin_answer(struct sl_transfer_reply *reply)
{
    reply->length = reply->retry_after_s = SL_TRANSFER_UNKNOWN;
    reply->range_first = reply->range_last = reply->range_total = SL_TRANSFER_UNKNOWN;
    reply->tag[0] = reply->text[0] = '\0';
    reply->is_encoded = false;
}

static void take_header(struct sl_transfer_reply *reply, const char *name, const char *value)
{
    size_t len = strlen(value);

    if (!strcasecmp(name, "content-length"))
        reply->length = parse_number(value, NULL);
    else if (!strcasecmp(name, "content-range"))
        parse_range(reply, value);
    else if (!strcasecmp(name, "etag"))
        copy_tag(reply->tag, value, len);
    else if (!strcasecmp(name, "x-linked-etag"))
        copy_tag(reply->linked_tag, value, len);
    else if (!strcasecmp(name, "x-linked-size"))
        reply->linked_bytes = parse_number(value, NULL);
    else if (!strcasecmp(name, "retry-after"))
        reply->retry_after_s = parse_number(value, NULL);
    else if (!strcasecmp(name, "content-encoding"))
        reply->is_encoded = strcasecmp(value, "identity") != 0;
    else if (!strcasecmp(name, "x-error-message"))
        copy_text(reply->text, sizeof(reply->text), value, len);
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct running *run = arg;
    size_t len = size * n;
    char line[1024];
    char *colon, *value;

    copy_text(line, sizeof(line), data, len);
    for (size_t end = strlen(line); end && line[end - 1] == ' ';)
        line[--end] = '\0'; /* the line's end became blanks */
    if (!strncmp(line, "HTTP/", 5)) {
        begin_answer(&run->reply);
        return len;
    }
    colon = strchr(line, ':');
    if (colon) {
        *colon = '\0';
        value = colon + 1 + strspn(colon + 1, " ");
        take_header(&run->reply, line, value);
    }
    return len;
}

static long get_status(const struct running *run)
{
    long status = 0;

    (void)curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status); /* 0 if none */
    return status;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct running *run = arg;
    size_t len = size * n;

    run->reply.status = (int)get_status(run);
    if (run->reply.status != 200 && run->reply.status != 206) {
        run->n_refused += len;
        return run->n_refused <= REFUSED_BODY_MAX ? len : 0;
    }
    if (!run->has_begun) {
        run->has_begun = true;
        run->reply.url = run->url;
        run->stop = run->request.head(run->request.arg, &run->reply);
    }
    if (run->stop == 0 && len)
        run->stop = run->request.body(run->request.arg, data, len);
    return run->stop == 0 ? len : 0;
}

/* Whether two URLs are on one server: scheme, host and port. */
static bool is_same_server(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *urls[2] = {curl_url(), curl_url()};
    bool is_same = urls[0] && urls[1] && !curl_url_set(urls[0], CURLUPART_URL, a, 0) &&
                   !curl_url_set(urls[1], CURLUPART_URL, b, 0);

    for (int i = 0; i < 3 && is_same; i++) {
        char *got[2] = {NULL, NULL};

        for (int k = 0; k < 2; k++)
            if (curl_url_get(urls[k], parts[i], &got[k], CURLU_DEFAULT_PORT) != CURLUE_OK)
                got[k] = NULL;
        is_same = got[0] && got[1] && !strcasecmp(got[0], got[1]);
        curl_free(got[0]);
        curl_free(got[1]);
    }
    curl_url_cleanup(urls[0]);
    curl_url_cleanup(urls[1]);
    return is_same;
}

static int set_token(struct running *run)
{
    struct curl_slist *list;
    char *line = NULL;

    curl_slist_free_all(run->headers);
    run->headers = NULL;
    if (run->request.token && run->request.token_home &&
        is_same_server(run->url, run->request.token_home)) {
        if (asprintf(&line, "Authorization: Bearer %s", run->request.token) < 0)
            return -ENOMEM;
        list = curl_slist_append(NULL, line);
        free(line);
        if (!list)
            return -ENOMEM;
        run->headers = list;
    }
    return curl_easy_setopt(run->easy, CURLOPT_HTTPHEADER, run->headers) ? -EINVAL : 0;
}

static int set_options(struct running *run)
{
    struct sl_transfer *t = run->owner;
    const struct sl_transfer_request *q = &run->request;
    char range[64];
    int bad = 0;

    bad |= curl_easy_setopt(run->easy, CURLOPT_URL, run->url);
    bad |= curl_easy_setopt(run->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(run->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= curl_easy_setopt(run->easy, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(run->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    bad |= curl_easy_setopt(run->easy, CURLOPT_USERAGENT, t->user_agent);
    if (t->ca_file)
        bad |= curl_easy_setopt(run->easy, CURLOPT_CAINFO, t->ca_file);
    bad |= curl_easy_setopt(run->easy, CURLOPT_CONNECTTIMEOUT,
                            t->stall_s < CONNECT_S_MAX ? t->stall_s : CONNECT_S_MAX);
    bad |= curl_easy_setopt(run->easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES_PER_S);
    bad |= curl_easy_setopt(run->easy, CURLOPT_LOW_SPEED_TIME, t->stall_s);
    bad |= curl_easy_setopt(run->easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    bad |= curl_easy_setopt(run->easy, CURLOPT_ERRORBUFFER, run->error);
    bad |= curl_easy_setopt(run->easy, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(run->easy, CURLOPT_HEADERDATA, run);
    bad |= curl_easy_setopt(run->easy, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(run->easy, CURLOPT_WRITEDATA, run);
    bad |= curl_easy_setopt(run->easy, CURLOPT_PRIVATE, run);
    if (q->last != SL_TRANSFER_UNKNOWN) {
        (void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)q->first,
                       (unsigned long long)q->last);
        bad |= curl_easy_setopt(run->easy, CURLOPT_RANGE, range); /* copied */
    }
    return bad ? -EINVAL : set_token(run);
}

static void free_running(struct running *run)
{
    if (run->prev)
        run->prev->next = run->next;
    else if (run->owner->first == run)
        run->owner->first = run->next;
    if (run->next)
        run->next->prev = run->prev;
    if (run->easy) {
        (void)curl_multi_remove_handle(run->owner->multi, run->easy); /* or it is in none */
        curl_easy_cleanup(run->easy);
    }
    curl_slist_free_all(run->headers);
    free(run->url);
    free(run);
}

int sl_transfer_start(struct sl_transfer *transfer, const struct sl_transfer_request *request)
{
    struct running *run = calloc(1, sizeof(*run));
    int r;

    if (!run)
        return -ENOMEM;
    run->owner = transfer;
    run->request = *request;
    run->reply.linked_bytes = SL_TRANSFER_UNKNOWN;
    begin_answer(&run->reply);
    run->url = strdup(request->url);
    run->easy = curl_easy_init();
    r = run->url && run->easy ? set_options(run) : -ENOMEM;
    if (r == 0 && curl_multi_add_handle(transfer->multi, run->easy) != CURLM_OK)
        r = -ENOMEM;
    if (r < 0) {
        free_running(run);
        return r;
    }
    run->next = transfer->first;
    if (run->next)
        run->next->prev = run;
    transfer->first = run;
    return 0;
}

/* Libcurl's code as one of ours; what trying again does not mend is -EPROTO. */
static int error_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK: return 0;
    case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
    case CURLE_COULDNT_CONNECT: return -ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return -EHOSTUNREACH;
    case CURLE_OUT_OF_MEMORY: return -ENOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_BAD_CONTENT_ENCODING: return -EPROTO;
    default: return -ECONNRESET;
    }
}

/* True: the request goes on at another place. */
static bool follow(struct running *run)
{
    struct sl_transfer *t = run->owner;
    char *to = NULL, *url;

    (void)curl_easy_getinfo(run->easy, CURLINFO_REDIRECT_URL, &to); /* NULL: leads nowhere */
    if (!to)
        return false;
    if (++run->n_redirects > REDIRECTS_MAX) {
        run->reply.error = -EPROTO;
        (void)snprintf(run->reply.text, sizeof(run->reply.text), "more than %d redirects",
                       REDIRECTS_MAX);
        return false;
    }
    if (strncasecmp(to, "https:", 6) != 0 &&
        (strncasecmp(to, "http:", 5) != 0 || !strncasecmp(run->url, "https:", 6))) {
        run->reply.error = -EPROTO;
        (void)snprintf(run->reply.text, sizeof(run->reply.text),
                       "a redirect that is not followed: from %.5s to %.40s", run->url, to);
        sl_text_clean(run->reply.text);
        return false;
    }
    url = strdup(to);
    if (!url || curl_multi_remove_handle(t->multi, run->easy) != CURLM_OK) {
        free(url);
        run->reply.error = -ENOMEM;
        return false;
    }
    free(run->url);
    run->url = url;
    run->n_refused = 0;
    run->reply.is_redirected = true;
    if (curl_easy_setopt(run->easy, CURLOPT_URL, url) || set_token(run) < 0 ||
        curl_multi_add_handle(t->multi, run->easy) != CURLM_OK) {
        run->reply.error = -ENOMEM;
        return false;
    }
    return true;
}

static void end(struct running *run, CURLcode code)
{
    struct sl_transfer_reply *reply = &run->reply;

    reply->status = (int)get_status(run);
    reply->error = run->stop ? run->stop : error_of(code);
    if (reply->status >= 300 && code == CURLE_WRITE_ERROR && !run->stop)
        reply->error = 0; /* its text was long and is of no interest */
    if (reply->error == 0 && reply->status >= 301 && reply->status <= 308 && follow(run))
        return;
    if (reply->error && !run->stop && !reply->text[0])
        copy_text(reply->text, sizeof(reply->text),
                  run->error[0] ? run->error : curl_easy_strerror(code), sizeof(reply->text));
    reply->url = run->url;
    run->request.done(run->request.arg, reply);
    free_running(run);
}

int sl_transfer_run(struct sl_transfer *transfer, uint32_t wait_ms)
{
    int n_running = 0, n_left;
    CURLMsg *message;
    CURLMcode code = curl_multi_perform(transfer->multi, &n_running);
    bool is_idle = true;

    while (code == CURLM_OK && (message = curl_multi_info_read(transfer->multi, &n_left))) {
        struct running *run = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&run) == CURLE_OK)
            end(run, message->data.result);
        is_idle = false;
    }
    if (code == CURLM_OK && is_idle)
        code = curl_multi_poll(transfer->multi, NULL, 0, (int)wait_ms, NULL);
    return code == CURLM_OK ? 0 : code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

void sl_transfer_cancel(struct sl_transfer *transfer)
{
    while (transfer->first)
        free_running(transfer->first);
}

int sl_transfer_open(struct sl_transfer **ret_transfer, const struct sl_transfer_opts *opts,
                     struct sl_diag *diag)
{
    struct sl_transfer *t;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return sl_diag_set(diag, -EIO, "libcurl cannot be used");
    t = calloc(1, sizeof(*t));
    if (t) {
        t->stall_s = (long)opts->stall_s;
        t->user_agent = strdup(opts->user_agent);
        t->ca_file = opts->ca_file ? strdup(opts->ca_file) : NULL;
        t->multi = curl_multi_init();
    }
    if (!t || !t->user_agent || (opts->ca_file && !t->ca_file) || !t->multi) {
        if (t)
            sl_transfer_close(t);
        else
            curl_global_cleanup();
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    }
    *ret_transfer = t;
    return 0;
}

void sl_transfer_close(struct sl_transfer *transfer)
{
    if (!transfer)
        return;
    sl_transfer_cancel(transfer);
    if (transfer->multi)
        (void)curl_multi_cleanup(transfer->multi); /* nothing is in it */
    free(transfer->user_agent);
    free(transfer->ca_file);
    free(transfer);
    curl_global_cleanup();
}
