/*
 * What sluice bench found out about a machine, for people and as JSON; and the names and
 * units of its figures, which the page (roofline) has too.
 */
#pragma once

#include "cli/benchtarget.h"

struct sl_benchreport_figure {
    const char *key;   /* of JSON, in units without prefix */
    const char *label; /* NULL: not shown to people */
    double scale;      /* from the figure to the unit */
    const char *unit;
    const char *remark; /* or NULL */
};
extern const struct sl_benchreport_figure sl_benchreport_figures[SL_TARGET_FIGURES];

/* To stdout. sl_report_write's results. */
int sl_benchreport_text(const struct sl_target *target);
int sl_benchreport_json(const struct sl_target *target);
