/*
 * What the steps of a trace asked of the layers: for each step and layer where in one
 * long array its experts stand, with their number in front. Both arrays grow by
 * doubling; 0 stands for nothing asked, so the first place is left empty.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "experts/trace.h"

struct sl_trace_asks {
    uint32_t n_layers;
    uint64_t n_steps, steps_cap;
    uint64_t *first;   /* [n_steps][n_layers] index into experts; the number lies before it */
    uint16_t *experts; /* numbers and experts; index 0 is not used */
    uint64_t n, cap;
};

#define ASKS_MAX ((uint64_t)1 << 31)

static int grow(void *memory, uint64_t *cap, uint64_t n_want, size_t bytes)
{
    void **at = memory, *more;
    uint64_t n = *cap ? *cap : 1024;

    if (n_want <= *cap)
        return 0;
    while (n < n_want)
        n *= 2;
    if (n > ASKS_MAX)
        return -E2BIG;
    more = realloc(*at, n * bytes);
    if (!more)
        return -ENOMEM;
    memset((char *)more + *cap * bytes, 0, (n - *cap) * bytes);
    *at = more;
    *cap = n;
    return 0;
}

static int add_ask(struct sl_trace_asks *asks, const struct sl_cache_event *ask, bool is_new_step)
{
    uint64_t cap = asks->steps_cap * asks->n_layers;
    int r;

    asks->n_steps += is_new_step;
    r = grow(&asks->first, &cap, asks->n_steps * asks->n_layers, sizeof(*asks->first));
    if (r < 0)
        return r;
    asks->steps_cap = cap / asks->n_layers;
    r = grow(&asks->experts, &asks->cap, asks->n + ask->n + 2, sizeof(*asks->experts));
    if (r < 0)
        return r;
    asks->n += asks->n == 0;
    asks->experts[asks->n++] = (uint16_t)ask->n;
    asks->first[(asks->n_steps - 1) * asks->n_layers + ask->layer] = asks->n;
    for (uint32_t i = 0; i < ask->n; i++)
        asks->experts[asks->n++] = (uint16_t)ask->experts[i];
    return 0;
}

int sl_trace_load_asks(struct sl_trace *t, struct sl_trace_asks **ret_asks, struct sl_diag *diag)
{
    struct sl_trace_asks *asks = calloc(1, sizeof(*asks));
    struct sl_cache_event event;
    uint32_t last = UINT32_MAX;
    uint64_t ns;
    int r;

    if (!asks)
        return -ENOMEM;
    asks->n_layers = sl_trace_get_info(t)->n_layers;
    while ((r = sl_trace_next(t, &event, &ns, diag)) > 0) {
        if (event.kind != SL_CACHE_EVENT_ASK)
            continue;
        r = add_ask(asks, &event, last == UINT32_MAX || event.layer <= last);
        if (r < 0) {
            sl_diag_set(diag, r, "the trace is too long for this memory");
            break;
        }
        last = event.layer;
    }
    if (r < 0) {
        sl_trace_asks_free(asks);
        return r;
    }
    *ret_asks = asks;
    return 0;
}

void sl_trace_asks_free(struct sl_trace_asks *asks)
{
    if (!asks)
        return;
    free(asks->first);
    free(asks->experts);
    free(asks);
}

uint64_t sl_trace_asks_steps(const struct sl_trace_asks *asks)
{
    return asks->n_steps;
}

uint32_t sl_trace_asks_get(const struct sl_trace_asks *asks, uint64_t step, uint32_t layer,
                           const uint16_t **ret_experts)
{
    uint64_t first;

    if (step >= asks->n_steps || layer >= asks->n_layers)
        return 0;
    first = asks->first[step * asks->n_layers + layer];
    if (first == 0)
        return 0;
    *ret_experts = asks->experts + first;
    return asks->experts[first - 1];
}
