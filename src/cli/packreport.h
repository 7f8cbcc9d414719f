/* What a pack holds and what compression bought, for sluice pack and sluice info. */
#pragma once

#include <stdint.h>

#include "base/jsonwriter.h"
#include "loader/pack.h"

struct sl_packreport {
    uint64_t file_bytes, meta_bytes;
    uint64_t source_bytes; /* of the GGUF files; 0: not known */
    uint32_t n_records;    /* experts */
    uint64_t n[SL_ZBLOCK_KINDS]; /* tensors and matrices by encoding */
    uint64_t stored_bytes[SL_ZBLOCK_KINDS], bytes[SL_ZBLOCK_KINDS];
    double decode_bytes_per_s; /* output of one thread, checksum included; 0: nothing encoded */
    /* Reading and then decoding takes as long as reading the decoded bytes. */
    double break_even_bytes_per_s;
};

/* Count, and decode a sample for its speed (some tenths of a second). */
void sl_packreport_make(struct sl_packreport *ret_report, struct sl_pack *pack);

/* A line for each encoding to stdout; members of the object that is being written. */
void sl_packreport_print(const struct sl_packreport *report);
void sl_packreport_write(struct sl_jsonwriter *w, const struct sl_packreport *report);
