/*
 * Lists of logical CPUs as people and Linux write them: "0-3,8", and "0-14:2" for every
 * second one. Pure; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_CPULIST_CPUS 4096 /* numbers are below */

/*
 * The numbers of a terminated text, in its order, to cpus (room for cap). Returns how
 * many. -EINVAL: not such a list, or a number twice; -ERANGE: a number of SL_CPULIST_CPUS
 * or more; -E2BIG: more than cap. diag has the place.
 */
int sl_cpulist_parse(const char *text, int32_t *cpus, uint32_t cap, struct sl_diag *diag);

/*
 * n numbers as the shortest such list in the same order, to buf; where it does not fit it
 * ends in "...". Negative numbers, workers that are not bound, are "any". bytes: at least 8.
 * Returns buf.
 */
const char *sl_cpulist_print(char *buf, size_t bytes, const int32_t *cpus, uint32_t n);
