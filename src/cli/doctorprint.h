/* What sluice doctor found, for people and for programs. */
#pragma once

#include "doctor/finding.h"

/* A line for each finding, with more lines for those that are not ok; then a summary. The
 * results of sl_report_write. */
int sl_doctorprint_text(const struct sl_findings *findings);

/* One object, as the help of sluice doctor has it. */
int sl_doctorprint_json(const struct sl_findings *findings);

uint32_t sl_doctorprint_count(const struct sl_findings *findings, enum sl_finding_state state);
