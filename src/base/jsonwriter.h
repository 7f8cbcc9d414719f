/*
 * JSON written piece by piece to a growing text or a FILE. Commas, colons, blanks and
 * escapes are the writer's business; nesting them rightly is the caller's, and
 * asserted. Errors are kept until sl_jsonwriter_done. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/json.h"
#include "base/strbuf.h"

#define SL_JSONWRITER_DEPTH_MAX (SL_JSON_DEPTH_MAX + 64)

enum {
    SL_JSONWRITER_PRETTY = 1, /* a line for each member, two blanks deep */
    SL_JSONWRITER_SPACED = 2, /* ", " and ": " on one line, as Python writes it */
};

struct sl_jsonwriter {
    FILE *file; /* NULL: all stays in buf */
    struct sl_strbuf buf;
    uint32_t flags;
    uint32_t depth;
    bool after_key;
    bool filled[SL_JSONWRITER_DEPTH_MAX + 1]; /* whether a level has a member yet */
    int error;
};

/* file is borrowed and may be NULL; flags: SL_JSONWRITER_*. */
void sl_jsonwriter_init(struct sl_jsonwriter *w, FILE *file, uint32_t flags);

/*
 * Write out what is held (to the file; otherwise the text is in w->buf, to be taken
 * before this call). Returns 0, -ENOMEM, -E2BIG or -EIO for anything since init.
 */
int sl_jsonwriter_done(struct sl_jsonwriter *w);

void sl_jsonwriter_begin_object(struct sl_jsonwriter *w);
void sl_jsonwriter_end_object(struct sl_jsonwriter *w);
void sl_jsonwriter_begin_array(struct sl_jsonwriter *w);
void sl_jsonwriter_end_array(struct sl_jsonwriter *w);
void sl_jsonwriter_key(struct sl_jsonwriter *w, const char *key);
void sl_jsonwriter_key_len(struct sl_jsonwriter *w, const char *key, size_t len);

/* Bytes that are not UTF-8 become U+FFFD. */
void sl_jsonwriter_string(struct sl_jsonwriter *w, const char *text);
void sl_jsonwriter_string_len(struct sl_jsonwriter *w, const char *text, size_t len);
void sl_jsonwriter_i64(struct sl_jsonwriter *w, int64_t value);
void sl_jsonwriter_u64(struct sl_jsonwriter *w, uint64_t value);
void sl_jsonwriter_f64(struct sl_jsonwriter *w, double value); /* not finite: null */
void sl_jsonwriter_bool(struct sl_jsonwriter *w, bool value);
void sl_jsonwriter_null(struct sl_jsonwriter *w);
void sl_jsonwriter_value(struct sl_jsonwriter *w, const struct sl_json *node);
/* len bytes that are JSON text of one value, as they are. */
void sl_jsonwriter_raw(struct sl_jsonwriter *w, const char *json, size_t len);

/* A key and its value; member_known: null unless it is above 0. member_object and
 * member_array begin one; ending it is as above. */
void sl_jsonwriter_member_string(struct sl_jsonwriter *w, const char *key, const char *text);
void sl_jsonwriter_member_i64(struct sl_jsonwriter *w, const char *key, int64_t value);
void sl_jsonwriter_member_u64(struct sl_jsonwriter *w, const char *key, uint64_t value);
void sl_jsonwriter_member_f64(struct sl_jsonwriter *w, const char *key, double value);
void sl_jsonwriter_member_known(struct sl_jsonwriter *w, const char *key, double value);
void sl_jsonwriter_member_bool(struct sl_jsonwriter *w, const char *key, bool value);
void sl_jsonwriter_member_object(struct sl_jsonwriter *w, const char *key);
void sl_jsonwriter_member_array(struct sl_jsonwriter *w, const char *key);

/* The fewest digits that read back as value, in Python's spelling (0.1, 1e-07,
 * 1e+16, 100.0), at most SL_JSON_REAL_BYTES with the terminator. value is finite. */
#define SL_JSON_REAL_BYTES 32
void sl_json_print_real(char *out, double value);

/*
 * A tree as Python's json.dumps(ensure_ascii=False) prints it, to heap text that the
 * caller frees. Returns 0 or -ENOMEM, -E2BIG.
 */
int sl_json_dump_python(const struct sl_json *node, char **ret_text, size_t *ret_len);
