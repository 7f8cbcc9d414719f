/*
 * One GGUF file on its own, read and checked; the parts of a split model are put
 * together in gguf.c. For loader/gguf.c, and src/store, which reads no more than it must.
 * One thread at a time per part.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "loader/gguf.h"
#include "loader/mapping.h"

struct sl_ggufpart {
    struct sl_mapping *map;         /* a reference */
    uint32_t version;
    uint32_t alignment;             /* of tensor data, a power of two */
    uint64_t head_bytes;            /* to the end of the list of tensors */
    uint32_t n_kv;
    uint32_t n_tensors;
    struct sl_gguf_kv *kvs;         /* owned */
    struct sl_gguf_tensor *tensors; /* owned; split is 0 */
};

/*
 * Map path and check all that concerns this file alone; names may still occur twice.
 * part must be all zeroes; on failure it is so again. flags: SL_GGUF_*.
 */
int sl_ggufpart_open(struct sl_ggufpart *part, const char *path, uint32_t flags,
                     struct sl_diag *diag);

/* The same for a file that lies inside another, [off, off + bytes) of map, which must be
 * within it; part takes a reference. */
int sl_ggufpart_read(struct sl_ggufpart *part, struct sl_mapping *map, uint64_t off,
                     uint64_t bytes, uint32_t flags, struct sl_diag *diag);

/*
 * What the first n bytes of a file of file_bytes hold: the header's counts, checked, and as
 * many metadata entries as lie in them whole (malformed ones end it too); no tensors, no
 * mapping. bytes must stay as long as part. part must be all zeroes; on failure it is so
 * again. The errors of a header.
 */
int sl_ggufpart_peek(struct sl_ggufpart *part, const uint8_t *bytes, uint64_t n,
                     uint64_t file_bytes, const char *path, struct sl_diag *diag);

/* Free what part owns and zero it. All zeroes are allowed. */
void sl_ggufpart_close(struct sl_ggufpart *part);

/* A string of a file for an error text: cut to 64 bytes, other bytes than printable
 * ASCII as '?', so that a file cannot send control sequences to a terminal. */
struct sl_ggufpart_text {
    char s[68];
};
struct sl_ggufpart_text sl_ggufpart_printable(struct sl_gguf_str str);
