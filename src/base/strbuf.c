/*
 * Growing text. Capacity doubles; room for the terminator is always kept, so that
 * ptr is a C string after every append. SL_STRBUF_BYTES_MAX bounds what any input
 * can make us hold.
 */
#include "base/strbuf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SL_STRBUF_BYTES_MAX ((size_t)1 << 30)

/* Make room for len more bytes and a terminator. */
static bool grow(struct sl_strbuf *buf, size_t len)
{
    size_t want;
    char *ptr;

    if (buf->error)
        return false;
    if (len >= SL_STRBUF_BYTES_MAX - buf->len) {
        buf->error = -E2BIG;
        return false;
    }
    if (buf->len + len + 1 <= buf->cap)
        return true;

    want = buf->cap ? buf->cap : 64;
    while (want < buf->len + len + 1)
        want *= 2;
    ptr = realloc(buf->ptr, want);
    if (!ptr) {
        buf->error = -ENOMEM;
        return false;
    }
    buf->ptr = ptr;
    buf->cap = want;
    return true;
}

void sl_strbuf_done(struct sl_strbuf *buf)
{
    free(buf->ptr);
    *buf = (struct sl_strbuf){0};
}

void sl_strbuf_add(struct sl_strbuf *buf, const char *text, size_t len)
{
    if (!grow(buf, len))
        return;
    if (len)
        memcpy(buf->ptr + buf->len, text, len);
    buf->len += len;
    buf->ptr[buf->len] = '\0';
}

void sl_strbuf_add_str(struct sl_strbuf *buf, const char *text)
{
    sl_strbuf_add(buf, text, strlen(text));
}

void sl_strbuf_add_fmt(struct sl_strbuf *buf, const char *fmt, ...)
{
    va_list args, again;
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len >= 0 && grow(buf, (size_t)len)) {
        (void)vsnprintf(buf->ptr + buf->len, (size_t)len + 1, fmt, again); /* fits */
        buf->len += (size_t)len;
    }
    va_end(again);
}

void sl_strbuf_cut(struct sl_strbuf *buf, size_t len)
{
    if (len >= buf->len)
        return;
    buf->len = len;
    buf->ptr[len] = '\0';
}

int sl_strbuf_take(struct sl_strbuf *buf, char **ret_text, size_t *ret_len)
{
    int error;

    sl_strbuf_add(buf, "", 0);
    error = buf->error;
    if (error) {
        sl_strbuf_done(buf);
        return error;
    }
    *ret_text = buf->ptr;
    if (ret_len)
        *ret_len = buf->len;
    *buf = (struct sl_strbuf){0};
    return 0;
}
