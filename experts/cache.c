/*
 * Resident experts: a copy of the layers' stacks and an index into them. There is
 * nothing to pin and nothing to evict.
 */
#include "experts/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sl_cache {
    uint32_t n_layers;
    struct sl_cache_layer layers[];
};

int sl_cache_new_resident(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                          uint32_t n_layers)
{
    struct sl_cache *cache = malloc(sizeof(*cache) + n_layers * sizeof(*layers));

    if (!cache)
        return -ENOMEM;
    cache->n_layers = n_layers;
    memcpy(cache->layers, layers, n_layers * sizeof(*layers));
    *ret_cache = cache;
    return 0;
}

void sl_cache_free(struct sl_cache *cache)
{
    free(cache);
}

void sl_cache_request(struct sl_cache *cache, uint32_t layer, const uint32_t *experts,
                      uint32_t n, struct sl_ticket *ret_tickets)
{
    const struct sl_cache_layer *l = &cache->layers[layer];

    assert(layer < cache->n_layers);
    for (uint32_t i = 0; i < n; i++)
        ret_tickets[i] = (struct sl_ticket){
            .gate = sl_tensor_mat(&l->gate, experts[i]),
            .up = sl_tensor_mat(&l->up, experts[i]),
            .down = sl_tensor_mat(&l->down, experts[i]),
        };
}

void sl_cache_release(struct sl_cache *cache, struct sl_ticket *tickets, uint32_t n)
{
    (void)cache;
    memset(tickets, 0, n * sizeof(*tickets));
}
