/*
 * What would store something, or read and write more than text. A client that tries one is
 * told so in the form of its API, in place of a path that is not known. The list comes last:
 * its patterns are wider than those of endpoints that there are.
 */
#include "server/apirefused.h"

#include <errno.h>

static void refuse(struct sl_apiobject *o)
{
    o->parse->code = sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                                     "This server does not support this endpoint");
}

#define REFUSED(method_, path, form_) \
    { \
        .method = method_, .pattern = path, .form = form_, .work = SL_APIWORK_STATE, \
        .parse = refuse, \
    }
#define ANY(path, form_) \
    REFUSED(SL_HTTP_GET, path, form_), REFUSED(SL_HTTP_POST, path, form_), \
        REFUSED(SL_HTTP_DELETE, path, form_)
#define OPENAI(path) ANY(path, SL_APIFORM_OPENAI)
#define ANTHROPIC(path) ANY(path, SL_APIFORM_ANTHROPIC)

static const struct sl_apiendpoint endpoints[] = {
    REFUSED(SL_HTTP_GET, "/v1/chat/completions", SL_APIFORM_OPENAI),
    OPENAI("/v1/chat/completions/*"),
    REFUSED(SL_HTTP_DELETE, "/v1/models/*", SL_APIFORM_OPENAI),
    OPENAI("/v1/assistants"),
    OPENAI("/v1/assistants/*"),
    OPENAI("/v1/audio/*"),
    OPENAI("/v1/batches"),
    OPENAI("/v1/batches/*"),
    OPENAI("/v1/containers"),
    OPENAI("/v1/containers/*"),
    OPENAI("/v1/conversations"),
    OPENAI("/v1/conversations/*"),
    OPENAI("/v1/evals"),
    OPENAI("/v1/evals/*"),
    OPENAI("/v1/files"),
    OPENAI("/v1/files/*"),
    OPENAI("/v1/fine_tuning/*"),
    OPENAI("/v1/images/*"),
    OPENAI("/v1/moderations"),
    OPENAI("/v1/realtime/*"),
    OPENAI("/v1/skills"),
    OPENAI("/v1/skills/*"),
    OPENAI("/v1/threads"),
    OPENAI("/v1/threads/*"),
    OPENAI("/v1/uploads"),
    OPENAI("/v1/uploads/*"),
    OPENAI("/v1/vector_stores"),
    OPENAI("/v1/vector_stores/*"),
    OPENAI("/v1/videos"),
    OPENAI("/v1/videos/*"),
    ANTHROPIC("/v1/complete"),
    ANTHROPIC("/v1/messages/batches"),
    ANTHROPIC("/v1/messages/batches/*"),
};

struct sl_apilist sl_apirefused_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
