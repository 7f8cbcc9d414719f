/* The plan before the download, from the heads of a model's files: for pullrun.c. */
#pragma once

#include "cli/pullrun.h"

/*
 * Get as much of each part's begin as a plan needs, and fill in run->plan. 0, also where the
 * heads are not understood, or what sl_download_get_head returned, of *ret_part.
 */
int sl_pullhead_plan(struct sl_pullrun *run, const struct sl_pullrun_part **ret_part,
                     struct sl_diag *diag);
