/*
 * Reading the members of a request. The first fault is kept, with the path of its member
 * ("tools[0].function.name") and status 400, and from then on every call does nothing, so
 * that parsers need not look at each. Null is the same as absent. Called by the front ends'
 * parsers; one thread at a time per parse.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "server/api.h"

/* What a reply's text has to be. */
enum sl_apishape {
    SL_APISHAPE_TEXT = 0,
    SL_APISHAPE_OBJECT, /* any JSON object */
    SL_APISHAPE_SCHEMA,
};

/* A request being parsed. */
struct sl_apiparse {
    const struct sl_apienv *env;
    struct sl_apicall *call;   /* what is made of it */
    struct sl_apierror *error;
    const char *query;         /* of the target */
    int code;                  /* 0, or what the first fault returns */
    enum sl_apishape shape;
    const struct sl_json *schema;             /* of SCHEMA */
    char shape_path[SL_APIERROR_PARAM_BYTES]; /* which member said so */
};

/* An object in it, or in place of one anything else: then its members are absent. */
struct sl_apiobject {
    struct sl_apiparse *parse;
    const struct sl_json *node; /* NULL: absent */
    char path[SL_APIERROR_PARAM_BYTES]; /* "" is the request itself */
};

/* The path of a member (key NULL: of the object itself), cut if too long. */
void sl_apiobject_path(const struct sl_apiobject *o, const char *key,
                       char out[SL_APIERROR_PARAM_BYTES]);

/* The fault of a member (key NULL: of the object itself): -EBADMSG, 400. */
void sl_apiobject_fail(struct sl_apiobject *o, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, from a lower layer's code and text. */
void sl_apiobject_fail_code(struct sl_apiobject *o, const char *key, int code,
                            const struct sl_diag *diag);
bool sl_apiobject_is_failed(const struct sl_apiobject *o);
void sl_apiparse_no_memory(struct sl_apiparse *parse);

/* A member that is an object; of an array that is a member, item i. Fails if there is a value
 * of another type. */
struct sl_apiobject sl_apiobject_object(struct sl_apiobject *o, const char *key);
struct sl_apiobject sl_apiobject_item(struct sl_apiobject *o, const char *key, size_t i);

/* A member, or NULL; of one type, or NULL after failing if it has another. */
const struct sl_json *sl_apiobject_find(const struct sl_apiobject *o, const char *key);
const struct sl_json *sl_apiobject_get(struct sl_apiobject *o, const char *key,
                                       enum sl_json_type type);
/* The same, but it fails if absent. */
const struct sl_json *sl_apiobject_require(struct sl_apiobject *o, const char *key,
                                           enum sl_json_type type);

/* Each returns whether the member is there and right; otherwise value is as it was.
 * Integers may be written as reals; ranges are inclusive. */
bool sl_apiobject_bool(struct sl_apiobject *o, const char *key, bool *value);
bool sl_apiobject_flag(struct sl_apiobject *o, const char *key, uint32_t flag, uint32_t *flags);
bool sl_apiobject_i64(struct sl_apiobject *o, const char *key, int64_t min, int64_t max,
                      int64_t *value);
bool sl_apiobject_f32(struct sl_apiobject *o, const char *key, float min, float max,
                      float *value);

/* A text, borrowed, or NULL; a copy in heap memory, or NULL. */
const char *sl_apiobject_text(struct sl_apiobject *o, const char *key, size_t *ret_len);
char *sl_apiobject_copy(struct sl_apiobject *o, const char *key);

/* Copy len bytes to heap memory, terminated; NULL after failing. */
char *sl_apiparse_copy(struct sl_apiparse *parse, const char *text, size_t len);
/* n times size bytes of zeroed heap memory, at least one; NULL after failing. */
void *sl_apiparse_alloc(struct sl_apiparse *parse, size_t n, size_t size);
