/* Places and references. */
#include "text/schemaref.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_SHOWN 64

static const struct sl_schemaplace *place_new(struct sl_schemactx *ctx,
                                              const struct sl_schemaplace *parent,
                                              const char *key, size_t index)
{
    struct sl_schemaplace *place = sl_ebnf_alloc(&ctx->e, sizeof(*place));

    if (place)
        *place = (struct sl_schemaplace){parent, key, index};
    return place;
}

const struct sl_schemaplace *sl_schemaplace_key(struct sl_schemactx *ctx,
                                                const struct sl_schemaplace *parent,
                                                const char *key)
{
    return place_new(ctx, parent, key, 0);
}

const struct sl_schemaplace *sl_schemaplace_index(struct sl_schemactx *ctx,
                                                  const struct sl_schemaplace *parent,
                                                  size_t index)
{
    return place_new(ctx, parent, NULL, index);
}

/* One step of a JSON pointer. */
static void add_step(struct sl_strbuf *out, const struct sl_schemaplace *place)
{
    sl_strbuf_add_str(out, "/");
    if (!place->key)
        sl_strbuf_add_fmt(out, "%zu", place->index);
    for (const char *c = place->key; c && *c; c++)
        if (*c == '~' || *c == '/')
            sl_strbuf_add_str(out, *c == '~' ? "~0" : "~1");
        else
            sl_strbuf_add(out, c, 1);
}

int sl_schemaplace_fail(const struct sl_schemactx *ctx, const struct sl_schemaplace *place,
                        int code, const char *fmt, ...)
{
    const struct sl_schemaplace *steps[PLACES_SHOWN];
    struct sl_strbuf out = {0};
    char text[SL_DIAG_BYTES / 2];
    size_t n = 0;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut where it is too long */
    va_end(args);
    for (; place && n < PLACES_SHOWN; place = place->parent)
        steps[n++] = place;
    sl_strbuf_add_str(&out, place ? "#/..." : "#");
    while (n > 0)
        add_step(&out, steps[--n]);
    /* a very long path loses its middle, not the reason */
    if (out.len > SL_DIAG_BYTES / 3) {
        const char *end = out.ptr + out.len - SL_DIAG_BYTES / 6;

        while (((unsigned char)*end & 0xC0) == 0x80)
            end++;
        code = sl_diag_set(ctx->diag, code, "%.*s...%s: %s", SL_DIAG_BYTES / 6, out.ptr, end, text);
    } else {
        code = sl_diag_set(ctx->diag, code, "%s: %s", out.ptr ? out.ptr : "#", text);
    }
    sl_strbuf_done(&out);
    return code;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F'                                ? c - 'A' + 10
                                                                 : -1;
}

/* The step of a pointer at *text, decoded to memory of ctx; *text is then behind it. */
static char *next_step(struct sl_schemactx *ctx, const char **text)
{
    size_t len = strcspn(*text, "/");
    char *step = sl_ebnf_alloc(&ctx->e, len + 1), *out = step;
    const char *in = *text, *end = in + len;

    if (!step)
        return NULL;
    for (; in < end; in++)
        if (*in == '%' && end - in > 2 && hex(in[1]) >= 0 && hex(in[2]) >= 0) {
            *out++ = (char)(hex(in[1]) << 4 | hex(in[2]));
            in += 2;
        } else {
            *out++ = *in;
        }
    *out = '\0';
    for (in = out = step; *in; in++)
        if (*in == '~' && (in[1] == '0' || in[1] == '1'))
            *out++ = *++in == '0' ? '~' : '/';
        else
            *out++ = *in;
    *out = '\0';
    *text = *end ? end + 1 : end;
    return step;
}

static const struct sl_json *step_into(const struct sl_json *node, const char *step)
{
    char *end;
    size_t index;

    if (!sl_json_is(node, SL_JSON_ARRAY))
        return sl_json_find(node, step);
    index = strtoul(step, &end, 10);
    return *step && !*end ? sl_json_item(node, index) : NULL;
}

int sl_schemaref_resolve(struct sl_schemactx *ctx, const struct sl_json *ref,
                         const struct sl_schemaplace *place, const struct sl_json **ret_node,
                         const struct sl_schemaplace **ret_place)
{
    const char *text = sl_json_get_string(ref, NULL);
    const struct sl_json *node = ctx->root;
    const struct sl_schemaplace *at = NULL;

    if (!text)
        return sl_schemaplace_fail(ctx, place, -EBADMSG, "expected a string, found %s",
                                   sl_json_type_name(sl_json_get_type(ref)));
    if (text[0] != '#' || (text[1] && text[1] != '/'))
        return sl_schemaplace_fail(
            ctx, place, -ENOTSUP,
            "only references within the schema are supported, as #/$defs/name; found \"%.60s\"",
            text);
    if (text[1]) {
        const char *rest = text + 2;
        bool more = true;

        while (node && more) {
            char *step;

            more = strchr(rest, '/') != NULL;
            step = next_step(ctx, &rest);
            if (!step)
                return ctx->e.error;
            node = step_into(node, step);
            at = sl_schemaplace_key(ctx, at, step);
        }
    }
    if (!node)
        return sl_schemaplace_fail(ctx, place, -EBADMSG, "nothing is at %.100s", text);
    *ret_node = node;
    *ret_place = at;
    return ctx->e.error;
}
