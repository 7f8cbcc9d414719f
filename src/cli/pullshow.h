/* What sluice pull shows: a repo's models, what it is about to get, what it got. Main thread. */
#pragma once

#include <stdbool.h>

#include "cli/pullrun.h"

/* The models of a listed repo on stdout, as a table or an object. sl_report_write's results. */
int sl_pullshow_list(const struct sl_pullrun *run, bool is_json);

/* Why no model, or more than one, fits the name, with what there is; r as
 * sl_hubpick_choose returned it. An exit code. */
int sl_pullshow_choices(const struct sl_pullrun *run, int r);

/* Which files, and where to, on stderr. */
void sl_pullshow_begin(const struct sl_pullrun *run, uint64_t missing_bytes, bool is_whole);

/* What was done: a line on stderr, and on stdout the path, or an object. */
int sl_pullshow_end(const struct sl_pullrun *run, bool is_json);
