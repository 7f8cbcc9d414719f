/*
 * A text that grows: append, and look at the error once at the end. After a failed
 * allocation every further append does nothing, so callers need not check each one.
 * One thread at a time per buffer.
 */
#pragma once

#include <stddef.h>

struct sl_strbuf {
    char *ptr;  /* heap, terminated; NULL while nothing was appended */
    size_t len; /* without the terminator */
    size_t cap;
    int error; /* 0, -ENOMEM or -E2BIG; sticky */
};

/* A buffer of all zeroes is an empty one. */
void sl_strbuf_done(struct sl_strbuf *buf);

void sl_strbuf_add(struct sl_strbuf *buf, const char *text, size_t len);
void sl_strbuf_add_str(struct sl_strbuf *buf, const char *text);
void sl_strbuf_add_fmt(struct sl_strbuf *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Forget all but the first len bytes; len <= buf->len. */
void sl_strbuf_cut(struct sl_strbuf *buf, size_t len);

/*
 * Hand the text over to the caller (free()); an empty buffer gives "". The buffer is
 * empty afterwards. Returns 0, or the buffer's error and then frees what it had.
 */
int sl_strbuf_take(struct sl_strbuf *buf, char **ret_text, size_t *ret_len);
