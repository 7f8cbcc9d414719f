/*
 * An error as an API tells it. Front ends and the scheduler fill one in; the form it is
 * written in is that of the API the request came by. Any thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"

#define SL_APIERROR_PARAM_BYTES 96

/* The forms of errors; several front ends share one. */
enum sl_apiform {
    SL_APIFORM_LLAMACPP = 0, /* also where no API is known */
    SL_APIFORM_OPENAI,
    SL_APIFORM_ANTHROPIC,
    SL_APIFORM_OLLAMA,
};

/* All zeroes: none. */
struct sl_apierror {
    int status;                          /* of HTTP: 400, 401, 404, 413, 501, 503 ... */
    uint32_t n_prompt_tok;               /* of a prompt that does not fit n_ctx_tok; ... */
    uint32_t n_ctx_tok;                  /* ... else both are 0 */
    char param[SL_APIERROR_PARAM_BYTES]; /* the field at fault, as "tools[0].type"; "" */
    struct sl_diag message;              /* for a person: what, and what to do */
};

/*
 * Fill in an error of this status and return code, a negative errno, so that a failing
 * function can end with it. param may be NULL; the message begins with it, unless empty.
 */
int sl_apierror_set(struct sl_apierror *error, int code, int status, const char *param,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The prompt is longer than the context. Returns -E2BIG. */
int sl_apierror_set_context(struct sl_apierror *error, uint32_t n_prompt_tok,
                            uint32_t n_ctx_tok);

/*
 * Fill in what a layer below said: what a client can cause (-EBADMSG, -ENOTSUP, -ERANGE,
 * -E2BIG, -EINVAL) is 400, for a client would repeat what is 501 in vain; -ENOMEM and
 * -ECANCELED are 503, any other is 500. Returns code.
 */
int sl_apierror_set_code(struct sl_apierror *error, int code, const char *param,
                         const struct sl_diag *diag);

/* Append the body of a reply that is this error, as JSON without a line end. */
void sl_apierror_write(const struct sl_apierror *error, enum sl_apiform form,
                       struct sl_strbuf *out);

/* Append the error as the last piece of a stream that has begun: an event of SSE, or a
 * line of JSON. */
void sl_apierror_write_stream(const struct sl_apierror *error, enum sl_apiform form,
                              struct sl_strbuf *out);
