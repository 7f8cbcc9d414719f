/*
 * What a command works with: a model, opened as the shared options ask for it, and a
 * session. Both ends of their life report to stderr what went wrong or was fallen back to.
 * Main thread.
 */
#pragma once

#include "cli/options.h"
#include "sluice.h"

struct sl_opened { /* all zeroes: nothing */
    struct sluice_model *model;     /* owned */
    struct sluice_session *session; /* owned; NULL: none was asked for */
    struct sluice_model_info info;  /* of the model */
};

/*
 * Open the model with a progress bar (or with args->opts.progress, if that is not NULL), and
 * make a session if session is not NULL. Returns 0 or an exit code; sl_opened_close is due
 * in any case. args must outlive opened, whose fields are all zeroes before.
 */
int sl_opened_open(struct sl_opened *opened, struct sl_model_args *args,
                   const struct sluice_session_opts *session);

/* Write out what outlives the run (trace, profile) and close. Returns code, or SL_EXIT_FAILED
 * if that failed and code was 0. */
int sl_opened_close(struct sl_opened *opened, int code);

/* The exit code for what a step of the session returned; a failure is reported, unless
 * Ctrl-C stopped the step. */
int sl_opened_step_code(const struct sl_opened *opened, int r);
