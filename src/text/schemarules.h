/*
 * What the files of the schema compiler call each other for. Internal; schema.c says how
 * they work together.
 */
#pragma once

#include "text/schemashape.h"

/* The rule of a set of n schemas that all have to hold, made when its turn comes. types:
 * SL_SHAPE_* that are allowed. Of no schemas: any value. */
uint32_t sl_schemarules_set(struct sl_schemactx *ctx, const struct sl_schemaitem *items,
                            uint32_t n, uint32_t types);

/* Make the rules of all sets that have been asked for, and of those that they ask for. */
int sl_schemarules_make_all(struct sl_schemactx *ctx);
void sl_schemarules_done(struct sl_schemactx *ctx);

/* A string with a pattern (schemaregex.h), in quotes; place is the pattern's. */
int sl_schemarules_pattern(struct sl_schemactx *ctx, const char *pattern, size_t len,
                           uint32_t min_len, uint32_t max_len, const struct sl_schemaplace *place,
                           struct sl_ebnf_expr **ret_expr);

/* Objects and arrays of a shape. -ENOTSUP, -E2BIG with the path. */
int sl_schemaobject_make(struct sl_schemactx *ctx, const struct sl_shape *shape,
                         struct sl_ebnf_expr **ret_expr);
int sl_schemaarray_make(struct sl_schemactx *ctx, const struct sl_shape *shape,
                        struct sl_ebnf_expr **ret_expr);

/* The schemas that an object's member has to satisfy, at most SL_SHAPE_ITEMS_MAX, and
 * whether "properties" of one of them names it. key NULL: a member that none names. */
uint32_t sl_schemaobject_member(struct sl_schemactx *ctx, const struct sl_shape *shape,
                                const char *key, struct sl_schemaitem *items, bool *ret_named);
/* Whether members that are not named are ruled out. */
bool sl_schemaobject_is_closed(const struct sl_schemactx *ctx, const struct sl_shape *shape);
bool sl_schemaobject_requires(const struct sl_shape *shape, const char *key);

/* 1: no value satisfies both shapes; 0: not shown; negative errors. */
int sl_schemaoneof_apart(struct sl_schemactx *ctx, const struct sl_shape *a,
                         const struct sl_shape *b);
