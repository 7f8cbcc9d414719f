/*
 * The worker threads of a model: how many, on which CPUs and why; the nodes that its memory
 * is spread over, and which workers read which copy of the shared weights. Called by
 * engine.c, stream.c and sluice tune; one thread at a time per model.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "sluice.h"

/*
 * Read the machine and start the workers that opts asks for. What was made stays in the
 * model, also on failure. -EINVAL, -ERANGE: CPUs that cannot be had, named; -EAGAIN: not so
 * many threads could be started; -ENOMEM, -EIO.
 */
int sl_workers_open(struct sluice_model *m, const struct sluice_model_opts *opts,
                    struct sl_diag *diag);

/*
 * Other workers in place of these: n of them on cpus, as sl_placement_exact takes them. No
 * session may be alive. A model that streams keeps its bound only with at most as many as it
 * was opened with. On failure, as above, those before go on.
 */
int sl_workers_replace(struct sluice_model *m, const int32_t *cpus, uint32_t n,
                       struct sl_diag *diag);

/*
 * Copies of the shared weights for the workers' nodes, as m->plan has them: memory for them
 * before the weights are loaded, then, once they are, the copying. place_error: why the
 * weights themselves are not on their node, or 0. What cannot be had is not: m->copies tells.
 */
void sl_workers_reserve_copies(struct sluice_model *m);
void sl_workers_fill_copies(struct sluice_model *m, int place_error);

void sl_workers_close(struct sluice_model *m);
