/* Where models lie on this machine, and what one of them needs, for sluice doctor. */
#pragma once

#include "base/err.h"
#include "doctor/facts.h"

/*
 * Look at the file system of each model on this machine, by its largest file there, or at that
 * of one alone, if path is not NULL. Fills in places, n_places and n_places_left_out. 0, or an
 * exit code, and the failure was reported.
 */
int sl_doctorplaces_gather(struct sl_facts *facts, const char *path);

/* Plan the model of a path in the memory that is free now, name being what the user calls it.
 * Fills in facts->model; it stays unknown where nothing can be planned (a model of another
 * family), with the errors of sl_planshape_open and sl_plan_make. */
int sl_doctorplaces_plan(struct sl_facts *facts, const char *path, const char *name,
                         struct sl_diag *diag);
