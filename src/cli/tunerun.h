/*
 * A run of sluice tune: one setting, timed on a model. Main thread.
 */
#pragma once

#include "cli/opened.h"
#include "cli/tunesettings.h"

struct sl_tunerun {
    struct sl_opened *opened; /* borrowed; without a session */
    uint64_t ns;              /* that a run takes, about; half of it for each purpose */
    uint32_t n_prompt;        /* tokens that are read at once */
    uint32_t n_ctx;           /* of the sessions */
    uint64_t random;          /* of the ids: each run has others */
    struct sl_diag error;     /* why the last run failed */
};

/* Set ns, and a piece of prompt that the workers which the model has now read in a small
 * part of it. Errors as below. */
int sl_tunerun_size(struct sl_tunerun *run, uint64_t ns);

/*
 * Give the model the setting's workers and time it: tokens per second at each purpose.
 * -ECANCELED after Ctrl-C, or the errors of sluice_session_new and sluice_decode.
 */
int sl_tunerun_time(struct sl_tunerun *run, const struct sl_tune_setting *setting,
                    double ret_rates[SL_TUNE_PURPOSES]);
