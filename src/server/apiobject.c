#include "server/apiobject.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sl_apiobject_is_failed(const struct sl_apiobject *o)
{
    return o->parse->code < 0;
}

void sl_apiobject_path(const struct sl_apiobject *o, const char *key,
                       char out[SL_APIERROR_PARAM_BYTES])
{
    const char *dot = o->path[0] && key && *key ? "." : "";
    int n = snprintf(out, SL_APIERROR_PARAM_BYTES, "%s%s%s", o->path, dot, key ? key : "");

    if (n >= SL_APIERROR_PARAM_BYTES)
        memcpy(out + SL_APIERROR_PARAM_BYTES - 4, "...", 4);
}

void sl_apiobject_fail(struct sl_apiobject *o, const char *key, const char *fmt, ...)
{
    char path[SL_APIERROR_PARAM_BYTES], text[SL_DIAG_BYTES];
    va_list args;

    if (o->parse->code < 0)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut if too long */
    va_end(args);
    sl_apiobject_path(o, key, path);
    o->parse->code = sl_apierror_set(o->parse->error, -EBADMSG, 400, path, "%s", text);
}

void sl_apiobject_fail_code(struct sl_apiobject *o, const char *key, int code,
                            const struct sl_diag *diag)
{
    char path[SL_APIERROR_PARAM_BYTES];

    if (o->parse->code < 0)
        return;
    sl_apiobject_path(o, key, path);
    o->parse->code = sl_apierror_set_code(o->parse->error, code, path, diag);
}

void sl_apiparse_no_memory(struct sl_apiparse *parse)
{
    if (parse->code == 0)
        parse->code = sl_apierror_set(parse->error, -ENOMEM, 503, NULL,
                                      "not enough memory for the request");
}

static void fail_type(struct sl_apiobject *o, const char *key, const char *want,
                      const struct sl_json *found)
{
    sl_apiobject_fail(o, key, "%s expected, found %s", want,
                      sl_json_type_name(sl_json_get_type(found)));
}

const struct sl_json *sl_apiobject_find(const struct sl_apiobject *o, const char *key)
{
    const struct sl_json *node = sl_json_find(o->node, key);

    return o->parse->code < 0 || sl_json_is(node, SL_JSON_NULL) ? NULL : node;
}

const struct sl_json *sl_apiobject_get(struct sl_apiobject *o, const char *key,
                                       enum sl_json_type type)
{
    const struct sl_json *node = sl_apiobject_find(o, key);

    if (!node || sl_json_is(node, type))
        return node;
    fail_type(o, key, sl_json_type_name(type), node);
    return NULL;
}

const struct sl_json *sl_apiobject_require(struct sl_apiobject *o, const char *key,
                                           enum sl_json_type type)
{
    if (!sl_apiobject_is_failed(o) && !sl_apiobject_find(o, key))
        sl_apiobject_fail(o, key, "is required (%s)", sl_json_type_name(type));
    return sl_apiobject_get(o, key, type);
}

struct sl_apiobject sl_apiobject_object(struct sl_apiobject *o, const char *key)
{
    struct sl_apiobject child = {.parse = o->parse};

    child.node = sl_apiobject_get(o, key, SL_JSON_OBJECT);
    sl_apiobject_path(o, key, child.path);
    return child;
}

struct sl_apiobject sl_apiobject_item(struct sl_apiobject *o, const char *key, size_t i)
{
    struct sl_apiobject child = {.parse = o->parse};
    char name[SL_APIERROR_PARAM_BYTES];

    if (snprintf(name, sizeof(name), "%s[%zu]", key, i) < 0)
        name[0] = '\0';
    child.node = sl_json_item(sl_apiobject_find(o, key), i);
    sl_apiobject_path(o, name, child.path);
    if (!sl_apiobject_is_failed(o) && !sl_json_is(child.node, SL_JSON_OBJECT))
        fail_type(&child, NULL, sl_json_type_name(SL_JSON_OBJECT), child.node);
    return child;
}

bool sl_apiobject_bool(struct sl_apiobject *o, const char *key, bool *value)
{
    const struct sl_json *node = sl_apiobject_get(o, key, SL_JSON_BOOL);

    return node && sl_json_get_bool(node, value);
}

bool sl_apiobject_flag(struct sl_apiobject *o, const char *key, uint32_t flag, uint32_t *flags)
{
    bool value;

    if (!sl_apiobject_bool(o, key, &value))
        return false;
    *flags = value ? *flags | flag : *flags & ~flag;
    return true;
}

/* An integer, also if written as 5.0 or with an exponent. */
static bool get_integer(const struct sl_json *node, int64_t *ret_value)
{
    double real;

    if (sl_json_get_i64(node, ret_value))
        return true;
    if (!sl_json_is(node, SL_JSON_REAL) || !sl_json_get_f64(node, &real) ||
        fabs(real) > 9007199254740992.0 || real != trunc(real))
        return false;
    *ret_value = (int64_t)real;
    return true;
}

bool sl_apiobject_i64(struct sl_apiobject *o, const char *key, int64_t min, int64_t max,
                      int64_t *value)
{
    const struct sl_json *node = sl_apiobject_find(o, key);
    int64_t found;

    if (!node)
        return false;
    if (!sl_json_is(node, SL_JSON_INT) && !sl_json_is(node, SL_JSON_REAL)) {
        fail_type(o, key, "an integer", node);
        return false;
    }
    if (!get_integer(node, &found)) {
        sl_apiobject_fail(o, key, "an integer of up to 63 bits expected");
        return false;
    }
    if (found < min || found > max) {
        sl_apiobject_fail(o, key, "%lld to %lld expected, found %lld", (long long)min,
                          (long long)max, (long long)found);
        return false;
    }
    *value = found;
    return true;
}

bool sl_apiobject_f32(struct sl_apiobject *o, const char *key, float min, float max,
                      float *value)
{
    const struct sl_json *node = sl_apiobject_find(o, key);
    double found;

    if (!node)
        return false;
    if (!sl_json_get_f64(node, &found)) {
        fail_type(o, key, "a number", node);
        return false;
    }
    if (!(found >= (double)min && found <= (double)max)) {
        sl_apiobject_fail(o, key, "%g to %g expected, found %g", (double)min, (double)max, found);
        return false;
    }
    *value = (float)found;
    return true;
}

const char *sl_apiobject_text(struct sl_apiobject *o, const char *key, size_t *ret_len)
{
    return sl_json_get_string(sl_apiobject_get(o, key, SL_JSON_STRING), ret_len);
}

char *sl_apiobject_copy(struct sl_apiobject *o, const char *key)
{
    size_t len = 0;
    const char *text = sl_apiobject_text(o, key, &len);

    return text ? sl_apiparse_copy(o->parse, text, len) : NULL;
}

char *sl_apiparse_copy(struct sl_apiparse *parse, const char *text, size_t len)
{
    char *copy = sl_apiparse_alloc(parse, len + 1, 1);

    if (copy)
        memcpy(copy, text, len);
    return copy;
}

void *sl_apiparse_alloc(struct sl_apiparse *parse, size_t n, size_t size)
{
    void *ptr = parse->code < 0 ? NULL : calloc(n ? n : 1, size);

    if (!ptr)
        sl_apiparse_no_memory(parse);
    return ptr;
}
