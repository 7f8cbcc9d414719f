/* With --cpus and -t both, workers take the first CPUs of the list: bench -t 1-8 goes through
 * it. A model that cannot be looked into is not tuned: opening it says what is wrong. */
#include "cli/workeropts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/fingerprint.h"
#include "cli/report.h"
#include "cli/tuned.h"
#include "experts/cpulist.h"

void sl_workeropts_parse_cpus(struct sl_model_args *args, const char *arg,
                              struct argp_state *state)
{
    struct sl_diag diag;
    int n = sl_cpulist_parse(arg, args->cpus, SL_POOL_WORKERS_MAX, &diag);

    if (n < 0)
        argp_error(state, "--cpus: %s", diag.text);
    args->n_cpus = (uint32_t)n;
}

static void apply_tuned(struct sl_model_args *args)
{
    struct sl_tuned tuned;
    struct sl_tuned_key key;
    struct sl_diag diag;
    char *path;
    int r;

    if (sl_fingerprint_file(&key, args->path, &diag) < 0)
        return;
    sl_fingerprint_machine(&key);
    path = sl_tuned_path(&key);
    if (!path)
        return;
    r = sl_tuned_load(&tuned, path, &key, &diag);
    free(path);
    if (r < 0) {
        if (r != -ENOENT)
            sl_report_note("%s", diag.text);
        return;
    }
    memcpy(args->cpus, tuned.cpus, tuned.n * sizeof(tuned.cpus[0]));
    (void)snprintf(args->why, sizeof(args->why), "tuned for %s %.10s", /* the day is enough */
                   sl_tuned_purpose_name(tuned.purpose), tuned.date);
    args->opts.n_threads = tuned.n;
    args->opts.cpus = args->cpus;
    args->opts.threads_why = args->why;
}

int sl_workeropts_apply(struct sl_model_args *args)
{
    struct sluice_model_opts *o = &args->opts;

    o->cpus = NULL;
    o->threads_why = NULL;
    if (args->n_cpus) {
        if (o->n_threads > args->n_cpus)
            return sl_report_error("-t %u asks for more threads than the %u CPUs of --cpus",
                                   o->n_threads, args->n_cpus);
        if (o->n_threads == 0)
            o->n_threads = args->n_cpus;
        o->cpus = args->cpus;
    } else if (o->n_threads == 0 && !args->no_tuned && !(o->flags & SLUICE_MODEL_TEXT)) {
        apply_tuned(args);
    }
    return 0;
}
