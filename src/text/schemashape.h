/*
 * What a set of schemas that all have to hold demands, flattened: references and allOf
 * followed, keywords merged, anyOf and oneOf listed. Internal to the schema compiler
 * (schema.c says how its files work together).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "text/ebnfjson.h"
#include "text/schemanumber.h"

/* "number" sets both numeric bits, "integer" the first. */
enum {
    SL_SHAPE_NULL = 1,
    SL_SHAPE_BOOL = 2,
    SL_SHAPE_INTEGER = 4,
    SL_SHAPE_FRACTION = 8,
    SL_SHAPE_STRING = 16,
    SL_SHAPE_ARRAY = 32,
    SL_SHAPE_OBJECT = 64,
    SL_SHAPE_ALL = 127,
};

/* Where a schema stands: a list from the inside out, printed as "#/properties/a". */
struct sl_schemaplace {
    const struct sl_schemaplace *parent; /* NULL: the root */
    const char *key;                     /* NULL: index counts */
    size_t index;
};

enum {
    SL_SCHEMAITEM_EXPANDED = 1, /* $ref and allOf are in the set already */
    SL_SCHEMAITEM_ANY_OF = 2,   /* one of its anyOf is in the set already */
    SL_SCHEMAITEM_ONE_OF = 4,
};

/* A schema of a set. */
struct sl_schemaitem {
    const struct sl_json *node;
    const struct sl_schemaplace *place;
    const struct sl_schemaitem *parent; /* whose $ref, allOf ... it is; NULL: none's */
    uint32_t flags;
};

/* An anyOf or oneOf that has not been looked at. */
struct sl_schemachoice {
    uint32_t i_item; /* in the shape's items */
    uint32_t flag;   /* SL_SCHEMAITEM_ANY_OF or ONE_OF */
};

#define SL_SHAPE_ITEMS_MAX   128u
#define SL_SHAPE_CHOICES_MAX 32u
#define SL_SHAPE_ENUMS_MAX   8u

struct sl_shape {
    struct sl_schemaitem items[SL_SHAPE_ITEMS_MAX]; /* flattened, all EXPANDED */
    uint32_t n_items;
    uint32_t types;     /* SL_SHAPE_*: those that are allowed; 0: nothing is */
    bool types_stated;  /* by a "type" or an enumeration */
    uint32_t mentioned; /* types that keywords other than "type" speak of */
    uint32_t blocked;   /* types with a keyword that cannot be enforced ... */
    char blocked_why[SL_DIAG_BYTES]; /* ... and the first of these */
    const struct sl_json *enums[SL_SHAPE_ENUMS_MAX]; /* arrays; of a const the value */
    bool enum_is_const[SL_SHAPE_ENUMS_MAX];
    const struct sl_schemaplace *enum_places[SL_SHAPE_ENUMS_MAX];
    uint32_t n_enums;
    struct sl_schemanumber number;
    const struct sl_schemaplace *number_place; /* of what is not supported most probably */
    uint32_t min_len, max_len;     /* of strings; max SL_EBNF_NO_MAX: any */
    const char *pattern;           /* or a format's; borrowed; NULL: none */
    size_t pattern_len;
    const struct sl_schemaplace *pattern_place;
    uint32_t min_items, max_items; /* of arrays */
    uint32_t min_members, max_members;
    size_t n_required; /* in all lists together */
    struct sl_schemachoice choices[SL_SHAPE_CHOICES_MAX];
    uint32_t n_choices;
};

/* What a compilation has at hand. */
struct sl_schemactx {
    const struct sl_json *root;
    uint32_t flags; /* SL_SCHEMA_* */
    struct sl_ebnf e;
    struct sl_ebnfjson json;
    uint32_t n_steps;    /* work so far, see sl_shape_work */
    uint32_t n_compared; /* values with constants, and 64 bytes of these */
    struct sl_schemaset *sets; /* schemarules.c's */
    uint32_t n_sets, cap_sets;
    const struct sl_schemaplace *at; /* of the set whose rule is being made */
    struct sl_diag *diag;
};

/* A place below another one; NULL without memory, which the root's path stands for. */
const struct sl_schemaplace *sl_schemaplace_key(struct sl_schemactx *ctx,
                                                const struct sl_schemaplace *parent,
                                                const char *key);
const struct sl_schemaplace *sl_schemaplace_index(struct sl_schemactx *ctx,
                                                  const struct sl_schemaplace *parent,
                                                  size_t index);

/* Set the diagnosis "PATH: text" and return code. */
int sl_schemaplace_fail(const struct sl_schemactx *ctx, const struct sl_schemaplace *place,
                        int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/*
 * Flatten a set of n items into shape, which need not be initialised. What cannot be
 * enforced whatever the type is -ENOTSUP, malformed schemas are -EBADMSG, too much of
 * anything is -E2BIG; each with its path.
 */
int sl_shape_make(struct sl_schemactx *ctx, const struct sl_schemaitem *items, uint32_t n,
                  struct sl_shape *shape);

/* Work so far, bounded by SL_SCHEMA_STEPS_MAX. */
uint32_t sl_shape_work(const struct sl_schemactx *ctx);
/* -E2BIG, with the place where it was too much. */
int sl_shape_too_much_work(const struct sl_schemactx *ctx, const struct sl_schemaplace *place);

/* Count n steps more; -E2BIG with the place when these are too many. */
int sl_shape_steps(struct sl_schemactx *ctx, const struct sl_schemaplace *place, uint32_t n);

/* Whether both are the same JSON value; 1 and 1.0 are. False, and an error in ctx->e, when
 * too much has been compared. */
bool sl_shape_equal(struct sl_schemactx *ctx, const struct sl_json *a, const struct sl_json *b);
/* The type bit of a value. */
uint32_t sl_shape_type_of(const struct sl_json *value);
/* Number of alternatives of enumeration i, and each. */
size_t sl_shape_n_enum(const struct sl_shape *shape, uint32_t i);
const struct sl_json *sl_shape_enum(const struct sl_shape *shape, uint32_t i, size_t k);

/*
 * Whether a value fits the shape, as far as its enumerations, types, bounds of numbers
 * and lengths tell: 0 no, 1 yes, -1 when other keywords would have to be looked at. The
 * first n_known enumerations are known to have it. Errors as of sl_shape_equal.
 */
int sl_shape_fits(struct sl_schemactx *ctx, const struct sl_shape *shape,
                  const struct sl_json *value, uint32_t n_known);
