/*
 * What sluice tune found best for a model on this machine, kept in the state folder: one
 * file for each pair of a machine and a model's shape. Main thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "cli/tunesearch.h"
#include "cli/units.h"

#define SL_TUNED_VERSION 1
#define SL_TUNED_NAME_BYTES 512

/* Any texts; equal ones are the same machine, and models that run alike (fingerprint.h). */
struct sl_tuned_key {
    char machine[SL_TUNED_NAME_BYTES], model[SL_TUNED_NAME_BYTES];
};

struct sl_tuned {
    char date[SL_UNITS_TIME_BYTES]; /* "2026-11-23T07:40:00Z" */
    enum sl_tune_purpose purpose;
    uint32_t n; /* workers, 1..SL_POOL_WORKERS_MAX */
    int32_t cpus[SL_POOL_WORKERS_MAX]; /* n: logical CPUs, or -1: not bound */
    double rates[SL_TUNE_PURPOSES];    /* medians, tokens per second */
};

const char *sl_tuned_purpose_name(enum sl_tune_purpose purpose); /* "decode", "prefill" */

/* Heap path of the file for a key, which may not be there; NULL if there is no place. */
char *sl_tuned_path(const struct sl_tuned_key *key);

/* Write it, whole or not at all. Errors name the path. */
int sl_tuned_save(const char *path, const struct sl_tuned_key *key, const struct sl_tuned *tuned,
                  struct sl_diag *diag);

/*
 * Read it. Nothing in the file is believed: CPUs, say, are those that this process may use.
 * -ENOENT: there is none. -EBADMSG, -EIO: damaged, of another version, or made for another
 * key; diag has path and reason.
 */
int sl_tuned_load(struct sl_tuned *ret, const char *path, const struct sl_tuned_key *key,
                  struct sl_diag *diag);
