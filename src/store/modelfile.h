/*
 * File names of models: which they are, parts of split ones, and the type of weights that
 * publishers put into them. Pure functions over names. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_modelfile_kind {
    SL_MODELFILE_NONE = 0,
    SL_MODELFILE_MODEL,   /* .gguf, .slpack */
    SL_MODELFILE_PARTIAL, /* such a name with what downloaders put behind or before it */
};

struct sl_modelfile_name {
    enum sl_modelfile_kind kind;
    size_t stem_len;  /* of the name without part number and endings */
    uint32_t part;    /* 1-based; 1 if it is not split */
    uint32_t n_parts; /* 1 if it is not split */
};

/* name is without folders. */
struct sl_modelfile_name sl_modelfile_parse(const char *name);

/*
 * The type of weights at the end of a stem, as in "LFM2-24B-A2B-Q4_K_M" or "model.f16":
 * where it begins, up to len; len if there is none.
 */
size_t sl_modelfile_find_type(const char *stem, size_t len);

/* Whether a tag that somebody typed, of tag_len bytes, means a file of this stem: it is the
 * stem, or the end of it behind a "-", "." or "_". Case does not count. */
bool sl_modelfile_has_tag(const char *stem, size_t len, const char *tag, size_t tag_len);
