/*
 * The answer of sluice bench as one page: a roofline (tokens per second over memory's
 * speed, with what was reached and what is wanted), where a token's time goes, and the
 * figures. Self-contained: no scripts, no fonts, nothing fetched; light and dark.
 */
#pragma once

#include <stdio.h>

#include "cli/benchtarget.h"

/* Whether writing failed is for the caller to ask the file. */
void sl_roofline_write(FILE *file, const struct sl_target *target);
