/*
 * Which threads compute, where and why, in words and in JSON: for info, and for what a run
 * says of itself. Main thread.
 */
#pragma once

#include <stddef.h>

#include "base/jsonwriter.h"
#include "sluice.h"

#define SL_WORKERINFO_BYTES 256

/* "8 threads on CPUs 0-7 (one on each core)", to buf of SL_WORKERINFO_BYTES. Returns buf. */
const char *sl_workerinfo_text(char *buf, const struct sluice_model_info *info);

/* Members of the object that is being written: threads, thread_cpus, threads_why,
 * spread_nodes, node_copies, node_copies_why. */
void sl_workerinfo_write(struct sl_jsonwriter *w, const struct sluice_model_info *info);

/* With more than one NUMA node: "shared weights on each of 2 NUMA nodes", or why there is one
 * copy for all, to buf of SL_WORKERINFO_BYTES; otherwise "". Returns buf. */
const char *sl_workerinfo_copies_text(char *buf, const struct sluice_model_info *info);

/* Lines on threads and machine to stdout, as sluice info has them; and the same as
 * members. */
void sl_workerinfo_print_machine(const struct sluice_model *model);
void sl_workerinfo_write_machine(struct sl_jsonwriter *w, const struct sluice_model *model);
