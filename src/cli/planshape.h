/*
 * What a plan of memory needs of a model, from the head of its file alone: a GGUF file or a
 * pack, which may end after its tensor table. For sluice plan and sluice ls.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "loader/gguf.h"
#include "loader/pack.h"
#include "model/plan.h"
#include "sluice.h"

struct sl_planshape { /* all zeroes: nothing; must stay where it is, for in points into it */
    struct sl_pack *pack; /* NULL: a GGUF file */
    struct sl_gguf *gguf; /* owned, or the pack's */
    struct sl_hparams hp;
    struct sl_weights weights;
    struct sl_plan_in in;  /* what the file says; available memory as it is now */
    bool is_head_only;     /* the file ends before its tensors do */
    uint64_t stored_bytes; /* of all experts in a pack; 0: as in memory */
};

/* shape is all zeroes before; sl_planshape_done is due in any case. The errors of sl_gguf_open,
 * sl_pack_open, sl_hparams_read, sl_weights_init, with the path. */
int sl_planshape_open(struct sl_planshape *shape, const char *path, struct sl_diag *diag);
void sl_planshape_done(struct sl_planshape *shape);

/* Threads, and the nodes they are on, as the engine has them for these options. The errors of
 * sl_topology_open, sl_placement_plan, sl_nodeplan_make. */
int sl_planshape_count_threads(struct sl_plan_in *in, const struct sluice_model_opts *opts,
                               struct sl_diag *diag);
