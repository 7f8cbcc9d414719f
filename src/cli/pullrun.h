/*
 * A model from a hub into the cache: the steps of sluice pull, in the order in which they are
 * declared. They print what they do to stderr, and report failures: what they return is an
 * exit code then. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/hubenv.h"
#include "cli/pullplan.h"
#include "cli/pullprogress.h"
#include "fetch/download.h"
#include "fetch/hub.h"
#include "fetch/hubcache.h"
#include "fetch/hubpick.h"

struct sl_pullrun_part { /* a file of the model */
    const struct sl_hubfile *file; /* borrowed from the listing */
    char *blob;                    /* where its bytes will be; owned */
    enum sl_hubcache_state state;  /* as it was found */
    uint64_t there_bytes;          /* likewise */
    int lock;                      /* -1: none */
    struct sl_download *download;  /* NULL: it was whole */
};

struct sl_pullrun { /* all zeroes at first, but for what is given */
    /* given */
    struct sl_hubname name;
    struct sl_download_opts opts;
    uint32_t stall_s;
    bool is_yes; /* no questions */
    enum sl_machine_mode mode;
    /* by sl_pullrun_open */
    struct sl_hubenv env;
    struct sl_transfer *transfer;
    struct sl_hub hub;
    struct sl_hubcache cache;
    /* by sl_pullrun_list */
    struct sl_hublist list;
    struct sl_hubpick pick;
    /* by sl_pullrun_get */
    struct sl_pullrun_part *parts;
    uint32_t n_parts;
    struct sl_pullplan plan;
    bool is_planned;
    struct sl_pullprogress progress;
    uint64_t resumed_bytes, fetched_bytes; /* of all parts */
    uint32_t n_faults;
    double seconds;
    char *path;  /* of the file, or the first part, in the cache */
};

int sl_pullrun_open(struct sl_pullrun *run);

/* What the repo holds now, in place of what was known before. */
int sl_pullrun_list(struct sl_pullrun *run);

/* Choose, plan, ask, download and name. If the server's file changes meanwhile, lists again
 * and begins anew. */
int sl_pullrun_get(struct sl_pullrun *run);

void sl_pullrun_close(struct sl_pullrun *run);
