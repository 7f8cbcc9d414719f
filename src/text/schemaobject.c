/*
 * Objects. The named members come in order; what is written from member i on depends on
 * whether one has been written before (then a comma comes first) and, where the number of
 * members matters, on how many. So a state is (i, number so far), the number counted up
 * to a cap of 1 where only the comma matters, and each state that is reached is a rule.
 * Chains of states without a choice become one rule.
 */
#include "text/schemarules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/keyset.h"
#include "text/schema.h"
#include "text/vector.h"

#define NONE UINT32_MAX

struct member {
    const char *key;
    bool required;
    uint32_t rule; /* of the value */
};

struct object {
    struct sl_schemactx *ctx;
    const struct sl_shape *shape;
    struct member *members;
    uint32_t n, cap;
    uint32_t n_required;
    uint32_t others;   /* rule of a member that is not named, with its name; NONE: there are none */
    uint32_t more;     /* the same behind a comma */
    uint32_t min, max; /* members; max NO_MAX: any number */
    uint32_t most;     /* number so far is counted up to this */
    uint32_t *states;  /* rules of (i, number), by i * (most + 1) + number; NONE: not made */
};

bool sl_schemaobject_requires(const struct sl_shape *shape, const char *key)
{
    for (uint32_t i = 0; i < shape->n_items; i++) {
        const struct sl_json *required = sl_json_find(shape->items[i].node, "required");

        for (size_t k = 0; k < sl_json_n_items(required); k++) {
            const char *name = sl_json_get_string(sl_json_item(required, k), NULL);

            if (name && strcmp(name, key) == 0)
                return true;
        }
    }
    return false;
}

/* The only pattern of patternProperties, NULL if there is none. */
static const struct sl_json *only_pattern(const struct sl_json *node, const char **ret_pattern)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *value = NULL;

    (void)sl_json_next(sl_json_find(node, "patternProperties"), &iter, ret_pattern, &value);
    return value;
}

uint32_t sl_schemaobject_member(struct sl_schemactx *ctx, const struct sl_shape *shape,
                                const char *key, struct sl_schemaitem *items, bool *ret_named)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < shape->n_items; i++) {
        const struct sl_schemaitem *item = &shape->items[i];
        const struct sl_json *found =
            key ? sl_json_find(sl_json_find(item->node, "properties"), key) : NULL;
        const struct sl_schemaplace *place;
        const char *name = "additionalProperties";

        if (found) {
            *ret_named = true;
            place = sl_schemaplace_key(ctx, sl_schemaplace_key(ctx, item->place, "properties"),
                                       key);
        } else {
            place = sl_schemaplace_key(ctx, item->place, name);
            found = only_pattern(item->node, &name);
            if (found && key) /* whether it matches is not known */
                continue;
            if (found)
                place = sl_schemaplace_key(
                    ctx, sl_schemaplace_key(ctx, item->place, "patternProperties"), name);
            else
                found = sl_json_find(item->node, "additionalProperties");
        }
        if (found)
            items[n++] = (struct sl_schemaitem){.node = found, .place = place};
    }
    return n;
}

bool sl_schemaobject_is_closed(const struct sl_schemactx *ctx, const struct sl_shape *shape)
{
    bool stated = false, named = false, allowed = true;

    for (uint32_t i = 0; i < shape->n_items; i++) {
        const struct sl_json *node = shape->items[i].node, *pattern;
        const char *name;
        const struct sl_json *others = sl_json_find(node, "additionalProperties");

        pattern = only_pattern(node, &name);
        if (!pattern && sl_json_get_bool(others, &allowed) && !allowed)
            return true;
        stated |= others || pattern;
        named |= sl_json_n_items(sl_json_find(node, "properties")) > 0;
    }
    return (ctx->flags & SL_SCHEMA_CLOSED) && named && !stated;
}

/* What it takes to look for a name among n. */
static uint32_t search_steps(const char *key, size_t n)
{
    return (uint32_t)(n * (1 + strlen(key) / 64) / 256);
}

static int add_member(struct object *o, const char *key)
{
    struct sl_schemaitem items[SL_SHAPE_ITEMS_MAX];
    bool named = false, required = sl_schemaobject_requires(o->shape, key);
    uint32_t n;
    int r;

    r = sl_shape_steps(o->ctx, o->shape->items[0].place,
                       1 + search_steps(key, o->shape->n_required) + o->shape->n_items / 4);
    if (r < 0)
        return r;
    if (o->n == SL_EBNF_RULES_MAX)
        return o->ctx->e.error = -E2BIG;
    if (sl_vector_grow(&o->members, &o->cap, o->n, 1) < 0)
        return -ENOMEM;
    n = sl_schemaobject_member(o->ctx, o->shape, key, items, &named);
    o->members[o->n++] = (struct member){
        key, required, sl_schemarules_set(o->ctx, items, n, SL_SHAPE_ALL)};
    o->n_required += required;
    return o->ctx->e.error;
}

/* Whether one of the first n_items schemas names key. */
static bool is_named(const struct sl_shape *shape, uint32_t n_items, const char *key)
{
    for (uint32_t i = 0; i < n_items; i++)
        if (sl_json_find(sl_json_find(shape->items[i].node, "properties"), key))
            return true;
    return false;
}

static int list_members(struct object *o)
{
    const struct sl_shape *shape = o->shape;
    const struct sl_json *value;
    const char *key;
    uint32_t n_named;
    int r = 0;

    for (uint32_t i = 0; i < shape->n_items; i++) {
        const struct sl_json *properties = sl_json_find(shape->items[i].node, "properties");
        struct sl_json_iter iter = {0};

        while (r == 0 && sl_json_next(properties, &iter, &key, &value))
            if (!is_named(shape, i, key))
                r = add_member(o, key);
    }
    n_named = o->n;
    for (uint32_t i = 0; i < shape->n_items; i++) {
        const struct sl_json *required = sl_json_find(shape->items[i].node, "required");

        for (size_t k = 0; r == 0 && k < sl_json_n_items(required); k++) {
            bool known;

            key = sl_json_get_string(sl_json_item(required, k), NULL);
            known = !key || is_named(shape, shape->n_items, key);
            r = known ? 0
                      : sl_shape_steps(o->ctx, shape->items[i].place,
                                       search_steps(key, o->n - n_named));
            for (uint32_t m = n_named; m < o->n && !known && r == 0; m++)
                known = strcmp(o->members[m].key, key) == 0;
            if (r < 0)
                return r;
            if (!known && sl_schemaobject_is_closed(o->ctx, shape))
                return sl_schemaplace_fail(
                    o->ctx, sl_schemaplace_key(o->ctx, shape->items[i].place, "required"),
                    -ENOTSUP, "\"%.60s\" is required, but there may be no such member", key);
            if (!known)
                r = add_member(o, key);
        }
    }
    return r;
}

/* A propertyNames that does not say more than that names are strings. */
static bool is_any_name(const struct sl_json *node)
{
    const char *type = sl_json_get_string(sl_json_find(node, "type"), NULL);
    bool value = false;

    if (sl_json_get_bool(node, &value))
        return value;
    return sl_json_n_items(node) == (type != NULL) && (!type || strcmp(type, "string") == 0);
}

/* The names of members that are not named, if there may be such; patterns and
 * propertyNames are supported only where no member is named. */
static int other_names(struct object *o, struct sl_ebnf_expr **ret_expr)
{
    struct sl_schemactx *ctx = o->ctx;
    struct sl_schemaitem names[SL_SHAPE_ITEMS_MAX];
    const struct sl_schemaplace *place = NULL;
    const char **keys, *pattern = NULL, *found;
    uint32_t n_names = 0, n_patterns = 0;
    size_t key_bytes = 0;
    int r;

    for (uint32_t i = 0; i < o->shape->n_items; i++) {
        const struct sl_schemaitem *item = &o->shape->items[i];
        const struct sl_json *node = sl_json_find(item->node, "propertyNames");

        if (only_pattern(item->node, &found)) {
            n_patterns += (uint32_t)sl_json_n_items(sl_json_find(item->node, "patternProperties"));
            place = sl_schemaplace_key(ctx, item->place, "patternProperties");
            pattern = found;
        }
        if (!node || is_any_name(node))
            continue;
        place = sl_schemaplace_key(ctx, item->place, "propertyNames");
        names[n_names++] = (struct sl_schemaitem){.node = node, .place = place};
    }
    if (n_patterns + n_names > 0 && (o->n > 0 || n_patterns > 1 || (n_patterns && n_names)))
        return sl_schemaplace_fail(ctx, place, -ENOTSUP,
                                   "supported once, where no property is named or required");
    if (sl_schemaobject_is_closed(ctx, o->shape))
        return 0;
    if (n_names) {
        *ret_expr = sl_ebnf_ref(&ctx->e, sl_schemarules_set(ctx, names, n_names, SL_SHAPE_STRING));
        return ctx->e.error;
    }
    if (n_patterns)
        return sl_schemarules_pattern(ctx, pattern, strlen(pattern), 0, SL_EBNF_NO_MAX, place,
                                      ret_expr);
    if (o->n == 0) {
        *ret_expr = sl_ebnf_ref(&ctx->e, ctx->json.string);
        return ctx->e.error;
    }
    keys = calloc(o->n, sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    for (uint32_t i = 0; i < o->n; i++) {
        keys[i] = o->members[i].key;
        key_bytes += strlen(keys[i]);
    }
    r = sl_shape_steps(ctx, o->shape->items[0].place, (uint32_t)(key_bytes / 64));
    if (r < 0) {
        free(keys);
        return r;
    }
    *ret_expr = sl_keyset_others(&ctx->e, keys, o->n);
    free(keys);
    return ctx->e.error;
}

static struct sl_ebnf_expr *add_ref(struct object *o, struct sl_ebnf_expr *seq, uint32_t rule)
{
    return sl_ebnf_add(&o->ctx->e, seq, sl_ebnf_ref(&o->ctx->e, rule));
}

/* The rule for members that are not named, or NONE where there are none. */
static int make_others(struct object *o)
{
    struct sl_schemactx *ctx = o->ctx;
    struct sl_schemaitem items[SL_SHAPE_ITEMS_MAX];
    struct sl_ebnf_expr *seq, *name = NULL;
    bool named;
    uint32_t n;
    int r = other_names(o, &name);

    o->others = NONE;
    if (r < 0 || sl_schemaobject_is_closed(ctx, o->shape))
        return r;
    n = sl_schemaobject_member(ctx, o->shape, NULL, items, &named);
    seq = sl_ebnf_add(&ctx->e, sl_ebnf_seq(&ctx->e), name);
    sl_ebnf_add(&ctx->e, seq, sl_ebnf_ref(&ctx->e, ctx->json.colon));
    sl_ebnf_add(&ctx->e, seq,
                sl_ebnf_ref(&ctx->e, sl_schemarules_set(ctx, items, n, SL_SHAPE_ALL)));
    o->others = sl_ebnf_rule_of(&ctx->e, seq);
    seq = sl_ebnf_seq(&ctx->e);
    o->more = sl_ebnf_rule_of(&ctx->e, add_ref(o, add_ref(o, seq, ctx->json.comma), o->others));
    return ctx->e.error;
}

/* A member, with a comma in front if it is not the first. */
static void add_member_text(struct object *o, struct sl_ebnf_expr *seq, uint32_t i, uint32_t count)
{
    const struct member *m = &o->members[i];

    if (count)
        add_ref(o, seq, o->ctx->json.comma);
    sl_ebnf_add(&o->ctx->e, seq, sl_ebnfjson_quoted(&o->ctx->e, m->key, strlen(m->key)));
    add_ref(o, seq, o->ctx->json.colon);
    add_ref(o, seq, m->rule);
}

/* Members that are not named, after count others; without others the blanks behind. */
static struct sl_ebnf_expr *other_members(struct object *o, uint32_t count)
{
    struct sl_ebnf *e = &o->ctx->e;
    uint32_t min = count < o->min ? o->min - count : 0;
    uint32_t max = o->max == SL_EBNF_NO_MAX ? o->max : o->max - count;
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);

    if (o->others == NONE || max == 0) /* too few: nothing matches */
        return min > 0 ? sl_ebnf_alt(e) : seq;
    /* names may repeat, so only the first counts towards the minimum */
    if (min > 1)
        return sl_ebnf_alt(e);
    if (count > 0)
        return sl_ebnf_add(e, seq, sl_ebnf_repeat_rule(e, o->more, min, max));
    add_ref(o, seq, o->others);
    sl_ebnf_add(e, seq,
                sl_ebnf_repeat_rule(e, o->more, 0, max == SL_EBNF_NO_MAX ? max : max - 1));
    add_ref(o, seq, o->ctx->json.ws);
    return min > 0 ? seq : sl_ebnf_optional(e, seq);
}

static uint32_t state_rule(struct object *o, uint32_t i, uint32_t count)
{
    uint32_t *state;

    count = count < o->most ? count : o->most;
    state = &o->states[(size_t)i * (o->most + 1) + count];
    if (*state == NONE)
        *state = sl_ebnf_rule_new(&o->ctx->e, NULL);
    return *state;
}

static bool has_state(const struct object *o, uint32_t i, uint32_t count)
{
    return o->states[(size_t)i * (o->most + 1) + count] != NONE;
}

/* Whether counting goes on behind the comma. */
static bool is_counted(const struct object *o)
{
    return o->most > 1;
}

/* The text from member i on, count members after the opening brace. */
static struct sl_ebnf_expr *state_text(struct object *o, uint32_t i, uint32_t count)
{
    struct sl_ebnf *e = &o->ctx->e;
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e), *alt, *with;

    for (uint32_t first = i; i < o->n && !e->error; i++) {
        if (i > first && has_state(o, i, count))
            return add_ref(o, seq, state_rule(o, i, count));
        with = sl_ebnf_seq(e);
        if (count < o->max)
            add_member_text(o, with, i, count);
        else
            with = sl_ebnf_alt(e);
        if (o->members[i].required) {
            sl_ebnf_add(e, seq, with);
            count = count < o->most ? count + 1 : count;
        } else if (count > 0 && !is_counted(o)) {
            sl_ebnf_add(e, seq, sl_ebnf_optional(e, with));
        } else {
            alt = sl_ebnf_alt(e);
            sl_ebnf_add(e, alt, add_ref(o, with, state_rule(o, i + 1, count + 1)));
            sl_ebnf_add(e, alt, sl_ebnf_ref(e, state_rule(o, i + 1, count)));
            return sl_ebnf_add(e, seq, alt);
        }
    }
    sl_ebnf_add(e, seq, other_members(o, count));
    return count > 0 ? add_ref(o, seq, o->ctx->json.ws) : seq;
}

/* How far to count: to 1 for commas, or as far as a bound on the number reaches. */
static int choose_most(struct object *o)
{
    uint32_t n_possible = o->others == NONE ? o->n : SL_EBNF_NO_MAX;

    o->min = o->shape->min_members > o->n_required ? o->shape->min_members : 0;
    o->max = o->shape->max_members < n_possible ? o->shape->max_members : SL_EBNF_NO_MAX;
    if (o->others != NONE && o->min > o->n + 1)
        return sl_schemaplace_fail(
            o->ctx, sl_schemaplace_key(o->ctx, o->shape->items[0].place, "minProperties"), -ENOTSUP,
            "supported up to one more than there are named properties");
    o->most = o->max != SL_EBNF_NO_MAX && o->n > 0 ? o->max : o->n > 0 ? o->min : 1;
    if (o->most > o->n + 1) /* others count for one at most, and no more are named */
        o->most = o->n + 1;
    o->most = o->most > 1 ? o->most : 1;
    return 0;
}

static int make_states(struct object *o, uint32_t *ret_rule)
{
    size_t n_states;

    if (o->n >= SL_EBNF_RULES_MAX / (o->most + 1))
        return o->ctx->e.error = -E2BIG;
    n_states = (size_t)(o->n + 1) * (o->most + 1);
    o->states = malloc(n_states * sizeof(*o->states));
    if (!o->states)
        return -ENOMEM;
    for (size_t i = 0; i < n_states; i++)
        o->states[i] = NONE;
    *ret_rule = state_rule(o, 0, 0);
    /* a state leads to later ones only */
    for (uint32_t i = 0; i <= o->n; i++)
        for (uint32_t count = 0; count <= o->most && !o->ctx->e.error; count++) {
            uint32_t rule = o->states[(size_t)i * (o->most + 1) + count];

            if (rule != NONE)
                sl_ebnf_rule_set(&o->ctx->e, rule, state_text(o, i, count));
        }
    return o->ctx->e.error;
}

int sl_schemaobject_make(struct sl_schemactx *ctx, const struct sl_shape *shape,
                         struct sl_ebnf_expr **ret_expr)
{
    struct object o = {.ctx = ctx, .shape = shape};
    struct sl_ebnf_expr *seq;
    uint32_t rule = 0;
    int r;

    r = list_members(&o);
    if (r == 0)
        r = make_others(&o);
    if (r == 0)
        r = choose_most(&o);
    if (r == 0)
        r = make_states(&o, &rule);
    free(o.members);
    free(o.states);
    if (r < 0)
        return r;
    seq = sl_ebnf_seq(&ctx->e);
    add_ref(&o, seq, rule);
    *ret_expr = sl_ebnfjson_wrap(&ctx->json, &ctx->e, "{", seq, "}");
    return ctx->e.error;
}
