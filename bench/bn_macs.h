/* How many multiplications a token takes, from the header of a model's file. */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct bn_macs {
    uint64_t token; /* multiply-adds with weights of the layers, for each token */
    uint64_t head;  /* and for logits, for each token that has some */
};

/* n_used: experts per token. The errors of sl_gguf_open. */
int bn_macs_count(struct bn_macs *ret_macs, const char *path, uint32_t n_used,
                  struct sl_diag *diag);
