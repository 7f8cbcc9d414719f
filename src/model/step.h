/*
 * One step: the tokens that are computed together, and the memory they are computed
 * in. All workers run the same program over it (SPMD): a phase either splits the
 * step's tokens (each worker always gets the same ones) or shares out rows of matrix
 * products, and phases are separated by barriers. Filled by the session, run by
 * forward.c; attn.c, conv.c, dense.c and moe.c are its parts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/pool.h"
#include "experts/cache.h"
#include "experts/predict.h"
#include "experts/trace.h"
#include "kernels/kernels.h"
#include "model/ahead.h"
#include "model/hparams.h"
#include "model/timeline.h"
#include "model/weights.h"

#define SL_ACT_KINDS 3

/* Neighbouring tokens of one sequence. */
struct sl_run {
    uint32_t seq;
    uint32_t tok0;  /* index of its first token in the step */
    uint32_t n_tok;
    uint32_t pos0;  /* position of that token in the sequence */
};

/* Activations of the same rows in every kind that some weight asks for. */
struct sl_acts {
    struct sl_act kind[SL_ACT_KINDS];
};

/* A matrix product whose rows are shared out among the workers. */
struct sl_job {
    struct sl_tensor w;
    const struct sl_act *x;
    float *out;
    size_t out_stride; /* floats from one token's output to the next */
};

/* The matrix products that come next, as far as they are known before their inputs are. */
struct sl_next {
    const struct sl_tensor *first; /* the first of their matrices; NULL: not known */
    uint32_t n_rows;               /* of all of them together */
};

/* How far an expert is in the layer at hand. */
enum sl_moe_stage {
    SL_MOE_WAITING = 0, /* gate and up are to be computed */
    SL_MOE_OPENED,      /* they are in this round, or were in an earlier one */
    SL_MOE_CLOSING,     /* down is in this round */
    SL_MOE_DONE,
};

/* A matrix that must be checked before it is used. */
struct sl_moe_check {
    uint32_t active;
    enum sl_part part;
    int result;
};

/* What is computed between two barriers: written by the leader, then read by all. */
struct sl_moe_round {
    uint32_t n_jobs, n_open, n_rows, n_checks;
    struct sl_job *jobs;         /* [2 * n_active] */
    uint32_t *open;              /* [n_open] experts whose gate and up are computed */
    struct sl_moe_check *checks; /* [n_checks] before anything else */
    bool is_last;
    int error; /* of reading: the step ends here */
};

/* Experts of one MoE layer and the slots (token, choice) that each computes. */
struct sl_moe_plan {
    uint32_t n_active;          /* experts chosen by any token */
    uint32_t *experts;          /* [n_active] ids, ascending */
    uint32_t *n_slots;          /* [n_active] */
    uint32_t *first_slot;       /* [n_active], padded so that its rows are aligned */
    uint32_t *active_of;        /* [n_experts] index into the above, or UINT32_MAX */
    uint32_t *slot_of;          /* [n_tok][n_used] */
    struct sl_ticket *tickets;  /* [n_active] */
    struct sl_acts *in, *hidden; /* [n_active] */
    enum sl_moe_stage *stage;   /* [n_active] */
    uint32_t n_done;            /* experts whose down is computed, or in the round */
    struct sl_moe_round rounds[2];
    /* guesses: the routers of the next layers, applied to this layer's state */
    uint32_t n_ahead; /* layers guessed for */
    struct sl_job ahead_jobs[SL_PREDICT_AHEAD_MAX];
    bool is_guessed;
    struct sl_acts ahead_in[SL_PREDICT_AHEAD_MAX];
    float *ahead_u;             /* [SL_PREDICT_AHEAD_MAX][width] */
    void *ahead_buf[SL_PREDICT_AHEAD_MAX]; /* the same, quantised */
    float *ahead_scores;        /* [SL_PREDICT_AHEAD_MAX][n_experts] */
    int8_t *ranks;              /* [n_experts] for the eviction */
    struct sl_guess *guesses;   /* [n_experts or SL_PREDICT_RANKS_MAX] */
};

struct sl_step {
    /* set once */
    const struct sl_hparams *hp;
    const struct sl_weights *weights;
    const struct sl_weights *const *of_worker; /* [n_workers] the copy that each reads; NULL:
                                                  all read `weights` */
    const struct sl_kernels *kernels;
    struct sl_pool *pool;
    struct sl_cache *cache;
    bool is_streaming;
    struct sl_predict *predict; /* NULL: no guesses */
    const struct sl_ahead *ahead; /* the routers for them */
    const struct sl_trace_asks *replay; /* guesses from a trace in place of predictions */
    uint64_t n_steps_before; /* since the model was opened: the step of the trace */
    struct sl_timeline *timeline;
    uint32_t n_chunk, n_logits; /* capacities: tokens, rows of logits */
    uint32_t weight_kinds;      /* bit per activation kind that any weight asks for */
    double *rope_freq;          /* [head_dim / 2] radians per position */
    float attn_scale;           /* 1 / sqrt(head_dim) */

    /* the step at hand */
    uint32_t n_tok, n_runs, n_out;
    uint32_t layer, layer_end; /* to be computed in this run of the pool */
    int32_t *tokens;      /* [n_tok] */
    uint32_t *pos;        /* [n_tok] */
    uint32_t *run_of;     /* [n_tok] */
    struct sl_run *runs;  /* [n_runs] */
    uint32_t *out_tok;    /* [n_out] tokens whose logits are wanted */

    /* scratch: rows are tokens */
    float *x;             /* [n_tok][width] the residual stream */
    float *u;             /* [n_tok][width] normalised */
    float *mix;           /* [n_tok][mix_width] q, k, v or b, c, x */
    float *z;             /* [n_tok][width] convolution inputs */
    const float *zeros;   /* [width] inputs before a sequence begins */
    float *op;            /* [n_tok][op_width] operator output before its projection */
    float *gate, *up;     /* [n_tok or n_slots][ff] */
    float *y;             /* [n_tok or n_slots][width] what is added to x */
    float *cos, *sin;     /* [n_tok][head_dim / 2] */
    float *router;        /* [n_tok][n_experts] */
    float *attn_parts;    /* partial attention results, attn_parts_len floats */
    size_t attn_parts_len;
    void *act_buf[SL_ACT_KINDS];  /* activations of tokens or hidden layers */
    void *slot_buf[SL_ACT_KINDS]; /* activations gathered by expert */
    void **worker_buf;    /* [n_workers] private scratch, sl_step_worker_bytes each */
    struct sl_moe_plan moe;

    /* results */
    float *logits;        /* [n_out][n_vocab] */
    uint32_t *routes;     /* [n_layers - n_dense][n_chunk][n_used] */
    float *route_weights; /* same */
    float *route_margin;  /* [n_layers - n_dense][n_chunk] */
    uint64_t weight_bytes; /* multiplied in this step; leader only */
    int error;             /* 0, or why the step ended early: an expert's read failed */
};

/* A worker's view of a step. */
struct sl_worker {
    struct sl_step *step;
    const struct sl_weights *weights; /* the step's, or a copy on the worker's NUMA node */
    uint32_t index, n;
    struct sl_pool_group group;  /* that it shares rows with: the workers of its node */
    uint32_t tok_begin, tok_end; /* its share of the tokens */
    void *buf;                   /* private */
    const char *fetch, *fetch_end; /* weights to bring near while it waits: see sl_step_expect */
};

/* Lay the step's scratch out in an arena (called twice, see base/arena.h). The fields
 * "set once" are set before. */
void sl_step_layout(struct sl_step *step, struct sl_arena *arena, uint32_t n_workers);

size_t sl_step_worker_bytes(const struct sl_hparams *hp);

/* Bit of the activation kind that a weight is multiplied with. */
static inline uint32_t sl_step_kind_bit(const struct sl_tensor *w)
{
    return 1u << sl_kernels_act_kind(w->dtype);
}

/* Activations of n_tok rows of n_cols floats in f32, in all kinds of `kinds`; quantised
 * ones live in buf. Cheap: lays out pointers only. */
void sl_acts_init(struct sl_acts *acts, uint32_t kinds, uint32_t n_tok, uint32_t n_cols,
                  float *f32, void *const buf[SL_ACT_KINDS]);
/* Rows [first, first + n_tok) of acts, which must be laid out so that they start
 * aligned (first a multiple of SL_SLOT_ALIGN). */
void sl_acts_slice(struct sl_acts *ret, const struct sl_acts *acts, uint32_t kinds,
                   uint32_t first, uint32_t n_tok);
/* Quantise one row into token t, in the quantised kinds of `kinds`. */
void sl_acts_quantize(const struct sl_kernels *k, struct sl_acts *acts, uint32_t kinds,
                      uint32_t t, const float *row);

/* With this many rows before it, every array of a slice is aligned to 64 bytes. */
#define SL_SLOT_ALIGN 16u

/* All workers call it with equal jobs; no barrier inside. The leader looks after reads
 * in between. */
void sl_jobs_run(struct sl_worker *w, const struct sl_job *jobs, uint32_t n_jobs);

static inline struct sl_job sl_job_for(const struct sl_tensor *t, const struct sl_acts *acts,
                                       float *out, size_t out_stride)
{
    return (struct sl_job){ *t, &acts->kind[sl_kernels_act_kind(t->dtype)], out, out_stride };
}

/* The worker's first rows of these products are fetched into its cache while it waits at
 * this and the next barriers, until something else is expected. Reads weights alone. */
void sl_step_expect(struct sl_worker *w, struct sl_next next);

bool sl_step_fetch(void *worker); /* a few lines more; false: that was all */

static inline void sl_step_barrier(struct sl_worker *w)
{
    sl_pool_barrier_idle(w->step->pool, w->fetch < w->fetch_end ? sl_step_fetch : NULL, w);
}
