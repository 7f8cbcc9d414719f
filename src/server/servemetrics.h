/*
 * The body of /metrics, in the text format of Prometheus: llama.cpp's names, so that its
 * dashboards work, then ours. Pure; any thread.
 */
#pragma once

#include "base/strbuf.h"
#include "server/sched.h"
#include "sluice.h"

#define SL_SERVEMETRICS_TYPE "text/plain; version=0.0.4"

/* Errors are kept in out. */
void sl_servemetrics_write(const struct sl_sched_counters *sched,
                           const struct sluice_counters *engine, struct sl_strbuf *out);
