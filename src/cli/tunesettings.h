/*
 * What sluice tune tries: numbers of workers and where they are. A pure function of the
 * topology; any thread.
 */
#pragma once

#include "base/pool.h"
#include "cli/tunesearch.h"
#include "experts/topology.h"

struct sl_tune_setting {
    char name[48]; /* "one on each core" */
    uint32_t n;    /* 1..SL_POOL_WORKERS_MAX */
    int32_t cpus[SL_POOL_WORKERS_MAX]; /* n: logical CPUs as in struct sl_placement */
};

/*
 * The default first; then one worker, each kind of L3 domain, several of them, parts of
 * all, all but one, small cores too, SMT siblings too, and the default's number not bound.
 * No two have the same CPUs. Returns how many, or -ENOMEM.
 */
int sl_tunesettings_list(struct sl_tune_setting settings[SL_TUNE_SETTINGS_MAX],
                         const struct sl_topology *topo);
