/*
 * The seam between the model and the bytes of its experts: the only way from
 * (layer, expert) to the matrices. Called by src/model/moe.c, by one thread, the
 * step's leader; workers only read the views. Must be called with no lock held.
 *
 * Here all experts are resident: they lie in the file's mapping and a request is
 * answered at once.
 */
#pragma once

#include <stdint.h>

#include "tensor/tensor.h"

struct sl_cache;

/* The three stacks of a layer's experts; n_mats experts each. */
struct sl_cache_layer {
    struct sl_tensor gate, up, down;
};

/* Views of one expert: read only, valid from the request until the release. */
struct sl_ticket {
    struct sl_tensor gate, up, down;
};

/* layers [n_layers] are copied. Returns 0 or -ENOMEM. */
int sl_cache_new_resident(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                          uint32_t n_layers);
void sl_cache_free(struct sl_cache *cache); /* NULL is allowed */

/* Pin n experts of a layer and give their views. Never blocks. */
void sl_cache_request(struct sl_cache *cache, uint32_t layer, const uint32_t *experts,
                      uint32_t n, struct sl_ticket *ret_tickets);

/* Unpin; the views are dead. */
void sl_cache_release(struct sl_cache *cache, struct sl_ticket *tickets, uint32_t n);
