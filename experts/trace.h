/*
 * Traces of the expert cache: every call that was made of it, what each reap returned,
 * and when. What is in a trace is enough to run the same cache again and to get the
 * same hits, evictions and bytes, or to try another budget, policy or disk on it.
 * Neither text nor token ids are in it.
 *
 * Written by the engine from the cache's event callback, read by tools/tracesim and for
 * replayed guesses. One thread per trace. Descriptors are borrowed.
 *
 * The file: the 8 bytes "SLTRACE1", then a stream (loader/zstream.h) of a header and
 * records; all of it in trace.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "experts/cache.h"
#include "experts/counters.h"

/* What a cache must be made with to repeat the run. */
struct sl_trace_info {
    uint32_t n_layers, n_experts, n_used; /* n_experts: most of a layer */
    enum sl_evict_policy policy;
    bool guess;
    uint32_t alignment;       /* the reader's */
    uint32_t depth;           /* reads it takes at once */
    uint64_t budget;          /* bytes for slots when the trace begins */
    uint64_t bandwidth;       /* bytes per second of the disk, measured; 0: unknown */
    uint64_t fixed_bytes;     /* of the process besides the slots; 0: unknown */
    const struct sl_cache_layer *layers; /* [n_layers]; data NULL */
    const float *seeds;       /* [n_layers][n_experts] from sl_evict_seeded; NULL: none */
};

struct sl_trace_writer;

/* Begin a trace; call right after the cache was made, seeded and given its budget, before
 * its first request. info is not kept. -ENOMEM, -EIO, -ENOSPC. */
int sl_trace_writer_new(struct sl_trace_writer **ret_writer, int fd,
                        const struct sl_trace_info *info);

/* For sl_cache_set_event_fn; writer is a struct sl_trace_writer. Allocates nothing and does
 * not block but for writing out a full buffer. */
void sl_trace_write(void *writer, const struct sl_cache_event *event);

/* End the trace with the cache's counters and write out everything. 0 or the first error
 * of all writing: the file is then incomplete. */
int sl_trace_finish(struct sl_trace_writer *writer, const struct sl_cache_counters *counters);
void sl_trace_writer_free(struct sl_trace_writer *writer); /* NULL is allowed */

struct sl_trace;

/* Read the header. -EBADMSG: no trace, or damaged; -ENOTSUP: of another version; -ENOMEM. */
int sl_trace_open_read(struct sl_trace **ret_trace, int fd, struct sl_diag *diag);
void sl_trace_close(struct sl_trace *trace); /* NULL is allowed */

const struct sl_trace_info *sl_trace_get_info(const struct sl_trace *trace);

/*
 * The next record. Only calls (BUDGET to HINT), REAP, REAPED (tag and failure) and
 * WAITED are kept; what followed from them is not. All numbers are within the header's
 * bounds and the experts of a list differ. *ret_ns: time since the trace began; calls
 * alone have one, others repeat the last. Pointers are valid until the next call.
 * Returns 1, 0 at the end, or -EBADMSG.
 */
int sl_trace_next(struct sl_trace *trace, struct sl_cache_event *ret_event, uint64_t *ret_ns,
                  struct sl_diag *diag);

/* After sl_trace_next returned 0: how the run ended. False: it was cut off. digest: see
 * sl_trace_digest. */
bool sl_trace_get_end(const struct sl_trace *trace, struct sl_cache_counters *ret_counters,
                      uint64_t *ret_digest);

/* Fold an event that follows from others (REQUEST, READ, LANDED, EVICT) into a digest,
 * 0 at first; equal digests mean equal runs. Other events change nothing. */
uint64_t sl_trace_digest(uint64_t digest, const struct sl_cache_event *event);

/*
 * Which experts every step asked of every layer, for guesses that are always right. A
 * step ends where a layer is asked for that is not behind the one before.
 */
struct sl_trace_asks;

/* Reads the trace to its end. -EBADMSG, -ENOMEM, -E2BIG (over 4 GiB of them). */
int sl_trace_load_asks(struct sl_trace *trace, struct sl_trace_asks **ret_asks,
                       struct sl_diag *diag);
void sl_trace_asks_free(struct sl_trace_asks *asks); /* NULL is allowed */
uint64_t sl_trace_asks_steps(const struct sl_trace_asks *asks);
/* Number of experts, 0 if there is no such step or it asked nothing of the layer. */
uint32_t sl_trace_asks_get(const struct sl_trace_asks *asks, uint64_t step, uint32_t layer,
                           const uint16_t **ret_experts);
