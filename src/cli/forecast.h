/*
 * How fast a plan would be, from what memory and disk give. A formula, no measurement:
 *
 *     token time = shared ÷ memory + max(experts ÷ memory, (1 - hits) × experts ÷ disk)
 *
 * shared and experts are the bytes of weights that a token needs. Experts are computed
 * while others are read; the shared layers between them are not (only guesses would read
 * then). hits is the share of the needed experts that are in memory: as many as fit are,
 * and each is needed equally often, or as often as it was in earlier runs, the likeliest
 * being in memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/plan.h"

struct sl_forecast_in {
    const struct sl_plan_in *plan; /* but for ram_bytes and residency */
    double memory_bytes_per_s, disk_bytes_per_s; /* 0: not known */
    uint64_t stored_bytes; /* of all experts in the file; 0: as many as in memory */
    const double *hits;    /* [n_experts + 1] hits with the i likeliest in memory; NULL: i / n */
    uint32_t n_experts;    /* of all layers together */
};

struct sl_forecast {
    struct sl_plan plan;
    double hit_share;         /* 0..1 */
    double read_bytes;        /* per token, from the disk */
    double compute_seconds;   /* per token, everything in memory; 0: not known */
    double seconds;           /* per token; 0: not known */
};

/* For a budget, as ram_bytes of sluice_model_opts. sl_plan_make's errors. */
int sl_forecast_make(struct sl_forecast *ret, const struct sl_forecast_in *in, uint64_t ram_bytes,
                     enum sluice_residency residency, struct sl_diag *diag);

/* The smallest budget, to a MiB, with which waiting for the disk costs nothing (by the
 * formula); 0 if it is not known or the model does not stream. */
uint64_t sl_forecast_free(const struct sl_forecast_in *in);

/* Budgets worth a row of a table: round numbers from the smallest that works up to what
 * holds everything, both of these included. Returns their number, at most cap. */
uint32_t sl_forecast_budgets(const struct sl_plan *plan, uint64_t *ret_bytes, uint32_t cap);
