/*
 * GET /experts: where each expert is and how much it was used of late, for the page and for
 * whoever draws a picture of their own. The numbers are the server's to know: it fills in the
 * structure. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/apiendpoint.h"
#include "server/sched.h"

struct sl_apiexperts {
    bool is_streaming;
    uint32_t n_layers, first_layer; /* with experts; the first of them */
    uint32_t n_experts, n_used;     /* of a layer; of a token */
    const struct sluice_expert *experts; /* [n_layers][n_experts] */
    uint64_t now_ns;                     /* of a clock that is good for differences */
    struct sluice_counters engine;
    uint32_t n_running, n_waiting; /* requests to generate */
};

/* The body; errors are kept in out. */
void sl_apiexperts_write(const struct sl_apiexperts *experts, struct sl_strbuf *out);

struct sl_apilist sl_apiexperts_list(void);
