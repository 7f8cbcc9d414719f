/*
 * Random numbers that depend on where they are used and not on what was drawn before:
 * a stream is named by a key (seed, tensor, row), so rows may be made in any order and
 * by any thread. The generator is splitmix64 (Steele, Lea, Flood 2014).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mk_random {
    uint64_t state;
};

static inline uint64_t mk_random_mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint64_t mk_random_next(struct mk_random *rng)
{
    rng->state += 0x9E3779B97F4A7C15u;
    return mk_random_mix(rng->state);
}

/* The stream of item i under a key; streams may overlap only by chance. */
static inline struct mk_random mk_random_at(uint64_t key, uint64_t i)
{
    return (struct mk_random){ mk_random_mix(key + mk_random_mix(i + 0x632BE59BD9B4E019u)) };
}

/* Key of a name under a key. */
static inline uint64_t mk_random_name(uint64_t key, const char *name)
{
    for (; *name; name++)
        key = mk_random_mix(key ^ (unsigned char)*name);
    return key;
}

/* 0 <= x < 1 */
static inline float mk_random_unit(struct mk_random *rng)
{
    return (float)(mk_random_next(rng) >> 40) * 0x1p-24f;
}

/*
 * Nearly normal, mean 0, variance 1: the sum of four 16-bit uniforms, whose standard
 * deviation is 65536 / sqrt(3). Never beyond +-3.47.
 */
static inline float mk_random_normal(struct mk_random *rng)
{
    uint64_t r = mk_random_next(rng);
    int32_t sum = (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) +
                  (int32_t)(r >> 32 & 0xffff) + (int32_t)(r >> 48);

    return (float)(sum - 131070) * 2.6429e-5f;
}

static inline void mk_random_bytes(struct mk_random *rng, uint8_t *dst, size_t n)
{
    for (; n >= 8; n -= 8, dst += 8) {
        uint64_t r = mk_random_next(rng);

        memcpy(dst, &r, 8);
    }
    if (n > 0) {
        uint64_t r = mk_random_next(rng);

        memcpy(dst, &r, n);
    }
}
