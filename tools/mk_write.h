/*
 * Writes a planned model as a GGUF file. Called by mkmodel; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tools/mk_plan.h"

struct mk_write_opts {
    const char *path;
    uint32_t n_threads;
    uint32_t n_splits;
    uint32_t version;   /* of GGUF */
    uint32_t alignment;
    bool kv_array_u32;  /* head_count_kv as u32, as some converters write it, else i32 */
    uint32_t ff_key;    /* a wrong feed_forward_length, 0: the right one */
    const char *const *omit; /* keys to leave out, NULL-terminated; or NULL */
    /* Called from the calling thread, or NULL; nonzero stops. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Returns 0, -ECANCELED, -ENOSPC ...; nothing is left behind on failure. */
int mk_write_file(const struct mk_plan *plan, const struct mk_write_opts *opts,
                  struct sl_diag *diag);
