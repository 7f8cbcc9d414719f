/*
 * A server of one model: the HTTP server's loop on a thread of its own, the text thread, one
 * that waits for signals to end, and the caller's, which becomes the engine's.
 *
 *     sl_serve_open -> sl_serve_start (clients are told that the model is being loaded)
 *     -> the caller loads the model -> sl_serve_run -> sl_serve_close
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/api.h"
#include "server/enginefn.h"
#include "server/http.h"
#include "server/listen.h"

struct sl_serve;

struct sl_serve_opts {
    struct sl_http_opts http; /* but for its callbacks */
    /* Borrowed until close. The fields on slots and contexts may be filled in until
     * sl_serve_run; what says so in api.h, only then is anybody told. */
    const struct sl_apienv *env;
    struct sluice_model *text; /* opened with SLUICE_MODEL_TEXT; borrowed until close */
    uint32_t n_slots;          /* 1..256 */
    uint32_t n_queue_max;      /* requests to generate that wait for a slot */
    uint32_t n_kept;           /* sequences of the prefix cache, at least 1 */
    uint32_t drain_ms;         /* for open requests, after a signal to end */
    const char *slot_folder;   /* where slots are saved, borrowed until close; NULL: nowhere */
};

/* 0; -ERANGE, -ENOMEM. */
int sl_serve_open(struct sl_serve **ret_serve, const struct sl_serve_opts *opts,
                  struct sl_diag *diag);

/*
 * Listen and start the threads. SIGINT and SIGTERM are blocked in the calling thread from then
 * on (and in threads it starts): the first has open requests end, the second ends them.
 * Returns 0, -EAGAIN (no threads), or what listening said.
 */
int sl_serve_start(struct sl_serve *serve, const struct sl_listen *sockets,
                   struct sl_diag *diag);

/* Whether the server is ending: what is being loaded need not be. */
bool sl_serve_is_ending(struct sl_serve *serve);

struct sl_serve_run_opts {
    /* n_seq_max: n_slots + n_kept at least. What its arg shows is borrowed until close. */
    const struct sl_enginefn *engine;
    double max_step_ms;
    void (*ready)(void *arg); /* called once, when requests are taken; may be NULL */
    void *ready_arg;
    uint64_t fixed_bytes; /* of memory for the model that does not change */
    uint32_t idle_ms;     /* 0: memory is never given back */
};

/* Compute until the server ends. 0 or -ENOMEM. */
int sl_serve_run(struct sl_serve *serve, const struct sl_serve_run_opts *opts);

/* End at once what still runs, and wait for it. Returns 0, or -ECANCELED if a client was cut
 * off. NULL is allowed. */
int sl_serve_close(struct sl_serve *serve);
