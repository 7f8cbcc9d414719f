/* The disk is not measured with a file that has gaps, which would be read at memory's speed:
 * the folder stands for it, of which a speed may be kept. */
#include "cli/pullplan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/planshape.h"
#include "cli/units.h"

#define SLOW_TOKENS_PER_S 1.0 /* less is hardly of use */

static void set_bad(struct sl_pullplan *plan, const char *why)
{
    plan->is_bad = true;
    (void)snprintf(plan->why, sizeof(plan->why), "%s", why);
}

/* What can be said without a head. */
static void judge_size(struct sl_pullplan *plan, uint64_t model_bytes)
{
    *plan = (struct sl_pullplan){.bytes = model_bytes,
                                 .available_bytes = sl_memory_available("")};
}

static void find_bounds(struct sl_pullplan *plan, const struct sl_plan_in *in)
{
    struct sl_plan_in bound = *in;
    struct sl_plan least;

    bound.available_bytes = UINT64_MAX;
    bound.ram_bytes = SLUICE_RAM_MIN;
    if (sl_plan_make(&least, &bound, NULL) == 0) {
        plan->min_bytes = least.min_bytes;
        plan->resident_bytes = least.resident_bytes;
    }
}

static void forecast(struct sl_pullplan *plan, const struct sl_planshape *shape)
{
    const struct sl_forecast_in in = {
        .plan = &shape->in,
        .memory_bytes_per_s = plan->memory_bytes_per_s,
        .disk_bytes_per_s = plan->disk_bytes_per_s,
        .stored_bytes = shape->stored_bytes,
    };
    struct sl_diag diag = {""};

    find_bounds(plan, &shape->in);
    if (sl_forecast_make(&plan->here, &in, 0, SLUICE_RESIDENCY_AUTO, &diag) < 0) {
        set_bad(plan, diag.text);
        return;
    }
    plan->runs_here = true;
    if (plan->here.seconds > 1.0 / SLOW_TOKENS_PER_S)
        set_bad(plan, "it would take more than a second for each token");
}

int sl_pullplan_make(struct sl_pullplan *ret, const char *path, const char *folder,
                     uint64_t model_bytes, enum sl_machine_mode mode)
{
    const struct sluice_model_opts opts = {0};
    struct sl_planshape shape = {0};
    struct sl_machine machine = {.disk_depth = 0};
    struct sl_diag diag = {""};
    int r;

    judge_size(ret, model_bytes);
    r = sl_planshape_open(&shape, path, &diag);
    if (r == 0) {
        shape.in.session.n_seq_max = 1; /* as run and chat have it */
        r = sl_planshape_count_threads(&shape.in, &opts, &diag);
    }
    if (r == 0 && sl_machine_get(&machine, folder, shape.in.n_workers, mode, &diag) == 0) {
        ret->memory_bytes_per_s = machine.memory_bytes_per_s;
        ret->disk_bytes_per_s = machine.disk_bytes_per_s;
    }
    if (r == 0) {
        ret->is_read = true;
        forecast(ret, &shape);
    } else if (r == -ENOTSUP) {
        set_bad(ret, diag.text);
    } else {
        (void)snprintf(ret->why, sizeof(ret->why), "%s", diag.text);
        r = r == -EBADMSG ? -EAGAIN : r;
    }
    sl_planshape_done(&shape);
    return r == -EAGAIN ? r : 0;
}

static void print_memory(const struct sl_pullplan *plan)
{
    const struct sl_plan *p = &plan->here.plan;
    char a[SL_UNITS_BYTES], b[SL_UNITS_BYTES], c[SL_UNITS_BYTES];

    fprintf(stderr, "memory    %s available: ", sl_units_size(a, plan->available_bytes));
    if (!plan->is_read)
        fprintf(stderr, "how the model would run is not known; its files have %s",
                sl_units_size(b, plan->bytes));
    else if (!plan->runs_here)
        fprintf(stderr, "too little");
    else if (!p->is_streaming)
        fprintf(stderr, "resident, with %s",
                sl_units_size(b, p->shared_bytes + p->expert_bytes + p->kv_bytes +
                                     p->scratch_bytes + p->overhead_bytes));
    else
        fprintf(stderr, "streaming its experts, %s of %s in memory",
                sl_units_size(b, p->cache_bytes), sl_units_size(c, p->expert_bytes));
    if (plan->min_bytes)
        fprintf(stderr, "; from --ram %s on it works, from %s on all is resident",
                sl_units_ram(a, plan->min_bytes), sl_units_ram(b, plan->resident_bytes));
    fputs("\n", stderr);
}

void sl_pullplan_print(const struct sl_pullplan *plan)
{
    print_memory(plan);
    if (plan->here.seconds > 0.0)
        fprintf(stderr, "speed     about %.*f tokens/s\n", plan->here.seconds > 0.1 ? 2 : 1,
                1.0 / plan->here.seconds);
    else if (plan->runs_here)
        fprintf(stderr, "speed     not known: %s was not measured yet\n",
                plan->memory_bytes_per_s > 0.0 ? "this disk" : "memory");
}

void sl_pullplan_write(struct sl_jsonwriter *w, const struct sl_pullplan *plan)
{
    const struct sl_plan *p = &plan->here.plan;

    sl_jsonwriter_member_object(w, "plan");
    sl_jsonwriter_member_bool(w, "known", plan->is_read);
    sl_jsonwriter_member_bool(w, "bad", plan->is_bad);
    sl_jsonwriter_member_string(w, "why", plan->why);
    sl_jsonwriter_member_u64(w, "available_bytes", plan->available_bytes);
    sl_jsonwriter_member_u64(w, "min_bytes", plan->min_bytes);
    sl_jsonwriter_member_u64(w, "resident_bytes", plan->resident_bytes);
    if (plan->runs_here) {
        sl_jsonwriter_member_string(w, "experts", p->is_streaming ? "streaming" : "resident");
        sl_jsonwriter_member_u64(w, "ram_bytes", p->ram_bytes);
        sl_jsonwriter_member_u64(w, "cache_bytes", p->cache_bytes);
        sl_jsonwriter_member_f64(w, "hit_share", plan->here.hit_share);
        sl_jsonwriter_member_known(w, "tokens_per_s",
                                   plan->here.seconds > 0.0 ? 1.0 / plan->here.seconds : 0.0);
    }
    sl_jsonwriter_end_object(w);
}
