/*
 * What /slots and its actions answer, from the scheduler's facts. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct sl_apislot {
    uint32_t id;
    uint32_t n_ctx_tok;
    bool is_processing;
};

/* A saved or restored slot. */
struct sl_apislot_file {
    uint32_t id;
    const char *filename; /* as the request named it */
    uint64_t n_tok;
    uint64_t n_bytes;
    double ms;
};

/* Each appends a body; its error is kept in out. */
void sl_apislots_write(const struct sl_apislot *slots, size_t n, struct sl_strbuf *out);
void sl_apislots_write_saved(const struct sl_apislot_file *file, struct sl_strbuf *out);
void sl_apislots_write_restored(const struct sl_apislot_file *file, struct sl_strbuf *out);
void sl_apislots_write_erased(uint32_t id, uint64_t n_tok, struct sl_strbuf *out);
