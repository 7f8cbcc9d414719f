/*
 * The table of all endpoints, and what parsing and answering have in common.
 */
#include "server/api.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/apianthropic.h"
#include "server/apichat.h"
#include "server/apicompletion.h"
#include "server/apiendpoint.h"
#include "server/apiexperts.h"
#include "server/apijson.h"
#include "server/apillama.h"
#include "server/apillamainfo.h"
#include "server/apimodels.h"
#include "server/apiollama.h"
#include "server/apiollamainfo.h"
#include "server/apioptions.h"
#include "server/apirefused.h"
#include "server/apiresponses.h"
#include "server/route.h"

#define JSON_TYPE "application/json; charset=utf-8"

static struct sl_apilist (*const lists[])(void) = {
    sl_apichat_list,      sl_apicompletion_list, sl_apimodels_list,
    sl_apillama_list,     sl_apillamainfo_list,  sl_apiollama_list,
    sl_apiollamainfo_list, sl_apianthropic_list, sl_apiresponses_list,
    sl_apirefused_list,   sl_apiexperts_list,
};
#define N_LISTS (sizeof(lists) / sizeof(lists[0]))

/* Endpoint i of all, or NULL. */
static const struct sl_apiendpoint *endpoint_at(size_t i)
{
    for (size_t k = 0; k < N_LISTS; k++) {
        struct sl_apilist list = lists[k]();

        if (i < list.n)
            return &list.endpoints[i];
        i -= list.n;
    }
    return NULL;
}

size_t sl_api_n_routes(void)
{
    size_t n = 0;

    for (size_t k = 0; k < N_LISTS; k++)
        n += lists[k]().n;
    return n;
}

struct sl_apiroute sl_api_route(size_t i)
{
    const struct sl_apiendpoint *e = endpoint_at(i);

    return (struct sl_apiroute){e->method, e->pattern, e->flags & SL_APIENDPOINT_PUBLIC};
}

enum sl_apiform sl_apicall_form(const struct sl_apicall *call)
{
    return call->endpoint->form;
}

enum sl_apiform sl_api_form(const char *path)
{
    const struct sl_apiendpoint *e;
    const char *rest;

    for (size_t i = 0; (e = endpoint_at(i)) != NULL; i++)
        if (sl_route_is_match(e->pattern, path, &rest))
            return e->form;
    if (strncmp(path, "/api/", 5) == 0)
        return SL_APIFORM_OLLAMA;
    if (strncmp(path, "/v1/messages/", 13) == 0)
        return SL_APIFORM_ANTHROPIC;
    return strncmp(path, "/v1/", 4) == 0 ? SL_APIFORM_OPENAI : SL_APIFORM_LLAMACPP;
}

/* The endpoint, and what the asterisk of its pattern stands for or NULL; NULL with the error. */
static const struct sl_apiendpoint *find_endpoint(enum sl_http_method method, const char *path,
                                                  const char **ret_rest,
                                                  struct sl_apierror *error)
{
    const struct sl_apiendpoint *e;
    bool is_known = false;

    for (size_t i = 0; (e = endpoint_at(i)) != NULL; i++) {
        if (!sl_route_is_match(e->pattern, path, ret_rest))
            continue;
        is_known = true;
        if (e->method == method || (e->method == SL_HTTP_GET && method == SL_HTTP_HEAD))
            return e;
    }
    if (is_known)
        (void)sl_apierror_set(error, -ENOENT, 405, NULL, "%s is not supported here",
                              sl_httphead_method_text(method));
    else
        (void)sl_apierror_set(error, -ENOENT, 404, NULL, "File Not Found");
    return NULL;
}

static int hex_of(char c)
{
    if (!isxdigit((unsigned char)c))
        return -1;
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Resolve %XX in place; what is none, or would be NUL, stays. */
static void decode_percent(char *text)
{
    char *out = text;

    for (const char *p = text; *p; p++) {
        int high = *p == '%' ? hex_of(p[1]) : -1, low = high >= 0 ? hex_of(p[2]) : -1;

        if (low >= 0 && (high || low)) {
            *out++ = (char)(high << 4 | low);
            p += 2;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
}

/* Parse the body with the endpoint's parser. */
static void parse_body(struct sl_apiparse *parse, const char *body, size_t len)
{
    const struct sl_apiendpoint *e = parse->call->endpoint;
    struct sl_apiobject root = {.parse = parse};
    struct sl_json_doc *doc = NULL;
    struct sl_diag diag;
    int r;

    if (e->flags & SL_APIENDPOINT_BODY || (e->flags & SL_APIENDPOINT_MAY_BODY && len)) {
        r = sl_json_parse(&doc, body, len, &diag);
        if (r == -ENOMEM)
            sl_apiparse_no_memory(parse);
        else if (r < 0)
            sl_apiobject_fail_code(&root, NULL, r, &diag);
        else if (!sl_json_is(sl_json_root(doc), SL_JSON_OBJECT))
            sl_apiobject_fail(&root, NULL, "a JSON object expected, found %s",
                              sl_json_type_name(sl_json_get_type(sl_json_root(doc))));
        else
            root.node = sl_json_root(doc);
    }
    if (parse->code == 0 && e->parse)
        e->parse(&root);
    sl_json_free(doc);
}

int sl_api_parse(struct sl_apicall **ret_call, const struct sl_apienv *env,
                 enum sl_http_method method, const char *path, const char *query,
                 const char *body, size_t len, struct sl_apierror *error)
{
    struct sl_apiparse parse = {.env = env, .error = error, .query = query};
    const char *rest = NULL;
    const struct sl_apiendpoint *e;

    *error = (struct sl_apierror){0};
    e = find_endpoint(method, path, &rest, error);
    if (!e)
        return -ENOENT;
    parse.call = sl_apiparse_alloc(&parse, 1, sizeof(*parse.call));
    if (!parse.call)
        return parse.code;
    parse.call->endpoint = e;
    parse.call->work = e->work;
    sl_apioptions_default(&parse);
    if (rest)
        parse.call->name = sl_apiparse_copy(&parse, rest, strlen(rest));
    if (parse.code == 0) {
        if (rest)
            decode_percent(parse.call->name);
        parse_body(&parse, body, len);
    }
    if (parse.code < 0) {
        sl_apicall_free(parse.call);
        return parse.code;
    }
    *ret_call = parse.call;
    return 0;
}

void sl_apicall_free(struct sl_apicall *call)
{
    if (!call)
        return;
    sl_genreq_done(&call->gen);
    free(call->echo_json);
    free(call->tokens);
    free(call->filename);
    free(call->name);
    free(call);
}

int sl_api_answer(const struct sl_apicall *call, const struct sl_apienv *env,
                  const struct sl_apistate *state, const struct sl_apitext *text,
                  struct sl_strbuf *out, struct sl_apireply *ret_reply,
                  struct sl_apierror *error)
{
    struct sl_apianswer a = {
        .call = call,
        .env = env,
        .state = state,
        .text = text,
        .out = out,
        .reply = {200, JSON_TYPE},
        .error = error,
    };
    int r;

    *error = (struct sl_apierror){0};
    if (state->is_loading && !(call->endpoint->flags & SL_APIENDPOINT_STATIC))
        return sl_apierror_set(error, -EAGAIN, 503, NULL, "Loading model");
    sl_jsonwriter_init(&a.w, NULL, 0);
    r = call->endpoint->answer(&a);
    if (r < 0) {
        sl_strbuf_done(&a.w.buf);
        return r;
    }
    sl_apijson_hand_over(&a.w, out, SL_APIJSON_BODY, NULL);
    if (out->error)
        return sl_apierror_set(error, out->error, 503, NULL, "not enough memory for the answer");
    *ret_reply = a.reply;
    return 0;
}
