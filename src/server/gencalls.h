/*
 * The grammar of tool calls in the model's own form, from the schemas of a request's tools:
 * for a tool_choice that requires a call, and for replies that are a call or a text of a given
 * form. Any thread.
 */
#pragma once

#include "base/err.h"
#include "base/strbuf.h"
#include "server/genreq.h"

/*
 * Make grammar, whose root is the text that is possible beside calls, or which is empty, the
 * grammar of either: calls of the request's tools, at most one with SL_GENREQ_ONE_CALL, or of
 * tool_name alone where that is required. Members of arguments come in the order of their
 * schema.
 *
 * As sl_schema_compile, with the tool in the text; -ENOTSUP also for a tool whose name cannot
 * be written as a call. On failure grammar is of no use.
 */
int sl_gencalls_compile(const struct sl_genreq *req, struct sl_strbuf *grammar,
                        struct sl_diag *diag);
