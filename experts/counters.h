/*
 * What the expert cache did, in one snapshot that the command line, /metrics and the
 * web page all read. All numbers count since the cache was made; the difference of two
 * snapshots is a period.
 *
 * A request is one expert that a step asks for. It is a hit (whole in memory, and not
 * brought there by a guess since its last use), covered (a guess had brought it, or had
 * begun to: late), or a miss. requests = hits + covered + covered_late + misses.
 */
#pragma once

#include <stdint.h>

struct sl_cache_counters {
    uint64_t requests, hits, covered, covered_late, misses;
    uint64_t guesses, guesses_used, guesses_expired; /* begun; used; given up unused */
    uint64_t demand_bytes, guess_bytes;   /* read, by who began the expert's reading */
    uint64_t fill_bytes;   /* read to fill free slots */
    uint64_t used_bytes;   /* of experts that were used at least once after being read */
    uint64_t wasted_bytes; /* of experts that were given up without a use */
    uint64_t evictions;
    uint64_t stall_ns;     /* the step waited for reads */
    uint64_t read_ns;      /* reads were in flight, until the last was taken note of */
    uint64_t n_failed;     /* experts that could not be read */
    /* now, not since the start */
    uint64_t slot_bytes;   /* memory of all slots */
    uint64_t n_slots, n_ready, n_loading;
    uint64_t n_regions;
    uint64_t regions_given_back; /* since the start */
};
