/*
 * One file stands for its file system: the largest whole one, of any family, for bytes are
 * bytes. File systems are told apart by their device's number; a subvolume counts as one.
 */
#include "cli/doctorplaces.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "cli/planshape.h"
#include "cli/storeenv.h"
#include "store/inspect.h"

struct sample {
    dev_t dev;
    const struct sl_store_model *model;
};

#define SAMPLES_MAX 64u /* file systems with models; others count as left out */

static uint32_t choose_samples(struct sample *samples, const struct sl_store *store,
                               uint32_t *ret_left_out)
{
    uint32_t n = 0;

    *ret_left_out = 0;
    for (size_t i = 0; i < store->n_models; i++) {
        const struct sl_store_model *m = &store->models[i];
        struct stat st;
        uint32_t k = 0;

        if (!m->path || (m->state != SL_STORE_OK && m->state != SL_STORE_UNREADABLE) ||
            stat(m->path, &st) != 0)
            continue;
        while (k < n && samples[k].dev != st.st_dev)
            k++;
        if (k == SAMPLES_MAX)
            continue;
        if (k == n)
            samples[n++] = (struct sample){.dev = st.st_dev, .model = m};
        else if ((samples[k].model->state != SL_STORE_OK) > (m->state != SL_STORE_OK) ||
                 (samples[k].model->state == m->state && samples[k].model->bytes < m->bytes))
            samples[k].model = m; /* one that can be read rather than one that cannot */
    }
    if (n > SL_FACTS_PLACES_MAX) {
        *ret_left_out = n - SL_FACTS_PLACES_MAX;
        n = SL_FACTS_PLACES_MAX;
    }
    return n;
}

int sl_doctorplaces_gather(struct sl_facts *facts, const char *path)
{
    struct sample samples[SAMPLES_MAX];
    struct sl_store store = {0};
    int r;

    if (path) {
        sl_placefacts_gather(&facts->places[0], "", path);
        facts->n_places = 1;
        return 0;
    }
    r = sl_storeenv_list(&store);
    if (r == 0) {
        sl_inspect_all(&store);
        facts->n_places = choose_samples(samples, &store, &facts->n_places_left_out);
        for (uint32_t i = 0; i < facts->n_places; i++)
            sl_placefacts_gather(&facts->places[i], "", samples[i].model->path);
    }
    sl_store_done(&store);
    return r;
}

int sl_doctorplaces_plan(struct sl_facts *facts, const char *path, const char *name,
                         struct sl_diag *diag)
{
    struct sl_facts_model *model = &facts->model;
    const struct sluice_model_opts opts = {0};
    struct sl_planshape shape = {0};
    struct sl_plan plan, bounds;
    int r = sl_planshape_open(&shape, path, diag);

    if (r == 0)
        r = sl_planshape_count_threads(&shape.in, &opts, diag);
    if (r == 0) {
        struct sl_plan_in in = shape.in;

        in.session.n_seq_max = 1; /* as run and chat have it */
        r = sl_plan_make(&plan, &in, diag);
        model->is_too_big = r == -ENOMEM;
        model->is_streaming = r == 0 && plan.is_streaming;
        /* what it needs is not a question of what there is */
        in.available_bytes = UINT64_MAX;
        if (r == 0 || r == -ENOMEM)
            r = sl_plan_make(&bounds, &in, diag);
        if (r == 0) {
            model->is_known = true;
            model->weight_bytes = in.weight_bytes;
            model->shared_bytes = bounds.shared_bytes;
            model->min_bytes = bounds.min_bytes;
            model->resident_bytes = bounds.resident_bytes;
            (void)snprintf(model->name, sizeof(model->name), "%s", name);
            sl_text_clean(model->name);
        }
    }
    sl_planshape_done(&shape);
    return r;
}
