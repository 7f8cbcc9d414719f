/*
 * Errors in the words of each API. llama.cpp's own has "code" as a number; OpenAI's has it as
 * text or null, and the field at fault beside it; the types are llama.cpp's in both, for its
 * clients look at them. llama.cpp puts the members of two of its errors in another order.
 */
#include "server/apierror.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "server/apijson.h"

int sl_apierror_set(struct sl_apierror *error, int code, int status, const char *param,
                    const char *fmt, ...)
{
    char text[SL_DIAG_BYTES];
    va_list args;

    *error = (struct sl_apierror){.status = status};
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut if too long */
    va_end(args);
    if (!param || !*param)
        return sl_diag_set(&error->message, code, "%s", text);
    (void)snprintf(error->param, sizeof(error->param), "%s", param);
    sl_text_clean(error->param);
    return sl_diag_set(&error->message, code, "%s: %s", param, text);
}

int sl_apierror_set_context(struct sl_apierror *error, uint32_t n_prompt_tok,
                            uint32_t n_ctx_tok)
{
    (void)sl_apierror_set(error, -E2BIG, 400, NULL,
                          "request (%u tokens) exceeds the available context size (%u tokens), "
                          "try increasing it",
                          n_prompt_tok, n_ctx_tok);
    error->n_prompt_tok = n_prompt_tok;
    error->n_ctx_tok = n_ctx_tok;
    return -E2BIG;
}

static int status_of(int code)
{
    switch (code) {
    case -EBADMSG:
    case -ENOTSUP:
    case -ERANGE:
    case -E2BIG:
    case -EINVAL: return 400;
    case -ENOMEM:
    case -ECANCELED: return 503;
    default: return 500;
    }
}

int sl_apierror_set_code(struct sl_apierror *error, int code, const char *param,
                         const struct sl_diag *diag)
{
    return sl_apierror_set(error, code, status_of(code), param, "%s",
                           diag && diag->text[0] ? diag->text : sl_err_text(code));
}

static const char *type_of(const struct sl_apierror *error)
{
    if (error->n_ctx_tok)
        return "exceed_context_size_error";
    switch (error->status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    default: return error->status < 500 ? "invalid_request_error" : "server_error";
    }
}

static const char *anthropic_type_of(const struct sl_apierror *error)
{
    switch (error->status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 501: return "invalid_request_error";
    case 503: return "overloaded_error";
    default: return error->status < 500 ? "invalid_request_error" : "api_error";
    }
}

static const char *openai_code_of(const struct sl_apierror *error)
{
    if (error->n_ctx_tok)
        return "context_length_exceeded";
    switch (error->status) {
    case 401: return "invalid_api_key";
    case 404: return error->param[0] ? "model_not_found" : NULL;
    case 429: return "rate_limit_exceeded";
    default: return NULL;
    }
}

static void add_llamacpp(struct sl_jsonwriter *w, const struct sl_apierror *error)
{
    bool code_last = error->status == 404 || error->status == 503;

    if (!code_last)
        sl_apijson_i64(w, "code", error->status);
    sl_apijson_text(w, "message", error->message.text);
    sl_apijson_text(w, "type", type_of(error));
    if (code_last)
        sl_apijson_i64(w, "code", error->status);
}

static void add_openai(struct sl_jsonwriter *w, const struct sl_apierror *error)
{
    sl_apijson_text(w, "code", openai_code_of(error));
    sl_apijson_text(w, "message", error->message.text);
    sl_apijson_text(w, "type", type_of(error));
    sl_apijson_text(w, "param", error->param[0] ? error->param : NULL);
}

static void write_error(struct sl_jsonwriter *w, const struct sl_apierror *error,
                        enum sl_apiform form)
{
    sl_jsonwriter_begin_object(w);
    if (form == SL_APIFORM_OLLAMA) {
        sl_apijson_text(w, "error", error->message.text);
        sl_jsonwriter_end_object(w);
        return;
    }
    if (form == SL_APIFORM_ANTHROPIC)
        sl_apijson_text(w, "type", "error");
    sl_apijson_object(w, "error");
    if (form == SL_APIFORM_ANTHROPIC) {
        sl_apijson_text(w, "type", anthropic_type_of(error));
        sl_apijson_text(w, "message", error->message.text);
    } else if (form == SL_APIFORM_OPENAI) {
        add_openai(w, error);
    } else {
        add_llamacpp(w, error);
    }
    if (error->n_ctx_tok) {
        sl_apijson_i64(w, "n_prompt_tokens", error->n_prompt_tok);
        sl_apijson_i64(w, "n_ctx", error->n_ctx_tok);
    }
    sl_jsonwriter_end_object(w);
    sl_jsonwriter_end_object(w);
}

void sl_apierror_write(const struct sl_apierror *error, enum sl_apiform form,
                       struct sl_strbuf *out)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    write_error(&w, error, form);
    sl_apijson_hand_over(&w, out, SL_APIJSON_BODY, NULL);
}

void sl_apierror_write_stream(const struct sl_apierror *error, enum sl_apiform form,
                              struct sl_strbuf *out)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    write_error(&w, error, form);
    sl_apijson_hand_over(&w, out, form == SL_APIFORM_OLLAMA ? SL_APIJSON_LINE : SL_APIJSON_EVENT,
                         form == SL_APIFORM_ANTHROPIC ? "error" : NULL);
}
