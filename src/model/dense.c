/* Dense SwiGLU FFN: x += down (silu(gate u) * (up u)). */
#include "model/forward.h"

void sl_dense_forward(struct sl_worker *w, uint32_t layer)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &w->weights->layers[layer];
    size_t ff = l->gate.n_rows;
    uint32_t down_kind = sl_step_kind_bit(&l->down);
    struct sl_acts acts;
    struct sl_job jobs[2];

    sl_forward_norm(w, l->ffn_norm, &acts, sl_step_kind_bit(&l->gate) | sl_step_kind_bit(&l->up));
    jobs[0] = sl_job_for(&l->gate, &acts, s->gate, ff);
    jobs[1] = sl_job_for(&l->up, &acts, s->up, ff);
    sl_jobs_run(w, jobs, 2);
    sl_step_expect(w, (struct sl_next){ &l->down, l->down.n_rows });
    sl_step_barrier(w);

    sl_acts_init(&acts, down_kind, s->n_tok, l->gate.n_rows, s->gate, s->act_buf);
    for (uint32_t t = w->tok_begin; t < w->tok_end; t++) {
        s->kernels->silu_mul(s->gate + t * ff, s->gate + t * ff, s->up + t * ff, ff);
        sl_acts_quantize(s->kernels, &acts, down_kind, t, s->gate + t * ff);
    }
    sl_step_barrier(w);
    sl_forward_project(w, &l->down, &acts, sl_forward_operator(w, layer + 1));
}
