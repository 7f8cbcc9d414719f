/*
 * Showing that two branches of a oneOf exclude each other. For each type that both allow
 * there has to be a reason: a constant that the other does not have, or for objects a
 * member that one requires and that the two want differently, or the other forbids. The
 * shapes' own choices are not looked at: they only make a shape smaller.
 */
#include <errno.h>
#include <stdlib.h>

#include "text/schema.h"
#include "text/schemarules.h"

#define DEPTH_MAX 3u

static int apart(struct sl_schemactx *ctx, const struct sl_shape *a, const struct sl_shape *b,
                 uint32_t depth);

/* Whether none of a's enumerated values fits b. */
static bool constants_apart(struct sl_schemactx *ctx, const struct sl_shape *a,
                            const struct sl_shape *b)
{
    if (a->n_enums == 0)
        return false;
    for (size_t k = 0; k < sl_shape_n_enum(a, 0) && !ctx->e.error; k++)
        if (sl_shape_fits(ctx, b, sl_shape_enum(a, 0, k), 0) != 0)
            return false;
    return true;
}

/* Whether the member that a requires cannot satisfy b as well. */
static int member_apart(struct sl_schemactx *ctx, const struct sl_shape *a,
                        const struct sl_shape *b, const char *key, uint32_t depth)
{
    struct sl_shape *shapes = calloc(2, sizeof(*shapes));
    const struct sl_shape *of[2] = {a, b};
    int r = shapes ? sl_shape_steps(ctx, ctx->at, (a->n_items + b->n_items) / 4) : -ENOMEM;

    for (int i = 0; r == 0 && i < 2; i++) {
        struct sl_schemaitem items[SL_SHAPE_ITEMS_MAX];
        bool named = false;
        uint32_t n = sl_schemaobject_member(ctx, of[i], key, items, &named);

        r = sl_shape_steps(ctx, ctx->at, n == 0); /* else each is counted */
        if (r == 0)
            r = sl_shape_make(ctx, items, n, &shapes[i]);
        if (r == 0 && !named && sl_schemaobject_is_closed(ctx, of[i]))
            shapes[i].types = 0;
    }
    if (r == 0)
        r = apart(ctx, &shapes[0], &shapes[1], depth + 1);
    free(shapes);
    return r;
}

static int objects_apart(struct sl_schemactx *ctx, const struct sl_shape *a,
                         const struct sl_shape *b, uint32_t depth)
{
    int r = 0;

    if (depth > DEPTH_MAX)
        return 0;
    for (uint32_t i = 0; i < a->n_items; i++) {
        const struct sl_json *required = sl_json_find(a->items[i].node, "required");

        for (size_t k = 0; r == 0 && k < sl_json_n_items(required); k++) {
            const char *key = sl_json_get_string(sl_json_item(required, k), NULL);

            if (key)
                r = member_apart(ctx, a, b, key, depth);
        }
    }
    return r;
}

static int apart(struct sl_schemactx *ctx, const struct sl_shape *a, const struct sl_shape *b,
                 uint32_t depth)
{
    uint32_t common = a->types & b->types;
    int r;

    if (common == 0 || constants_apart(ctx, a, b) || constants_apart(ctx, b, a))
        return ctx->e.error ? ctx->e.error : 1;
    if (common != SL_SHAPE_OBJECT)
        return 0;
    r = objects_apart(ctx, a, b, depth);
    return r != 0 ? r : objects_apart(ctx, b, a, depth);
}

int sl_schemaoneof_apart(struct sl_schemactx *ctx, const struct sl_shape *a,
                         const struct sl_shape *b)
{
    return apart(ctx, a, b, 0);
}
