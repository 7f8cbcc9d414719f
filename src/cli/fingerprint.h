/*
 * In words what the best number of workers depends on: a machine as this process sees it,
 * and a model's shape. For struct sl_tuned_key. Main thread.
 */
#pragma once

#include "base/err.h"
#include "cli/tuned.h"
#include "loader/gguf.h"
#include "model/hparams.h"

/* Processor, CPUs switched on and allowed, nodes, quota. */
void sl_fingerprint_machine(struct sl_tuned_key *key);

/* Architecture, layers, sizes and types: fine-tuned models of one shape are one model. */
void sl_fingerprint_model(struct sl_tuned_key *key, const struct sl_gguf *gguf,
                          const struct sl_hparams *hp);

/* The same for a GGUF file or a pack that is opened for it alone. Errors as when opening
 * a model. */
int sl_fingerprint_file(struct sl_tuned_key *key, const char *path, struct sl_diag *diag);
