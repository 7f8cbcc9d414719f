/*
 * How fast this machine's memory is, and the disk under a file: measured once, and kept
 * in the state folder, a file for each device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "cli/units.h"

struct sl_machine {
    double memory_bytes_per_s; /* 0: not known */
    double disk_bytes_per_s;   /* direct, at random places; 0: not known */
    uint32_t memory_threads;
    uint32_t disk_read_bytes, disk_depth;
    char device[64]; /* "259:1 nvme0n1p1" */
    char date[SL_UNITS_TIME_BYTES]; /* of measuring, "2026-11-23T07:40:00Z"; "" if never */
    bool is_measured; /* just now */
};

enum sl_machine_mode {
    SL_MACHINE_KEPT,  /* what is kept; measure what is missing or old */
    SL_MACHINE_ANEW,  /* measure */
    SL_MACHINE_NEVER, /* what is kept, however old */
};

/*
 * Fill in for the file at path, read by n_threads threads. What cannot be measured (a
 * small file, a file system without direct reads) stays 0, and diag says why; it is
 * empty otherwise. Takes about three seconds when it measures. 0, or -ENOMEM, -ENOENT ...
 */
int sl_machine_get(struct sl_machine *ret, const char *path, uint32_t n_threads,
                   enum sl_machine_mode mode, struct sl_diag *diag);

/* Threads where sluice puts them, n_threads of them, 0: as many as it takes by default. The
 * errors of sl_topology_open, sl_placement_plan and sl_pool_new. */
int sl_machine_new_pool(struct sl_pool **ret_pool, uint32_t n_threads, struct sl_diag *diag);

/* Memory alone, the median of several passes of such threads, in a fifth of a second; nothing
 * is kept. Fills in memory_bytes_per_s and memory_threads. -ENOMEM, and the errors above. */
int sl_machine_measure_memory(struct sl_machine *m, uint32_t n_threads);

/* The kept speed of the disk under a file, bytes per second; 0: not known. */
double sl_machine_disk(const char *path);
