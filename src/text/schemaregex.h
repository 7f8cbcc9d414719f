/*
 * A schema's "pattern" as a grammar expression for the text between the quotes of a JSON
 * string. Used by the schema compiler only.
 *
 * A subset of ECMA-262's expressions: characters, ".", classes, \d \w \s and their
 * negations, escapes (\n \t \r \f \v \0 \xHH \uHHHH, \u{...}), groups of any kind
 * that only groups, alternatives, * + ? {m} {m,} {m,n} (lazy ones too), and ^ and $ at
 * the ends. \d and \w are ASCII, as ECMA has them. As the standard says, a pattern
 * without ^ and $ may match anywhere in the string; what is before and after is any
 * text. Not supported: references back, looking ahead or behind, \b, \p, anchors in the
 * middle, repetitions of several parts that may all be empty.
 */
#pragma once

#include "base/err.h"
#include "text/ebnf.h"

#define SL_SCHEMAREGEX_BYTES_MAX 16384u

/*
 * Compile len bytes of UTF-8. The string shall have min_len to max_len code points
 * (SL_EBNF_NO_MAX: any number); that is enforced where it follows from the pattern, or
 * by narrowing a repetition when no other part of its sequence varies in length, and
 * else refused. -ENOTSUP with what is not supported or -EBADMSG for malformed ones, both
 * with the place; errors of memory and size stay in e.
 */
int sl_schemaregex_compile(struct sl_ebnf *e, const char *pattern, size_t len, uint32_t min_len,
                           uint32_t max_len, struct sl_ebnf_expr **ret_expr,
                           struct sl_diag *diag);
