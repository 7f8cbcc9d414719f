/*
 * Characters are drawn from splitmix64 (Steele, Lea, Flood), seeded by all of the bits and the
 * counter. 62 does not divide 2^64; the bias, 2^-58, does not matter to a name.
 */
#include "server/genid.h"

#include <assert.h>
#include <string.h>

/* Of a reply's names, its calls' have the counters from here on. */
#define CALLS 0x80000000u

static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void sl_genid_make(char out[SL_GENID_BYTES], const struct sl_genid *id, const char *prefix,
                   uint32_t counter)
{
    static const char chars[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t seed = id->random[1];
    uint64_t state = id->random[0] ^ next(&seed) ^ counter * 0xD6E8FEB86659FD93u;
    size_t n = strlen(prefix);

    assert(n + SL_GENID_CHARS < SL_GENID_BYTES);
    memcpy(out, prefix, n);
    for (size_t i = 0; i < SL_GENID_CHARS; i++)
        out[n + i] = chars[next(&state) % (sizeof(chars) - 1)];
    out[n + SL_GENID_CHARS] = '\0';
}

void sl_genid_call(char out[SL_GENID_BYTES], const struct sl_genid *id, uint32_t i_call)
{
    sl_genid_make(out, id, "call_", CALLS + i_call);
}
