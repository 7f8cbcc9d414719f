/*
 * JSON read into a tree. Strict: UTF-8, nothing after the value, no "\u0000", at most
 * SL_JSON_DEPTH_MAX levels and SL_JSON_VALUES_MAX values. Of repeated keys the last value
 * counts, at the place of the first, as in Python. Integers of any size are kept. A tree is
 * read-only; any thread may read it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_JSON_DEPTH_MAX 128
#define SL_JSON_BYTES_MAX ((size_t)256 << 20)
#define SL_JSON_VALUES_MAX 262144u /* each takes up to 150 bytes; twice 128 Ki token ids */

enum sl_json_type {
    SL_JSON_NONE = 0, /* of a NULL node: what a failed find returns */
    SL_JSON_NULL,
    SL_JSON_BOOL,
    SL_JSON_INT,
    SL_JSON_REAL,
    SL_JSON_STRING,
    SL_JSON_ARRAY,
    SL_JSON_OBJECT,
};

struct sl_json_doc;
struct sl_json; /* a node, owned by its document */

/*
 * Parse len bytes. -EBADMSG (with line and column), -E2BIG (too deep, too long, too
 * many values), -ENOMEM. The text is not needed afterwards.
 */
int sl_json_parse(struct sl_json_doc **ret_doc, const char *text, size_t len,
                  struct sl_diag *diag);
void sl_json_free(struct sl_json_doc *doc); /* NULL is allowed */
const struct sl_json *sl_json_root(const struct sl_json_doc *doc);

/* All of the following take NULL nodes, and nodes of any type. */
enum sl_json_type sl_json_get_type(const struct sl_json *node);
bool sl_json_is(const struct sl_json *node, enum sl_json_type type);
const char *sl_json_type_name(enum sl_json_type type); /* "a string", "absent" */

/* Member of an object, or NULL. */
const struct sl_json *sl_json_find(const struct sl_json *node, const char *key);

/* Number of items or members, 0 for what is neither array nor object. */
size_t sl_json_n_items(const struct sl_json *node);
const struct sl_json *sl_json_item(const struct sl_json *node, size_t i); /* or NULL */

/* Members in the order of the text: start with an iterator of all zeroes; false at
 * the end. ret_key is borrowed, terminated. */
struct sl_json_iter {
    void *pos;
    bool started;
};
bool sl_json_next(const struct sl_json *node, struct sl_json_iter *iter,
                  const char **ret_key, const struct sl_json **ret_value);

/* Terminated UTF-8 of a string, borrowed, or NULL. ret_len may be NULL. */
const char *sl_json_get_string(const struct sl_json *node, size_t *ret_len);

/* False, and ret untouched, when the node is of another type or does not fit. get_f64
 * takes integers too. */
bool sl_json_get_bool(const struct sl_json *node, bool *ret_value);
bool sl_json_get_i64(const struct sl_json *node, int64_t *ret_value);
bool sl_json_get_f64(const struct sl_json *node, double *ret_value);

/* Decimal digits of an integer beyond int64, as the text had them; NULL for others. */
const char *sl_json_get_big_int(const struct sl_json *node);
