/*
 * Numbers within bounds as grammar expressions. Used by the schema compiler only.
 *
 * Bounds are decimal numbers, compared digit by digit; a number's double is on the same
 * side of a bound's double as the decimals are. Next to an exclusive bound that needs few
 * digits, as two decimals might become one double: then only as many may follow the point
 * as make 15 with the bound's digits before the point. None follow it where a bound has
 * 15 or more digits before the point.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "text/ebnfjson.h"

/* Lower and upper bounds; of several the tighter one has been chosen. */
struct sl_schemanumber_bound {
    const struct sl_json *node; /* a number, or NULL: no bound */
    bool exclusive;
};

struct sl_schemanumber {
    struct sl_schemanumber_bound low, high;
    const struct sl_json *multiple_of; /* NULL: any */
};

/* Let bound be the tighter of itself and another; node is a number. */
void sl_schemanumber_tighten(struct sl_schemanumber_bound *bound, const struct sl_json *node,
                             bool exclusive, bool is_low);

/* Whether value is on the right side of both; multiple_of is not looked at. */
bool sl_schemanumber_holds(const struct sl_schemanumber *n, const struct sl_json *value);

/*
 * Integers without a fraction, exactly those within the bounds that have at most 20
 * digits. multiple_of: 1, 2, 5 and powers of ten, or any integer when at most 256 of its
 * multiples lie within the bounds. With bounds that no integer fits, nothing matches.
 * -ENOTSUP or -ERANGE with a reason; other errors stay in e.
 */
int sl_schemanumber_integer(const struct sl_schemanumber *n, const struct sl_ebnfjson *j,
                            struct sl_ebnf *e, struct sl_ebnf_expr **ret_expr,
                            struct sl_diag *diag);

/*
 * Numbers. With bounds (but for a lower one of 0) they are written without an exponent,
 * at most 20 digits before and after the point. multiple_of: as for integers, with
 * integers as the result.
 */
int sl_schemanumber_number(const struct sl_schemanumber *n, const struct sl_ebnfjson *j,
                           struct sl_ebnf *e, struct sl_ebnf_expr **ret_expr,
                           struct sl_diag *diag);
