#include "server/sse.h"

#include <assert.h>
#include <string.h>

void sl_sse_add(struct sl_strbuf *out, const char *name, const char *data, size_t len)
{
    size_t at = 0;

    if (name) {
        assert(!strpbrk(name, "\r\n"));
        sl_strbuf_add_str(out, "event: ");
        sl_strbuf_add_str(out, name);
        sl_strbuf_add(out, "\n", 1);
    }
    for (;;) {
        size_t end = at;

        while (end < len && data[end] != '\n' && data[end] != '\r')
            end++;
        sl_strbuf_add_str(out, "data: ");
        sl_strbuf_add(out, data + at, end - at);
        sl_strbuf_add(out, "\n", 1);
        if (end == len)
            break;
        at = end + (data[end] == '\r' && end + 1 < len && data[end + 1] == '\n' ? 2 : 1);
    }
    sl_strbuf_add(out, "\n", 1);
}

void sl_sse_add_json_line(struct sl_strbuf *out, const char *json, size_t len)
{
    assert(!memchr(json, '\n', len));
    sl_strbuf_add(out, json, len);
    sl_strbuf_add(out, "\n", 1);
}
