/*
 * Flattening. Each schema of the set is put into the shape's list, its references and
 * allOf behind it, and each of its keywords is merged by the function that the table
 * below names for it. A keyword that speaks of one type only (as contains) and cannot be
 * enforced does not matter when that type is ruled out; it blocks the type.
 *
 * Keywords that are not in the table are remarks, as the standard says.
 */
#include "text/schemashape.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/schema.h"
#include "text/schemaformat.h"
#include "text/schemaref.h"

#define DEPTH_MAX 64u   /* of $ref and allOf within each other */
#define LIST_MAX  4096u /* of enum and required */

/* A keyword on its way into a shape. */
struct merge {
    struct sl_schemactx *ctx;
    struct sl_shape *shape;
    uint32_t i_item; /* the schema */
    const char *keyword;
    const struct sl_json *value;
    const struct sl_schemaplace *place; /* of value */
    uint32_t types;                     /* of which the keyword speaks; 0: of all */
};

static int flatten(struct sl_schemactx *ctx, struct sl_shape *shape, struct sl_schemaitem item,
                   uint32_t depth);

static int fail_type(const struct merge *m, const char *expected)
{
    return sl_schemaplace_fail(m->ctx, m->place, -EBADMSG, "expected %s, found %s", expected,
                               sl_json_type_name(sl_json_get_type(m->value)));
}

/* The types it speaks of cannot be written; says so if one of them is asked for. */
static int block(const struct merge *m, const char *why)
{
    if (!m->shape->blocked) {
        struct sl_diag diag;

        (void)sl_schemaplace_fail(&(struct sl_schemactx){.diag = &diag}, m->place, -ENOTSUP, "%s",
                                  why);
        memcpy(m->shape->blocked_why, diag.text, sizeof(diag.text));
    }
    m->shape->blocked |= m->types;
    return 0;
}

static int merge_refused(const struct merge *m)
{
    if (m->types)
        return block(m, "not supported");
    return sl_schemaplace_fail(m->ctx, m->place, -ENOTSUP, "not supported");
}

/* Supported where it demands nothing: true, false or an empty object. */
static int merge_refused_unless_void(const struct merge *m)
{
    bool value = false, is_unique = strcmp(m->keyword, "uniqueItems") == 0;

    if (sl_json_is(m->value, SL_JSON_OBJECT) && sl_json_n_items(m->value) == 0)
        return 0;
    if (sl_json_get_bool(m->value, &value) && value != is_unique)
        return 0;
    return merge_refused(m);
}

static int type_bit(const struct merge *m, const struct sl_json *node, uint32_t *types)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } names[] = {
        {"null", SL_SHAPE_NULL},
        {"boolean", SL_SHAPE_BOOL},
        {"integer", SL_SHAPE_INTEGER},
        {"number", SL_SHAPE_INTEGER | SL_SHAPE_FRACTION},
        {"string", SL_SHAPE_STRING},
        {"array", SL_SHAPE_ARRAY},
        {"object", SL_SHAPE_OBJECT},
    };
    const char *name = sl_json_get_string(node, NULL);

    for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0) {
            *types |= names[i].bits;
            return 0;
        }
    if (!name)
        return fail_type(m, "the name of a type, or a list of these");
    return sl_schemaplace_fail(m->ctx, m->place, -EBADMSG, "there is no type \"%.40s\"", name);
}

static int merge_type(const struct merge *m)
{
    uint32_t types = 0;
    int r = 0;

    if (!sl_json_is(m->value, SL_JSON_ARRAY))
        r = type_bit(m, m->value, &types);
    for (size_t i = 0; r == 0 && sl_json_is(m->value, SL_JSON_ARRAY) &&
                       i < sl_json_n_items(m->value);
         i++)
        r = type_bit(m, sl_json_item(m->value, i), &types);
    m->shape->types &= types;
    m->shape->types_stated = true;
    return r;
}

static int merge_enum(const struct merge *m)
{
    struct sl_shape *shape = m->shape;
    bool is_const = strcmp(m->keyword, "const") == 0;

    if (!is_const && !sl_json_is(m->value, SL_JSON_ARRAY))
        return fail_type(m, "an array");
    if (!is_const && sl_json_n_items(m->value) > LIST_MAX)
        return sl_schemaplace_fail(m->ctx, m->place, -E2BIG, "more than %u values", LIST_MAX);
    if (shape->n_enums == SL_SHAPE_ENUMS_MAX)
        return sl_schemaplace_fail(m->ctx, m->place, -E2BIG,
                                   "more than %u enumerations for one value", SL_SHAPE_ENUMS_MAX);
    shape->enum_is_const[shape->n_enums] = is_const;
    shape->enum_places[shape->n_enums] = m->place;
    shape->enums[shape->n_enums++] = m->value;
    shape->types_stated = true;
    return 0;
}

static bool is_number(const struct sl_json *node)
{
    return sl_json_is(node, SL_JSON_INT) || sl_json_is(node, SL_JSON_REAL);
}

static int merge_bound(const struct merge *m)
{
    const struct sl_json *schema = m->shape->items[m->i_item].node;
    bool is_low = strstr(m->keyword, "inimum") != NULL;
    bool exclusive = m->keyword[0] == 'e', flag = false;

    /* draft 4: a bool beside minimum */
    if (exclusive && sl_json_is(m->value, SL_JSON_BOOL))
        return 0;
    if (!is_number(m->value))
        return fail_type(m, "a number");
    if (!exclusive)
        (void)sl_json_get_bool(
            sl_json_find(schema, is_low ? "exclusiveMinimum" : "exclusiveMaximum"), &flag);
    sl_schemanumber_tighten(is_low ? &m->shape->number.low : &m->shape->number.high, m->value,
                            exclusive || flag, is_low);
    if (!m->shape->number.multiple_of)
        m->shape->number_place = m->place;
    return 0;
}

static int merge_multiple(const struct merge *m)
{
    if (!is_number(m->value))
        return fail_type(m, "a number");
    if (m->shape->number.multiple_of &&
        !sl_shape_equal(m->ctx, m->shape->number.multiple_of, m->value))
        return block(m, "two different values of multipleOf are not supported");
    m->shape->number.multiple_of = m->value;
    m->shape->number_place = m->place;
    return 0;
}

/* The six counts: min... and max... of Length, Items and Properties. */
static int merge_count(const struct merge *m)
{
    char what = m->keyword[3];
    uint32_t *min = what == 'L'   ? &m->shape->min_len
                    : what == 'I' ? &m->shape->min_items
                                  : &m->shape->min_members;
    uint32_t *max = what == 'L'   ? &m->shape->max_len
                    : what == 'I' ? &m->shape->max_items
                                  : &m->shape->max_members;
    double value = -1;

    if (!sl_json_get_f64(m->value, &value) || value < 0 || value != floor(value))
        return fail_type(m, "an integer that is not negative");
    if (m->keyword[1] == 'i') {
        if (value > SL_EBNF_REPEAT_LIMIT)
            return block(m, "a minimum that no answer is long enough for");
        *min = value > *min ? (uint32_t)value : *min;
    } else if (value <= SL_EBNF_REPEAT_LIMIT) { /* no answer gets beyond that */
        *max = value < *max ? (uint32_t)value : *max;
    }
    return 0;
}

static int merge_pattern(const struct merge *m)
{
    struct sl_shape *shape = m->shape;
    size_t len = 0;
    const char *pattern = sl_json_get_string(m->value, &len), *name = pattern;

    if (!pattern)
        return fail_type(m, "a string");
    if (m->keyword[0] == 'f') {
        enum sl_schemaformat kind = sl_schemaformat_find(name, &pattern);

        if (kind == SL_SCHEMAFORMAT_UNSUPPORTED)
            return merge_refused(m);
        if (kind == SL_SCHEMAFORMAT_REMARK)
            return 0;
        len = strlen(pattern);
    }
    if (shape->pattern &&
        (shape->pattern_len != len || memcmp(shape->pattern, pattern, len) != 0))
        return block(m, "a second pattern or format for one string is not supported");
    shape->pattern = pattern;
    shape->pattern_len = len;
    shape->pattern_place = m->place;
    shape->mentioned |= SL_SHAPE_STRING;
    return 0;
}

static int merge_choice(const struct merge *m)
{
    struct sl_shape *shape = m->shape;
    uint32_t flag = m->keyword[0] == 'a' ? SL_SCHEMAITEM_ANY_OF : SL_SCHEMAITEM_ONE_OF;

    if (!sl_json_is(m->value, SL_JSON_ARRAY) || sl_json_n_items(m->value) == 0)
        return fail_type(m, "an array of schemas");
    if (shape->items[m->i_item].flags & flag)
        return 0;
    if (shape->n_choices == SL_SHAPE_CHOICES_MAX)
        return sl_schemaplace_fail(m->ctx, m->place, -E2BIG, "more than %u choices for one value",
                                   SL_SHAPE_CHOICES_MAX);
    shape->choices[shape->n_choices++] =
        (struct sl_schemachoice){.i_item = m->i_item, .flag = flag};
    return 0;
}

static int merge_object_of(const struct merge *m)
{
    return sl_json_is(m->value, SL_JSON_OBJECT) ? 0 : fail_type(m, "an object");
}

static int merge_required(const struct merge *m)
{
    if (!sl_json_is(m->value, SL_JSON_ARRAY))
        return fail_type(m, "an array of names");
    for (size_t i = 0; i < sl_json_n_items(m->value); i++)
        if (!sl_json_get_string(sl_json_item(m->value, i), NULL))
            return fail_type(m, "an array of names");
    m->shape->n_required += sl_json_n_items(m->value);
    if (m->shape->n_required > LIST_MAX)
        return sl_schemaplace_fail(m->ctx, m->place, -E2BIG, "more than %u names", LIST_MAX);
    return 0;
}

static int merge_schema(const struct merge *m)
{
    if (sl_json_is(m->value, SL_JSON_OBJECT) || sl_json_is(m->value, SL_JSON_BOOL))
        return 0;
    return fail_type(m, "a schema");
}

/* items: a list in older drafts, where additionalItems is what items is now. */
static int merge_items(const struct merge *m)
{
    if (sl_json_is(m->value, SL_JSON_ARRAY))
        return 0;
    return strcmp(m->keyword, "prefixItems") == 0 ? fail_type(m, "an array of schemas")
                                                  : merge_schema(m);
}

/* An id below the root would give the references within it another root. */
static int merge_id(const struct merge *m)
{
    return m->shape->items[m->i_item].node == m->ctx->root ? 0 : merge_refused(m);
}

#define NUMBER (SL_SHAPE_INTEGER | SL_SHAPE_FRACTION)

static const struct keyword {
    const char *name;
    uint32_t types; /* of which it speaks, 0: of all */
    int (*merge)(const struct merge *m);
} keywords[] = { /* in order of their bytes */
    {"$dynamicRef", 0, merge_refused},
    {"$id", 0, merge_id},
    {"$recursiveRef", 0, merge_refused},
    {"additionalItems", SL_SHAPE_ARRAY, merge_schema},
    {"additionalProperties", SL_SHAPE_OBJECT, merge_schema},
    {"anyOf", 0, merge_choice},
    {"const", 0, merge_enum},
    {"contains", SL_SHAPE_ARRAY, merge_refused},
    {"dependencies", SL_SHAPE_OBJECT, merge_refused_unless_void},
    {"dependentRequired", SL_SHAPE_OBJECT, merge_refused_unless_void},
    {"dependentSchemas", SL_SHAPE_OBJECT, merge_refused_unless_void},
    {"enum", 0, merge_enum},
    {"exclusiveMaximum", NUMBER, merge_bound},
    {"exclusiveMinimum", NUMBER, merge_bound},
    {"format", 0, merge_pattern},
    {"if", 0, merge_refused},
    {"items", SL_SHAPE_ARRAY, merge_items},
    {"maxItems", SL_SHAPE_ARRAY, merge_count},
    {"maxLength", SL_SHAPE_STRING, merge_count},
    {"maxProperties", SL_SHAPE_OBJECT, merge_count},
    {"maximum", NUMBER, merge_bound},
    {"minItems", SL_SHAPE_ARRAY, merge_count},
    {"minLength", SL_SHAPE_STRING, merge_count},
    {"minProperties", SL_SHAPE_OBJECT, merge_count},
    {"minimum", NUMBER, merge_bound},
    {"multipleOf", NUMBER, merge_multiple},
    {"not", 0, merge_refused},
    {"oneOf", 0, merge_choice},
    {"pattern", SL_SHAPE_STRING, merge_pattern},
    {"patternProperties", SL_SHAPE_OBJECT, merge_object_of},
    {"prefixItems", SL_SHAPE_ARRAY, merge_items},
    {"properties", SL_SHAPE_OBJECT, merge_object_of},
    {"propertyNames", SL_SHAPE_OBJECT, merge_schema},
    {"required", SL_SHAPE_OBJECT, merge_required},
    {"type", 0, merge_type},
    {"unevaluatedItems", SL_SHAPE_ARRAY, merge_refused_unless_void},
    {"unevaluatedProperties", SL_SHAPE_OBJECT, merge_refused_unless_void},
    {"uniqueItems", SL_SHAPE_ARRAY, merge_refused_unless_void},
};

static int by_name(const void *name, const void *keyword)
{
    return strcmp(name, ((const struct keyword *)keyword)->name);
}

static int merge_keyword(struct sl_schemactx *ctx, struct sl_shape *shape, uint32_t i_item,
                         const char *name, const struct sl_json *value)
{
    const struct keyword *k = bsearch(name, keywords, sizeof(keywords) / sizeof(keywords[0]),
                                      sizeof(keywords[0]), by_name);
    struct merge m;
    int r;

    if (!k)
        return 0;
    m = (struct merge){ctx, shape, i_item, k->name, value, NULL, k->types};
    m.place = sl_schemaplace_key(ctx, shape->items[i_item].place, k->name);
    shape->mentioned |= k->types;
    if (k->merge == merge_pattern) /* a format that is a remark mentions nothing */
        m.types = SL_SHAPE_STRING;
    if (ctx->e.error)
        return ctx->e.error;
    r = sl_json_is(value, SL_JSON_ARRAY)
            ? sl_shape_steps(ctx, m.place, (uint32_t)(sl_json_n_items(value) / 32))
            : 0;
    return r < 0 ? r : k->merge(&m);
}

/* $ref and allOf of an item of the shape. */
static int follow(struct sl_schemactx *ctx, struct sl_shape *shape,
                  const struct sl_schemaitem *parent, uint32_t depth)
{
    const struct sl_json *ref = sl_json_find(parent->node, "$ref");
    const struct sl_json *all = sl_json_find(parent->node, "allOf");
    const struct sl_schemaplace *place;
    int r = 0;

    if (ref) {
        struct sl_schemaitem item = {.parent = parent};

        place = sl_schemaplace_key(ctx, parent->place, "$ref");
        r = sl_schemaref_resolve(ctx, ref, place, &item.node, &item.place);
        for (const struct sl_schemaitem *up = parent; r == 0 && up; up = up->parent)
            if (up->node == item.node && !sl_json_is(up->node, SL_JSON_BOOL))
                r = sl_schemaplace_fail(ctx, place, -ENOTSUP,
                                        "the reference leads back to the schema it is in");
        if (r == 0)
            r = flatten(ctx, shape, item, depth + 1);
    }
    if (!all || r < 0)
        return r;
    place = sl_schemaplace_key(ctx, parent->place, "allOf");
    if (!sl_json_is(all, SL_JSON_ARRAY))
        return sl_schemaplace_fail(ctx, place, -EBADMSG, "expected an array of schemas");
    for (size_t i = 0; r == 0 && i < sl_json_n_items(all); i++)
        r = flatten(ctx, shape,
                    (struct sl_schemaitem){.node = sl_json_item(all, i),
                                           .place = sl_schemaplace_index(ctx, place, i),
                                           .parent = parent},
                    depth + 1);
    return r;
}

uint32_t sl_shape_work(const struct sl_schemactx *ctx)
{
    return ctx->n_steps + ctx->n_compared / 32;
}

int sl_shape_too_much_work(const struct sl_schemactx *ctx, const struct sl_schemaplace *place)
{
    return sl_schemaplace_fail(ctx, place, -E2BIG,
                               "too much work: more than %u steps would be needed (schemas looked "
                               "at, references followed, members, constants compared)",
                               SL_SCHEMA_STEPS_MAX);
}

int sl_shape_steps(struct sl_schemactx *ctx, const struct sl_schemaplace *place, uint32_t n)
{
    ctx->n_steps += n < SL_SCHEMA_STEPS_MAX ? n : SL_SCHEMA_STEPS_MAX;
    return sl_shape_work(ctx) > SL_SCHEMA_STEPS_MAX ? sl_shape_too_much_work(ctx, place) : 0;
}

static int add_item(struct sl_schemactx *ctx, struct sl_shape *shape,
                    const struct sl_schemaitem *item)
{
    int r = sl_shape_steps(ctx, item->place, 1 + (uint32_t)(sl_json_n_items(item->node) / 32));

    if (r < 0)
        return r;
    if (shape->n_items == SL_SHAPE_ITEMS_MAX)
        return sl_schemaplace_fail(ctx, item->place, -E2BIG,
                                   "more than %u schemas have to hold for one value",
                                   SL_SHAPE_ITEMS_MAX);
    shape->items[shape->n_items] = *item;
    shape->items[shape->n_items++].flags |= SL_SCHEMAITEM_EXPANDED;
    return 0;
}

static int flatten(struct sl_schemactx *ctx, struct sl_shape *shape, struct sl_schemaitem item,
                   uint32_t depth)
{
    struct sl_schemaitem *kept;
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *name;
    uint32_t i_item = shape->n_items;
    bool allowed;
    int r;

    if (ctx->e.error)
        return ctx->e.error;
    if (sl_json_get_bool(item.node, &allowed)) {
        if (!allowed) {
            shape->types = 0;
            shape->types_stated = true;
        }
        return 0;
    }
    if (!sl_json_is(item.node, SL_JSON_OBJECT))
        return sl_schemaplace_fail(ctx, item.place, -EBADMSG,
                                   "a schema is an object, true or false, found %s",
                                   sl_json_type_name(sl_json_get_type(item.node)));
    if (depth > DEPTH_MAX)
        return sl_schemaplace_fail(ctx, item.place, -E2BIG,
                                   "more than %u references or allOf within each other",
                                   DEPTH_MAX);
    for (uint32_t i = 0; i < shape->n_items; i++)
        if (shape->items[i].node == item.node)
            return 0;
    r = add_item(ctx, shape, &item);
    while (r == 0 && sl_json_next(item.node, &iter, &name, &value))
        r = merge_keyword(ctx, shape, i_item, name, value);
    if (r < 0 || (item.flags & SL_SCHEMAITEM_EXPANDED))
        return r;
    /* a copy that outlives the shape: items made of it may keep it as their parent */
    kept = sl_ebnf_alloc(&ctx->e, sizeof(*kept));
    if (!kept)
        return ctx->e.error;
    *kept = item;
    return follow(ctx, shape, kept, depth);
}

int sl_shape_make(struct sl_schemactx *ctx, const struct sl_schemaitem *items, uint32_t n,
                  struct sl_shape *shape)
{
    int r = 0;

    *shape = (struct sl_shape){
        .types = SL_SHAPE_ALL,
        .max_len = SL_EBNF_NO_MAX,
        .max_items = SL_EBNF_NO_MAX,
        .max_members = SL_EBNF_NO_MAX,
    };
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = flatten(ctx, shape, items[i], 0);
    return r < 0 ? r : ctx->e.error;
}
