/*
 * The schema compiler. Its files, from the top:
 *
 *   schema        this one: the call, limits, errors
 *   schemarules   sets of schemas to rules, choices to alternatives, types
 *   schemaobject, schemaarray   what is inside; keyset: names that are not named
 *   schemaoneof   whether two branches exclude each other
 *   schemashape   several schemas merged into one demand; schemafits: values against it;
 *                 schemaref: places and references
 *   schemaregex, schemaformat, schemanumber   strings and numbers; below them regexset
 *                 and digitrange
 *   ebnfjson      JSON's own rules
 *   ebnf          rules in memory, pruned, printed
 *
 * Everything that is made lives in the ebnf's memory and goes with it.
 */
#include "text/schema.h"

#include <errno.h>

#include "text/keyset.h"
#include "text/schemarules.h"

#define STEP_BYTES 2048u /* of expressions, which are made, linked and printed in a step */

static int error_text(const struct sl_schemactx *ctx, int error)
{
    if (error == -E2BIG && sl_shape_work(ctx) > SL_SCHEMA_STEPS_MAX)
        return sl_shape_too_much_work(ctx, ctx->at);
    if (error == -E2BIG)
        return sl_schemaplace_fail(ctx, ctx->at, error,
                                   "the grammar would have more than %zu bytes, %u rules, one "
                                   "value repeated more than %u times, or a name of more than %u "
                                   "bytes",
                                   SL_SCHEMA_TEXT_MAX, SL_EBNF_RULES_MAX, SL_EBNF_REPEAT_LIMIT,
                                   SL_KEYSET_KEY_BYTES_MAX);
    if (error == -ENOTSUP)
        return sl_diag_set(ctx->diag, error, "#: there is no finite value that satisfies it");
    return sl_diag_set(ctx->diag, error, "#: no memory");
}

static int make(struct sl_schemactx *ctx, struct sl_strbuf *out)
{
    struct sl_schemaitem item = {.node = ctx->root};
    uint32_t root, rule;
    int r;

    r = sl_ebnf_init(&ctx->e);
    if (r < 0)
        return error_text(ctx, r);
    sl_ebnfjson_init(&ctx->json, &ctx->e);
    root = sl_ebnf_rule_new(&ctx->e, NULL);
    rule = sl_schemarules_set(ctx, &item, 1, SL_SHAPE_ALL);
    sl_ebnf_rule_set(&ctx->e, root, sl_ebnf_ref(&ctx->e, rule));
    r = sl_schemarules_make_all(ctx);
    if (r == 0)
        ctx->at = NULL;
    if (r < 0 && r != -ENOMEM && !ctx->e.error)
        return r; /* with its text */
    if (r == 0)
        r = sl_ebnf_print(&ctx->e, root, SL_SCHEMA_TEXT_MAX, out);
    return r < 0 ? error_text(ctx, ctx->e.error ? ctx->e.error : r) : 0;
}

int sl_schema_compile_one(const struct sl_json *schema, uint32_t flags, uint32_t *steps,
                          struct sl_strbuf *out, struct sl_diag *diag)
{
    struct sl_schemactx ctx = {.root = schema, .flags = flags, .n_steps = *steps, .diag = diag};
    const size_t len = out->len;
    const int error = out->error;
    int r;

    if (flags & ~(uint32_t)SL_SCHEMA_CLOSED)
        return sl_diag_set(diag, -EINVAL, "unknown flags");
    r = make(&ctx, out);
    if (r < 0) {
        sl_strbuf_cut(out, len);
        out->error = error;
    }
    *steps = sl_shape_work(&ctx) + (uint32_t)(ctx.e.used_bytes / STEP_BYTES);
    sl_schemarules_done(&ctx);
    sl_ebnf_done(&ctx.e);
    return r;
}

int sl_schema_compile(const struct sl_json *schema, uint32_t flags, struct sl_strbuf *out,
                      struct sl_diag *diag)
{
    uint32_t steps = 0;

    return sl_schema_compile_one(schema, flags, &steps, out, diag);
}

int sl_schema_any_object(struct sl_strbuf *out)
{
    struct sl_ebnfjson json = {0};
    struct sl_ebnf e;
    int r = sl_ebnf_init(&e);

    if (r == 0) {
        sl_ebnfjson_init(&json, &e);
        r = sl_ebnf_print(&e, json.object, SL_SCHEMA_TEXT_MAX, out);
    }
    sl_ebnf_done(&e);
    return r;
}
