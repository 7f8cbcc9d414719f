/*
 * From sets of schemas to rules. A set that all have to hold gets a rule the first time
 * it is asked for, and the rule its text when its turn comes: no recursion over the
 * schema, and schemas that refer to themselves come to an end.
 *
 * A set with anyOf or oneOf is replaced by one set for each branch, until none is left;
 * such a leaf is an alternative of the rule. A leaf is the list of its constants, or has
 * an alternative for each type.
 */
#include "text/schemarules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/schema.h"
#include "text/schemaref.h"
#include "text/schemaregex.h"
#include "text/vector.h"

#define DEPTH_MAX    24u  /* choices within choices */
#define BRANCHES_MAX 256u /* of a oneOf */

struct sl_schemaset {
    const struct sl_schemaitem *items;
    uint32_t n;
    uint32_t types;
    uint64_t hash; /* the same in any order */
    uint32_t rule;
};

static bool is_any(const struct sl_json *node)
{
    bool value = false;

    if (sl_json_get_bool(node, &value))
        return value;
    return sl_json_is(node, SL_JSON_OBJECT) && sl_json_n_items(node) == 0;
}

static bool contains(const struct sl_schemaitem *items, uint32_t n, const struct sl_json *node)
{
    for (uint32_t i = 0; i < n; i++)
        if (items[i].node == node)
            return true;
    return false;
}

static bool is_same(const struct sl_schemaset *a, const struct sl_schemaset *b)
{
    if (a->hash != b->hash || a->n != b->n || a->types != b->types)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!contains(b->items, b->n, a->items[i].node))
            return false;
    return true;
}

static uint32_t add_set(struct sl_schemactx *ctx, struct sl_schemaset set)
{
    if (sl_vector_grow(&ctx->sets, &ctx->cap_sets, ctx->n_sets, 1) < 0) {
        ctx->e.error = -ENOMEM;
        return 0;
    }
    set.rule = sl_ebnf_rule_new(&ctx->e, NULL);
    ctx->sets[ctx->n_sets++] = set;
    return set.rule;
}

/* See through a schema that is only a reference, so that it gets no rule of its own. What
 * is wrong with references is found when they are followed. */
static struct sl_schemaitem target_of(struct sl_schemactx *ctx, struct sl_schemaitem item)
{
    struct sl_diag *diag = ctx->diag;

    ctx->diag = NULL;
    for (int hops = 0; hops < 8 && sl_json_n_items(item.node) == 1; hops++) {
        const struct sl_json *ref = sl_json_find(item.node, "$ref");
        struct sl_schemaitem target = {0};

        if (!ref || sl_schemaref_resolve(ctx, ref, item.place, &target.node, &target.place) < 0)
            break;
        item = target;
    }
    ctx->diag = diag;
    return item;
}

uint32_t sl_schemarules_set(struct sl_schemactx *ctx, const struct sl_schemaitem *items,
                            uint32_t n, uint32_t types)
{
    struct sl_schemaset set = {.types = types};
    struct sl_schemaitem *copy = sl_ebnf_alloc(&ctx->e, (n + 1) * sizeof(*copy));

    if (!copy)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        struct sl_schemaitem item = target_of(ctx, items[i]);

        if (is_any(item.node) || contains(copy, set.n, item.node))
            continue;
        set.hash += ((uint64_t)(uintptr_t)item.node >> 4) * 0x9E3779B97F4A7C15u;
        copy[set.n++] = item;
    }
    set.items = copy;
    if (set.n == 0 && types == SL_SHAPE_ALL)
        return ctx->json.value;
    for (uint32_t i = 0; i < ctx->n_sets; i++)
        if (is_same(&ctx->sets[i], &set))
            return ctx->sets[i].rule;
    return add_set(ctx, set);
}

int sl_schemarules_pattern(struct sl_schemactx *ctx, const char *pattern, size_t len,
                           uint32_t min_len, uint32_t max_len, const struct sl_schemaplace *place,
                           struct sl_ebnf_expr **ret_expr)
{
    struct sl_ebnf_expr *content = NULL, *seq;
    struct sl_diag diag = {""};
    int r = sl_schemaregex_compile(&ctx->e, pattern, len, min_len, max_len, &content, &diag);

    if (ctx->e.error)
        return ctx->e.error;
    if (r < 0)
        return sl_schemaplace_fail(ctx, place, r, "%s", diag.text);
    seq = sl_ebnf_seq(&ctx->e);
    sl_ebnf_add(&ctx->e, seq, sl_ebnf_literal_str(&ctx->e, "\""));
    sl_ebnf_add(&ctx->e, seq, content);
    *ret_expr = sl_ebnf_add(&ctx->e, seq, sl_ebnf_literal_str(&ctx->e, "\""));
    return ctx->e.error;
}

static int make_string(struct sl_schemactx *ctx, const struct sl_shape *shape,
                       struct sl_ebnf_expr **ret_expr)
{
    struct sl_ebnf *e = &ctx->e;
    struct sl_ebnf_expr *seq;

    if (shape->min_len > shape->max_len) {
        *ret_expr = sl_ebnf_alt(e);
        return 0;
    }
    if (shape->pattern)
        return sl_schemarules_pattern(ctx, shape->pattern, shape->pattern_len, shape->min_len,
                                      shape->max_len, shape->pattern_place, ret_expr);
    if (shape->min_len == 0 && shape->max_len == SL_EBNF_NO_MAX) {
        *ret_expr = sl_ebnf_ref(e, ctx->json.string);
        return 0;
    }
    seq = sl_ebnf_seq(e);
    sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "\""));
    sl_ebnf_add(e, seq,
                sl_ebnf_repeat_rule(e, ctx->json.character, shape->min_len, shape->max_len));
    *ret_expr = sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "\""));
    return 0;
}

static int make_number(struct sl_schemactx *ctx, const struct sl_shape *shape,
                       struct sl_ebnf_expr **ret_expr)
{
    struct sl_diag diag = {""};
    int r;

    r = shape->types & SL_SHAPE_FRACTION
            ? sl_schemanumber_number(&shape->number, &ctx->json, &ctx->e, ret_expr, &diag)
            : sl_schemanumber_integer(&shape->number, &ctx->json, &ctx->e, ret_expr, &diag);
    if (r < 0 && !ctx->e.error)
        return sl_schemaplace_fail(ctx, shape->number_place, r, "%s", diag.text);
    return r;
}

/* The alternative of one type. */
static int make_type(struct sl_schemactx *ctx, const struct sl_shape *shape, uint32_t type,
                     struct sl_ebnf_expr **ret_expr)
{
    struct sl_ebnf *e = &ctx->e;
    bool plain = !(shape->mentioned & type);

    switch (type) {
    case SL_SHAPE_OBJECT:
        if (!plain)
            return sl_schemaobject_make(ctx, shape, ret_expr);
        *ret_expr = sl_ebnf_ref(e, ctx->json.object);
        return 0;
    case SL_SHAPE_ARRAY:
        if (!plain)
            return sl_schemaarray_make(ctx, shape, ret_expr);
        *ret_expr = sl_ebnf_ref(e, ctx->json.array);
        return 0;
    case SL_SHAPE_STRING: return make_string(ctx, shape, ret_expr);
    case SL_SHAPE_INTEGER: return make_number(ctx, shape, ret_expr);
    case SL_SHAPE_BOOL: *ret_expr = sl_ebnf_ref(e, ctx->json.boolean); return 0;
    default: *ret_expr = sl_ebnf_literal_str(e, "null"); return 0;
    }
}

/* The types that keywords speak of, when these are of one kind and no type is given. */
static uint32_t implied_types(const struct sl_shape *shape)
{
    static const uint32_t kinds[] = {SL_SHAPE_INTEGER | SL_SHAPE_FRACTION, SL_SHAPE_STRING,
                                     SL_SHAPE_ARRAY, SL_SHAPE_OBJECT};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !shape->types_stated; i++)
        if (shape->mentioned == kinds[i])
            return shape->types & kinds[i];
    return shape->types;
}

static int make_constants(struct sl_schemactx *ctx, const struct sl_shape *shape,
                          struct sl_ebnf_expr *alt)
{
    for (size_t k = 0; k < sl_shape_n_enum(shape, 0) && !ctx->e.error; k++) {
        const struct sl_json *value = sl_shape_enum(shape, 0, k);
        int fits = sl_shape_fits(ctx, shape, value, 1);

        if (fits < 0 && shape->blocked & sl_shape_type_of(value))
            return sl_diag_set(ctx->diag, -ENOTSUP, "%s", shape->blocked_why);
        if (fits < 0)
            return sl_schemaplace_fail(
                ctx, shape->enum_places[0], -ENOTSUP,
                "values together with pattern, format, multipleOf or keywords for arrays and "
                "objects are not supported");
        if (fits > 0)
            sl_ebnf_add(&ctx->e, alt, sl_ebnfjson_const(&ctx->json, &ctx->e, value));
    }
    return ctx->e.error;
}

/* Add the alternatives of a shape without choices. */
static int make_leaf(struct sl_schemactx *ctx, const struct sl_shape *shape,
                     struct sl_ebnf_expr *alt)
{
    static const uint32_t order[] = {SL_SHAPE_OBJECT,  SL_SHAPE_ARRAY, SL_SHAPE_STRING,
                                     SL_SHAPE_INTEGER, SL_SHAPE_BOOL,  SL_SHAPE_NULL};
    uint32_t types = implied_types(shape);
    struct sl_ebnf_expr *expr = NULL;
    int r = 0;

    if (shape->n_enums)
        return make_constants(ctx, shape, alt);
    if (types & shape->blocked)
        return sl_diag_set(ctx->diag, -ENOTSUP, "%s", shape->blocked_why);
    if (types == SL_SHAPE_ALL && !shape->mentioned) {
        sl_ebnf_add(&ctx->e, alt, sl_ebnf_ref(&ctx->e, ctx->json.value));
        return ctx->e.error;
    }
    for (size_t i = 0; r == 0 && i < sizeof(order) / sizeof(order[0]); i++) {
        if (!(types & order[i]))
            continue;
        r = make_type(ctx, shape, order[i], &expr);
        if (r == 0)
            sl_ebnf_add(&ctx->e, alt, expr);
    }
    return r < 0 ? r : ctx->e.error;
}

/* A set on its way through its choices. */
struct expansion {
    struct sl_shape shape;
    struct sl_schemaitem items[SL_SHAPE_ITEMS_MAX + 1]; /* all of the shape's, and a branch */
    uint32_t n_branches;
    const char *keyword;
    struct sl_schemaitem branches[BRANCHES_MAX];
};

/* List the branches of the first choice, whose item is then marked. */
static int list_branches(struct sl_schemactx *ctx, struct expansion *x)
{
    const struct sl_schemachoice *choice = &x->shape.choices[0];
    struct sl_schemaitem *item = &x->shape.items[choice->i_item];
    struct sl_schemaitem *kept = sl_ebnf_alloc(&ctx->e, sizeof(*kept));
    const struct sl_schemaplace *place;
    const struct sl_json *list;

    x->keyword = choice->flag == SL_SCHEMAITEM_ANY_OF ? "anyOf" : "oneOf";
    list = sl_json_find(item->node, x->keyword);
    place = sl_schemaplace_key(ctx, item->place, x->keyword);
    if (!kept || !place)
        return ctx->e.error;
    if (sl_json_n_items(list) > BRANCHES_MAX)
        return sl_schemaplace_fail(ctx, place, -E2BIG, "more than %u branches", BRANCHES_MAX);
    item->flags |= choice->flag;
    *kept = *item;
    x->n_branches = (uint32_t)sl_json_n_items(list);
    for (uint32_t i = 0; i < x->n_branches; i++)
        x->branches[i] =
            (struct sl_schemaitem){.node = sl_json_item(list, i),
                                   .place = sl_schemaplace_index(ctx, place, i),
                                   .parent = kept};
    memcpy(x->items, x->shape.items, x->shape.n_items * sizeof(x->items[0]));
    return ctx->e.error;
}

static int check_one_of(struct sl_schemactx *ctx, struct expansion *x, uint32_t types)
{
    struct sl_shape *shapes = calloc(x->n_branches, sizeof(*shapes));
    int r = shapes ? 0 : -ENOMEM;

    for (uint32_t i = 0; r == 0 && i < x->n_branches; i++) {
        x->items[x->shape.n_items] = x->branches[i];
        r = sl_shape_steps(ctx, x->branches[i].place, i / 64);
        if (r == 0)
            r = sl_shape_make(ctx, x->items, x->shape.n_items + 1, &shapes[i]);
        shapes[i].types &= types;
        for (uint32_t k = 0; r == 0 && k < i; k++) {
            r = sl_schemaoneof_apart(ctx, &shapes[k], &shapes[i]);
            if (r == 0)
                r = sl_schemaplace_fail(
                    ctx, x->branches[0].place->parent, -ENOTSUP,
                    "branches %u and %u may both be satisfied; supported are branches of "
                    "different types, constants, or constants of a required member; or anyOf",
                    k, i);
            r = r > 0 ? 0 : r;
        }
    }
    free(shapes);
    return r;
}

/* Add the alternatives of a set of items. */
static int expand(struct sl_schemactx *ctx, const struct sl_schemaitem *items, uint32_t n,
                  uint32_t types, uint32_t depth, struct sl_ebnf_expr *alt)
{
    struct expansion *x = malloc(sizeof(*x));
    int r = x ? 0 : -ENOMEM;

    if (r == 0)
        r = sl_shape_make(ctx, items, n, &x->shape);
    if (r < 0)
        goto done;
    x->shape.types &= types;
    if (x->shape.types == 0)
        goto done;
    if (x->shape.n_choices == 0) {
        r = make_leaf(ctx, &x->shape, alt);
        goto done;
    }
    r = list_branches(ctx, x);
    if (r == 0 && depth > DEPTH_MAX)
        r = sl_schemaplace_fail(ctx, x->branches[0].place->parent, -E2BIG,
                                "more than %u choices within each other", DEPTH_MAX);
    if (r == 0 && x->keyword[0] == 'o')
        r = check_one_of(ctx, x, types);
    for (uint32_t i = 0; r == 0 && i < x->n_branches; i++) {
        x->items[x->shape.n_items] = x->branches[i];
        r = expand(ctx, x->items, x->shape.n_items + 1, types, depth + 1, alt);
    }
done:
    free(x);
    return r;
}

int sl_schemarules_make_all(struct sl_schemactx *ctx)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < ctx->n_sets && !ctx->e.error; i++) {
        const struct sl_schemaset set = ctx->sets[i]; /* the array may move */
        struct sl_ebnf_expr *alt = sl_ebnf_alt(&ctx->e);

        ctx->at = set.n ? set.items[0].place : NULL;
        r = expand(ctx, set.items, set.n, set.types, 0, alt);
        sl_ebnf_rule_set(&ctx->e, set.rule, alt);
    }
    return r < 0 ? r : ctx->e.error;
}

void sl_schemarules_done(struct sl_schemactx *ctx)
{
    free(ctx->sets);
}
