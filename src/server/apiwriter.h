/*
 * A reply to a request to generate, written as its events come: in the API's own form, as a
 * stream or in one piece. Pure; one thread at a time per writer.
 *
 *     for each event:
 *         sl_apiwriter_write(writer, event, &out)
 *         a stream: when out has its first bytes, begin it with sl_apiwriter_reply; send them
 *     after FINISH or ERROR: sl_apiwriter_reply; a stream that has begun ends, otherwise out
 *     is the whole body
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/api.h"
#include "server/genevent.h"
#include "server/genid.h"

struct sl_apiwriter;

/*
 * Of a call whose work is GENERATE. call and env are borrowed until free. id names the
 * reply, created_ns is its Unix time. Returns 0 or -ENOMEM.
 */
int sl_apiwriter_new(struct sl_apiwriter **ret_writer, const struct sl_apicall *call,
                     const struct sl_apienv *env, const struct sl_genid *id, int64_t created_ns);
void sl_apiwriter_free(struct sl_apiwriter *writer); /* NULL is allowed */

/*
 * Append what the event makes: whole events of SSE, whole lines of JSON, or, at the end of
 * a reply in one piece, its body. Returns 0 or -ENOMEM; the reply is then lost.
 */
int sl_apiwriter_write(struct sl_apiwriter *writer, const struct sl_genevent *event,
                       struct sl_strbuf *out);

/* Status and type: of a stream known once something was written, of others at the end. */
struct sl_apireply sl_apiwriter_reply(const struct sl_apiwriter *writer);

/* Whether what was written is (the beginning of) a stream: false for replies in one piece,
 * and for errors that came before a stream began. */
bool sl_apiwriter_is_stream(const struct sl_apiwriter *writer);
