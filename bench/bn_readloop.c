/*
 * A timing goes on where the last one stopped, so that what it reads has left the caches
 * since, if the part is larger than they are.
 */
#include "bench/bn_readloop.h"

#define CHUNK_BYTES ((size_t)1 << 20)
#define GRAIN ((size_t)512) /* of bn_ceiling_read_fn */

static void read_chunks(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct bn_readloop *loop = arg;
    size_t at = loop->workers[worker].at, bytes = loop->workers[worker].bytes;

    for (; n_calls; n_calls--) {
        loop->workers[worker].sum += loop->fn(loop->workers[worker].base + at, loop->chunk);
        at = at + 2 * loop->chunk <= bytes ? at + loop->chunk : 0;
    }
    loop->workers[worker].at = at;
}

void bn_readloop_init(struct bn_readloop *loop, struct bn_team *team, const void *base,
                      size_t bytes, size_t cache_bytes, enum sl_cpu_level level,
                      double seconds)
{
    size_t share = bytes / bn_team_n(team) / GRAIN * GRAIN;
    size_t part = cache_bytes ? cache_bytes / GRAIN * GRAIN : share;
    struct bn_ceiling ceiling;

    bn_ceiling_get(&ceiling, level);
    part = part < share ? part : share;
    *loop = (struct bn_readloop){
        .team = team,
        .fns = { ceiling.read, cache_bytes ? NULL : ceiling.read_ahead },
        .chunk = part < CHUNK_BYTES ? part : CHUNK_BYTES,
    };
    for (uint32_t i = 0; i < bn_team_n(team); i++) {
        loop->workers[i].base = (const char *)base + i * share;
        loop->workers[i].bytes = part;
    }
    loop->fn = loop->fns[0];
    (void)bn_team_time(team, read_chunks, loop, part / loop->chunk);
    for (int i = 0; i < 2 && loop->fns[i]; i++) {
        loop->fn = loop->fns[i];
        loop->n_chunks[i] = bn_team_calibrate(team, read_chunks, loop, seconds);
    }
}

int bn_readloop_rates(struct bn_readloop *loop, double ret_rates[2])
{
    int n = 0;

    for (; n < 2 && loop->fns[n]; n++) {
        double bytes = (double)loop->chunk * (double)loop->n_chunks[n] * bn_team_n(loop->team);

        loop->fn = loop->fns[n];
        ret_rates[n] = bytes / bn_team_time(loop->team, read_chunks, loop, loop->n_chunks[n]);
    }
    return n;
}

double bn_readloop_rate(struct bn_readloop *loop)
{
    double rates[2];
    int n = bn_readloop_rates(loop, rates);

    return n == 2 && rates[1] > rates[0] ? rates[1] : rates[0];
}
