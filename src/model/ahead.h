/*
 * Routers for guesses: copies of the model's routers in 8 bits, a quarter of the bytes.
 * A guess decides only what is read early, so their error costs nothing but a wrong
 * guess now and then; the router that decides is always the file's. Made by
 * src/model/stream.c, used by moe.c; read-only afterwards.
 */
#pragma once

#include "kernels/kernels.h"
#include "model/hparams.h"
#include "model/weights.h"

struct sl_ahead {
    struct sl_tensor *routers; /* [n_layers]; data NULL: no guesses for the layer */
    void *blocks;              /* owned */
};

/* Routers that are not of floats, or whose width is no multiple of 32, are used as they
 * are. -ENOMEM. */
int sl_ahead_init(struct sl_ahead *ret_ahead, const struct sl_weights *weights,
                  const struct sl_hparams *hp);
void sl_ahead_done(struct sl_ahead *ahead); /* all zeroes are allowed */
