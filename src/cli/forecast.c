#include "cli/forecast.h"

#define MIB ((uint64_t)1 << 20)

/* Bytes of experts that one token uses. */
static double expert_bytes(const struct sl_plan_in *in)
{
    double bytes = 0.0;

    for (uint32_t i = in->hp->n_dense; i < in->hp->n_layers; i++) {
        const struct sl_layer *l = &in->weights->layers[i];

        bytes += (double)in->hp->n_experts_used *
                 (double)(sl_tensor_mat_bytes(&l->gate) + sl_tensor_mat_bytes(&l->up) +
                          sl_tensor_mat_bytes(&l->down));
    }
    return bytes;
}

/* Hits with a share of all experts in memory. */
static double hits_with(const struct sl_forecast_in *in, double share)
{
    double at = share * in->n_experts;
    uint32_t i = (uint32_t)at;

    if (!in->hits)
        return share;
    if (i >= in->n_experts)
        return in->hits[in->n_experts];
    return in->hits[i] + (at - i) * (in->hits[i + 1] - in->hits[i]);
}

int sl_forecast_make(struct sl_forecast *ret, const struct sl_forecast_in *in, uint64_t ram_bytes,
                     enum sluice_residency residency, struct sl_diag *diag)
{
    struct sl_plan_in plan_in = *in->plan;
    struct sl_forecast f = { .hit_share = 1.0 };
    double experts = expert_bytes(in->plan);
    double shared = (double)in->plan->weights->token_bytes - experts;
    double compute, reading;
    int r;

    plan_in.ram_bytes = ram_bytes;
    plan_in.residency = residency;
    r = sl_plan_make(&f.plan, &plan_in, diag);
    if (r < 0)
        return r;
    if (f.plan.is_streaming)
        f.hit_share =
            hits_with(in, (double)f.plan.cache_bytes / (double)f.plan.cache_all_bytes);
    f.read_bytes = (1.0 - f.hit_share) * experts;
    if (in->stored_bytes && f.plan.expert_bytes)
        f.read_bytes *= (double)in->stored_bytes / (double)f.plan.expert_bytes;
    if (in->memory_bytes_per_s > 0.0 && (in->disk_bytes_per_s > 0.0 || f.read_bytes <= 0.0)) {
        compute = experts / in->memory_bytes_per_s;
        reading = f.read_bytes > 0.0 ? f.read_bytes / in->disk_bytes_per_s : 0.0;
        f.compute_seconds = shared / in->memory_bytes_per_s + compute;
        f.seconds = shared / in->memory_bytes_per_s + (reading > compute ? reading : compute);
    }
    *ret = f;
    return 0;
}

uint64_t sl_forecast_free(const struct sl_forecast_in *in)
{
    struct sl_forecast f;
    uint64_t low, high;

    if (sl_forecast_make(&f, in, SLUICE_RAM_MIN, SLUICE_RESIDENCY_AUTO, NULL) < 0 ||
        !f.plan.is_streaming || f.seconds <= 0.0)
        return 0;
    low = f.plan.min_bytes / MIB; /* not free unless it is the smallest */
    if (f.seconds <= f.compute_seconds)
        return f.plan.min_bytes;
    high = f.plan.resident_bytes / MIB;
    while (low + 1 < high) {
        uint64_t middle = low + (high - low) / 2;

        if (sl_forecast_make(&f, in, middle * MIB, SLUICE_RESIDENCY_AUTO, NULL) < 0)
            return 0;
        if (f.seconds <= f.compute_seconds)
            high = middle;
        else
            low = middle;
    }
    return high * MIB;
}

uint32_t sl_forecast_budgets(const struct sl_plan *plan, uint64_t *ret_bytes, uint32_t cap)
{
    uint64_t least = plan->min_bytes && plan->min_bytes < plan->resident_bytes
                         ? plan->min_bytes : plan->resident_bytes;
    uint32_t n = 0;

    if (n < cap)
        ret_bytes[n++] = least;
    /* 2, 3, 4, 6, 8, 12, 16 ...; the first ones at least a sixteenth more than the least */
    for (uint64_t step = 2 * MIB; step < plan->resident_bytes; step *= 2)
        for (uint64_t bytes = step; bytes <= step + step / 2; bytes += step / 2)
            if (bytes > least + least / 16 && bytes < plan->resident_bytes && n + 1 < cap)
                ret_bytes[n++] = bytes;
    if (n < cap && ret_bytes[n - 1] != plan->resident_bytes)
        ret_bytes[n++] = plan->resident_bytes;
    return n;
}
