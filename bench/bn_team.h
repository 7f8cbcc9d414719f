/*
 * Threads that measure together: one for each of some CPUs, bound there, as the engine
 * binds its workers. One thread at a time may use a team.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "experts/topology.h"

struct bn_team;

/* Make worker `worker` (0 .. n - 1) do its work n_calls times. */
typedef void (*bn_team_fn)(void *arg, uint32_t worker, uint64_t n_calls);

/* n >= 1 CPU numbers, copied; -1: not bound. -ENOMEM, -ERANGE, -EAGAIN with text. */
int bn_team_new(struct bn_team **ret_team, const int32_t *cpus, uint32_t n,
                struct sl_diag *diag);
/* The first n cores of the machine, each by its first CPU; n = 0: all cores that the
 * quota allows. -ERANGE if there are fewer. */
int bn_team_new_cores(struct bn_team **ret_team, const struct sl_topology *topo, uint32_t n,
                      struct sl_diag *diag);
void bn_team_free(struct bn_team *team); /* NULL is allowed */

uint32_t bn_team_n(const struct bn_team *team);

/* For barriers and lists of work inside a bn_team_fn. */
struct sl_pool *bn_team_pool(struct bn_team *team);

/* Run fn on every worker at once; seconds from the first one's start to the last one's
 * end, without the waking of threads. */
double bn_team_time(struct bn_team *team, bn_team_fn fn, void *arg, uint64_t n_calls);

/* The same for as long as it takes: how many calls take seconds_min at least, found by
 * running them (which warms caches, too). 1 if a single call is longer. */
uint64_t bn_team_calibrate(struct bn_team *team, bn_team_fn fn, void *arg, double seconds_min);
