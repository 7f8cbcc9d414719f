/*
 * A reader without a disk: the functions of loader/reader.h over virtual time, linked
 * before the loader's archive, so that experts/cache.c runs unchanged. It either gives
 * back reads in the order that a script says, or as a disk of a given bandwidth would.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loader/reader.h"

/* Which reads the next reap returns: writes their tags and errors, at most cap, and returns
 * how many. Negative: the script has ended or does not fit. */
typedef int (*sim_script_fn)(void *arg, struct sl_read_done *ret_done, uint32_t cap);

struct sim_reader_opts {
    uint32_t alignment, depth;
    sim_script_fn script; /* NULL: by bandwidth */
    void *arg;
    double bandwidth;     /* bytes per second */
};

struct sl_reader *sim_reader_new(const struct sim_reader_opts *opts); /* NULL: no memory */
void sim_reader_free(struct sl_reader *reader);

double sim_reader_now(const struct sl_reader *reader); /* virtual seconds */
void sim_reader_advance(struct sl_reader *reader, double seconds);

/* What a script said was not in flight, or it ended: the run is not the recorded one. From
 * then on every reap returns everything. */
bool sim_reader_has_diverged(const struct sl_reader *reader);
void sim_reader_end_script(struct sl_reader *reader); /* for taking the cache apart */
