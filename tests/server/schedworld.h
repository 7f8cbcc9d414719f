/*
 * A scheduler over the fake engine, and jobs whose events are written down. One line for each
 * event; text is joined:
 *
 *     START cached=0 | PROGRESS 0/5 | TEXT abc | REASONING x | CALL f {"a": 1} | FINISH eos
 *     TOKEN 97 | ERROR 400 message
 */
#pragma once

#include "base/strbuf.h"
#include "server/sched.h"
#include "tests/server/fakeengine.h"

struct schedworld_job {
    struct sl_genjob job;
    struct sl_genreq req;
    struct sl_strbuf log;
    struct sl_gencounts counts; /* of the last event */
    enum sl_genevent_kind last;
    uint32_t n_events, n_done;
    uint32_t refuse_at; /* event of this number, from 1, is not taken; 0: all are */
};

struct schedworld {
    struct fakeengine fake;
    struct sl_enginefn fn;
    struct sl_sched *sched;
    struct sluice_session_opts session;
    struct sl_sched_opts opts;
    uint32_t n_turns; /* calls of sink.turn */
};

/* Defaults: 4 slots, 8 kept, a context of 2048, steps of 64, none beside; then init. */
void schedworld_defaults(struct schedworld *world);
void schedworld_init(struct schedworld *world);
void schedworld_done(struct schedworld *world); /* everything must have ended */

/* A request with this prompt; tokens are copied. The caller changes req, then adds it. */
struct schedworld_job *schedworld_job(const int32_t *tokens, uint32_t n);
void schedworld_free(struct schedworld_job *job);

/* A prompt that is answered with these tokens. */
struct schedworld_job *schedworld_scripted(const int32_t *reply, uint32_t n);

/* The same, with bytes. */
struct schedworld_job *schedworld_saying(const char *reply);

/* A prompt of n letters that depend on seed. */
struct schedworld_job *schedworld_letters(uint64_t seed, uint32_t n);

void schedworld_add(struct schedworld *world, struct schedworld_job *job);
void schedworld_run(struct schedworld *world); /* until it is idle */

/* What was said, ended: the log without its first line (START). */
const char *schedworld_said(const struct schedworld_job *job);
