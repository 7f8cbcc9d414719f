/* Values against shapes, as far as that is needed: for enumerations and for oneOf. */
#include <errno.h>
#include <string.h>

#include "text/schema.h"
#include "text/schemashape.h"

uint32_t sl_shape_type_of(const struct sl_json *value)
{
    double real = 0;

    switch (sl_json_get_type(value)) {
    case SL_JSON_NULL: return SL_SHAPE_NULL;
    case SL_JSON_BOOL: return SL_SHAPE_BOOL;
    case SL_JSON_INT: return SL_SHAPE_INTEGER;
    case SL_JSON_REAL:
        (void)sl_json_get_f64(value, &real); /* it is one */
        return real == __builtin_floor(real) ? SL_SHAPE_INTEGER : SL_SHAPE_FRACTION;
    case SL_JSON_STRING: return SL_SHAPE_STRING;
    case SL_JSON_ARRAY: return SL_SHAPE_ARRAY;
    default: return SL_SHAPE_OBJECT;
    }
}

/* Count a comparison of so many bytes. Returns false, and an error stands in ctx->e, when it
 * is too much. */
static bool count_compared(struct sl_schemactx *ctx, size_t bytes)
{
    if (ctx->e.error)
        return false;
    ctx->n_compared += 1 + (uint32_t)(bytes < UINT32_MAX / 2 ? bytes / 64 : UINT32_MAX / 128);
    if (sl_shape_work(ctx) > SL_SCHEMA_STEPS_MAX)
        ctx->e.error = -E2BIG;
    return !ctx->e.error;
}

static bool equal_numbers(struct sl_schemactx *ctx, const struct sl_json *a,
                          const struct sl_json *b)
{
    const char *x = sl_json_get_big_int(a), *y = sl_json_get_big_int(b);
    int64_t i, k;
    double p = 0, q = 1;

    if (x && y)
        return count_compared(ctx, strlen(x)) && strcmp(x, y) == 0;
    if (sl_json_get_i64(a, &i) && sl_json_get_i64(b, &k))
        return i == k;
    return sl_json_get_f64(a, &p) && sl_json_get_f64(b, &q) && p == q;
}

/* Recursion ends: the parser bounds the depth of its trees. */
bool sl_shape_equal(struct sl_schemactx *ctx, const struct sl_json *a, const struct sl_json *b)
{
    const uint32_t numeric = SL_SHAPE_INTEGER | SL_SHAPE_FRACTION;
    uint32_t type = sl_shape_type_of(a), other = sl_shape_type_of(b);
    struct sl_json_iter iter = {0};
    const struct sl_json *item;
    const char *key, *text, *text_b;
    size_t len = 0, len_b = 0;
    bool x = false, y = true;

    if (!count_compared(ctx, 0))
        return false;
    if (type & numeric)
        return (other & numeric) && equal_numbers(ctx, a, b);
    if (type != other || sl_json_n_items(a) != sl_json_n_items(b))
        return false;
    switch (type) {
    case SL_SHAPE_BOOL: return sl_json_get_bool(a, &x) && sl_json_get_bool(b, &y) && x == y;
    case SL_SHAPE_STRING:
        text = sl_json_get_string(a, &len);
        text_b = sl_json_get_string(b, &len_b);
        return len == len_b && count_compared(ctx, len) && memcmp(text, text_b, len) == 0;
    case SL_SHAPE_ARRAY:
        for (size_t i = 0; i < sl_json_n_items(a); i++)
            if (!sl_shape_equal(ctx, sl_json_item(a, i), sl_json_item(b, i)))
                return false;
        return true;
    case SL_SHAPE_OBJECT:
        while (sl_json_next(a, &iter, &key, &item)) {
            const struct sl_json *match = sl_json_find(b, key);

            if (!match || !sl_shape_equal(ctx, item, match))
                return false;
        }
        return true;
    default: return true;
    }
}

size_t sl_shape_n_enum(const struct sl_shape *shape, uint32_t i)
{
    return shape->enum_is_const[i] ? 1 : sl_json_n_items(shape->enums[i]);
}

const struct sl_json *sl_shape_enum(const struct sl_shape *shape, uint32_t i, size_t k)
{
    return shape->enum_is_const[i] ? shape->enums[i] : sl_json_item(shape->enums[i], k);
}

static bool is_listed(struct sl_schemactx *ctx, const struct sl_shape *shape, uint32_t i,
                      const struct sl_json *value)
{
    for (size_t k = 0; k < sl_shape_n_enum(shape, i); k++)
        if (sl_shape_equal(ctx, sl_shape_enum(shape, i, k), value))
            return true;
    return false;
}

static bool fits_length(struct sl_schemactx *ctx, const struct sl_shape *shape,
                        const struct sl_json *value)
{
    size_t len = 0, n = 0;
    const char *text = sl_json_get_string(value, &len);

    if (!count_compared(ctx, len))
        return false;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n >= shape->min_len && n <= shape->max_len;
}

int sl_shape_fits(struct sl_schemactx *ctx, const struct sl_shape *shape,
                  const struct sl_json *value, uint32_t n_known)
{
    uint32_t type = sl_shape_type_of(value);

    if (!(shape->types & type))
        return 0;
    for (uint32_t i = n_known; i < shape->n_enums; i++)
        if (!is_listed(ctx, shape, i, value))
            return 0;
    if ((type & (SL_SHAPE_INTEGER | SL_SHAPE_FRACTION)) &&
        !sl_schemanumber_holds(&shape->number, value))
        return 0;
    if (type == SL_SHAPE_STRING && !fits_length(ctx, shape, value))
        return 0;
    if ((shape->blocked | shape->mentioned) & type) {
        if (type == SL_SHAPE_STRING)
            return shape->pattern || (shape->blocked & type) ? -1 : 1;
        if (type & (SL_SHAPE_INTEGER | SL_SHAPE_FRACTION))
            return shape->number.multiple_of ? -1 : 1;
        return -1;
    }
    return 1;
}
