/*
 * Any bytes as a request to any endpoint: the first says which, the rest are the body. It is
 * refused with a status and a text that are JSON of the API's form, or taken; then it is
 * answered, or a reply is played into its writer, and all that is written is JSON.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/server/apiworld.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void require_json(const char *text, size_t len)
{
    struct sl_json_doc *doc = NULL;

    require(sl_json_parse(&doc, text, len, NULL) == 0);
    sl_json_free(doc);
}

static void check_error(const struct sl_apierror *error, enum sl_apiform form)
{
    struct sl_strbuf out = {0};

    require(error->status >= 400 && error->status < 600 && error->message.text[0]);
    sl_apierror_write(error, form, &out);
    require_json(out.ptr, out.len);
    sl_strbuf_done(&out);
}

/* Each line of a stream is empty, an event's name, or JSON. */
static void check_stream(const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");

        if (strncmp(text, "data: ", 6) == 0 && strncmp(text, "data: [DONE]", 12) != 0)
            require_json(text + 6, len - 6);
        else if (*text == '{')
            require_json(text, len);
        else
            require(len == 0 || strncmp(text, "event: ", 7) == 0 ||
                    strncmp(text, "data: [DONE]", len) == 0);
        text += len + (text[len] == '\n');
    }
}

static void check_reply(const struct sl_apicall *call)
{
    static const struct apiworld_event events[] = {
        {SL_GENEVENT_START, "Hello", 0},           {SL_GENEVENT_PROGRESS, NULL, 13},
        {SL_GENEVENT_REASONING, "h\"m", 0},        {SL_GENEVENT_TOKEN, "\xF0\x9F", 7},
        {SL_GENEVENT_TEXT, "a\n", 0},              {SL_GENEVENT_CALL_BEGIN, "f", 0},
        {SL_GENEVENT_CALL_ARGUMENTS, "{\"a\":", 0}, {SL_GENEVENT_CALL_ARGUMENTS, "1}", 0},
        {SL_GENEVENT_CALL_END, NULL, 0},           {SL_GENEVENT_CALL_BEGIN, "g", 0},
        {SL_GENEVENT_CALL_END, NULL, 0},           {SL_GENEVENT_TEXT, "\"}", 0},
        {SL_GENEVENT_FINISH, NULL, SL_GENFINISH_LENGTH},
    };
    struct sl_strbuf out = {0};
    struct sl_apireply reply;

    require(apiworld_play(call, &apiworld_env, events, sizeof(events) / sizeof(events[0]), &out,
                          &reply) == 0);
    require(reply.status == 200 && out.len > 0);
    check_stream(out.ptr);
    sl_strbuf_done(&out);
}

static void check_answer(const struct sl_apicall *call)
{
    struct sl_strbuf out = {0};
    struct sl_apireply reply;
    struct sl_apierror error;

    if (sl_api_answer(call, &apiworld_env, &apiworld_state, &apiworld_text, &out, &reply,
                      &error) < 0)
        check_error(&error, sl_apicall_form(call));
    else if (strncmp(reply.type, "application/json", 16) == 0)
        require_json(out.ptr, out.len);
    sl_strbuf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sl_apiroute route;
    struct sl_apicall *call = NULL;
    struct sl_apierror error;
    char path[64];
    size_t len;
    int r;

    if (n == 0)
        return 0;
    route = sl_api_route((data[0] - 32u) % sl_api_n_routes());
    len = strlen(route.pattern);
    memcpy(path, route.pattern, len + 1);
    if (path[len - 1] == '*')
        path[len - 1] = '0';
    r = sl_api_parse(&call, &apiworld_env, route.method, path, "action=save",
                     (const char *)data + 1, n - 1, &error);
    if (r < 0)
        check_error(&error, sl_api_form(path));
    else if (call->work == SL_APIWORK_GENERATE)
        check_reply(call);
    else if (call->work <= SL_APIWORK_TEXT)
        check_answer(call);
    sl_apicall_free(call);
    return 0;
}
