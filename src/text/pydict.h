/*
 * Objects written member by member, with repeated keys dealt with as Python does: in a
 * dict the last value counts, at the place of the first; as keyword arguments they are
 * an error. Called by pyliteral.c and toolcall.c. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/jsonwriter.h"

struct sl_pydict_member; /* where a member's key and value lie in the writer's text */

/* Members of all objects that are open, innermost last. All zeroes: none. */
struct sl_pydict_stack {
    struct sl_pydict_member *members; /* heap */
    size_t n, cap;
};

/* An object that is open: the caller's storage, filled by begin. */
struct sl_pydict {
    size_t first_member;
    size_t body_off; /* in the writer's text, after the brace */
};

enum sl_pydict_rule {
    SL_PYDICT_KEYWORDS = 0, /* keys are strings, and none comes twice */
    SL_PYDICT_DICT,         /* the last value of a key counts, at the first one's place */
};

enum sl_pydict_key {
    SL_PYDICT_KEY_STRING = 0,
    SL_PYDICT_KEY_INT, /* the decimal digits; equal digits as a string are another key */
};

void sl_pydict_stack_done(struct sl_pydict_stack *stack);

/* The writer has no flags and no file, and is the same for all calls of one object. */
void sl_pydict_begin(struct sl_pydict_stack *stack, struct sl_pydict *dict,
                     struct sl_jsonwriter *w);

/* Write a key; the caller writes the value, then calls sl_pydict_end_value. 0, -ENOMEM. */
int sl_pydict_key(struct sl_pydict_stack *stack, struct sl_jsonwriter *w, const char *key,
                  size_t len, enum sl_pydict_key kind);
void sl_pydict_end_value(struct sl_pydict_stack *stack, const struct sl_pydict *dict,
                         const struct sl_jsonwriter *w);

/*
 * Close the object. -EBADMSG when the keys break the rule, or when an integer and a
 * string would become the same key; -ENOMEM.
 */
int sl_pydict_end(struct sl_pydict_stack *stack, const struct sl_pydict *dict,
                  struct sl_jsonwriter *w, enum sl_pydict_rule rule);
