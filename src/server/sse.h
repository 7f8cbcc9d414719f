/*
 * The two forms of streams: server-sent events and JSON lines. Each call appends one whole
 * piece, to be sent as it is. One thread at a time per buffer.
 */
#pragma once

#include "base/strbuf.h"

#define SL_SSE_TYPE "text/event-stream"
#define SL_NDJSON_TYPE "application/x-ndjson"
#define SL_SSE_PING ":\n\n" /* a comment: clients must ignore it */

/*
 * An event: "event: NAME" unless name is NULL, then the data. A line end within the data
 * (LF, CR or both) begins another data line, as the format wants. name has no line ends.
 */
void sl_sse_add(struct sl_strbuf *out, const char *name, const char *data, size_t len);

/* One JSON text, which must be without line ends, as a line. */
void sl_sse_add_json_line(struct sl_strbuf *out, const char *json, size_t len);
