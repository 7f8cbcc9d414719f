/*
 * Arrays: positions with schemas of their own, then any number of the rest. From the back
 * to the front each position is a rule that goes on with the next one's.
 */
#include "text/schemarules.h"

#include <errno.h>

/* A schema's prefix and its schema for the rest, in the new spelling or the old. */
static void parts_of(const struct sl_schemaitem *item, const char **ret_prefix_key,
                     const char **ret_rest_key)
{
    bool is_list = sl_json_is(sl_json_find(item->node, "items"), SL_JSON_ARRAY);

    *ret_prefix_key = is_list ? "items" : "prefixItems";
    *ret_rest_key = is_list ? "additionalItems" : "items";
}

/* The rule for position i; n_prefix and beyond are the rest. */
static uint32_t position_rule(struct sl_schemactx *ctx, const struct sl_shape *shape, size_t i)
{
    struct sl_schemaitem items[SL_SHAPE_ITEMS_MAX];
    uint32_t n = 0;

    for (uint32_t k = 0; k < shape->n_items; k++) {
        const struct sl_schemaitem *item = &shape->items[k];
        const char *prefix_key, *rest_key;
        const struct sl_json *prefix, *rest;

        parts_of(item, &prefix_key, &rest_key);
        prefix = sl_json_find(item->node, prefix_key);
        rest = sl_json_find(item->node, rest_key);
        if (i < sl_json_n_items(prefix))
            items[n++] = (struct sl_schemaitem){
                .node = sl_json_item(prefix, i),
                .place = sl_schemaplace_index(
                    ctx, sl_schemaplace_key(ctx, item->place, prefix_key), i)};
        else if (rest)
            items[n++] = (struct sl_schemaitem){
                .node = rest, .place = sl_schemaplace_key(ctx, item->place, rest_key)};
    }
    return sl_schemarules_set(ctx, items, n, SL_SHAPE_ALL);
}

/* comma rule */
static struct sl_ebnf_expr *next_item(struct sl_schemactx *ctx, uint32_t rule)
{
    struct sl_ebnf_expr *seq = sl_ebnf_seq(&ctx->e);

    sl_ebnf_add(&ctx->e, seq, sl_ebnf_ref(&ctx->e, ctx->json.comma));
    return sl_ebnf_add(&ctx->e, seq, sl_ebnf_ref(&ctx->e, rule));
}

/* min to max of the rest behind other items */
static struct sl_ebnf_expr *rest_items(struct sl_schemactx *ctx, uint32_t rule, uint32_t min,
                                       uint32_t max)
{
    return sl_ebnf_repeat_rule(&ctx->e, sl_ebnf_rule_of(&ctx->e, next_item(ctx, rule)), min, max);
}

static uint32_t less(uint32_t count, uint32_t n)
{
    return count == SL_EBNF_NO_MAX ? count : count > n ? count - n : 0;
}

/* The rule of what follows the first i items: the positions from i on, then the rest. */
static uint32_t tail_rule(struct sl_schemactx *ctx, const struct sl_shape *shape, size_t n_prefix)
{
    struct sl_ebnf *e = &ctx->e;
    uint32_t n = (uint32_t)n_prefix;
    uint32_t rule = sl_ebnf_rule_of(e, rest_items(ctx, position_rule(ctx, shape, n_prefix),
                                                  less(shape->min_items, n),
                                                  less(shape->max_items, n)));

    for (uint32_t i = n - 1; i > 0 && !e->error; i--) {
        struct sl_ebnf_expr *seq = next_item(ctx, position_rule(ctx, shape, i));

        sl_ebnf_add(e, seq, sl_ebnf_ref(e, rule));
        if (i >= shape->max_items)
            seq = sl_ebnf_seq(e);
        else if (i >= shape->min_items)
            seq = sl_ebnf_optional(e, seq);
        rule = sl_ebnf_rule_of(e, seq);
    }
    return rule;
}

int sl_schemaarray_make(struct sl_schemactx *ctx, const struct sl_shape *shape,
                        struct sl_ebnf_expr **ret_expr)
{
    struct sl_ebnf *e = &ctx->e;
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);
    size_t n_prefix = 0;

    if (shape->min_items > shape->max_items) {
        *ret_expr = sl_ebnf_alt(e);
        return e->error;
    }
    for (uint32_t k = 0; k < shape->n_items; k++) {
        const char *prefix_key, *rest_key;
        size_t n;

        parts_of(&shape->items[k], &prefix_key, &rest_key);
        n = sl_json_n_items(sl_json_find(shape->items[k].node, prefix_key));
        n_prefix = n > n_prefix ? n : n_prefix;
    }
    if (n_prefix > SL_EBNF_RULES_MAX && !e->error) /* as many rules would be needed */
        return e->error = -E2BIG;
    if (shape->max_items > 0) {
        sl_ebnf_add(e, seq, sl_ebnf_ref(e, position_rule(ctx, shape, 0)));
        if (n_prefix == 0)
            sl_ebnf_add(e, seq,
                        rest_items(ctx, position_rule(ctx, shape, 0), less(shape->min_items, 1),
                                   less(shape->max_items, 1)));
        else
            sl_ebnf_add(e, seq, sl_ebnf_ref(e, tail_rule(ctx, shape, n_prefix)));
        sl_ebnf_add(e, seq, sl_ebnf_ref(e, ctx->json.ws));
        if (shape->min_items == 0)
            seq = sl_ebnf_optional(e, seq);
    }
    *ret_expr = sl_ebnfjson_wrap(&ctx->json, e, "[", seq, "]");
    return e->error;
}
