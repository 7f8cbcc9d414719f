/*
 * Logistic regression that learns while it is used: probability of a yes from a few
 * features, without a learning rate to be tuned. Every example adds to the gradient and
 * to the curvature of the log loss; now and then one Newton step is taken and old
 * curvature is let decay, so that the weights follow what changes. A ridge holds them
 * to where they began until there are examples that say otherwise.
 *
 * Pure and exactly repeatable: plain sums in a fixed order and own log and exp, no
 * clock, no library functions but sqrt. Internal to experts/. One thread.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#define SL_LOGISTIC_MAX 12u /* features; rows are padded to this */

struct sl_logistic {
    uint32_t n;        /* features, the first one should be the constant 1 */
    uint32_t n_since;  /* examples since the last step */
    uint32_t n_step;   /* examples between steps */
    float keep;        /* share of the curvature that a step leaves */
    float w[SL_LOGISTIC_MAX];
    float w_first[SL_LOGISTIC_MAX];
    /* of the examples since the last step */
    float gradient[SL_LOGISTIC_MAX];
    float curvature[SL_LOGISTIC_MAX][SL_LOGISTIC_MAX];
    /* of all before, decayed: too large a sum for single precision */
    double total[SL_LOGISTIC_MAX][SL_LOGISTIC_MAX];
};

/* memory: examples after which an example counts for 1/e. w_first: n of them. */
void sl_logistic_init(struct sl_logistic *lr, uint32_t n, const float *w_first, uint32_t n_step,
                      float memory);

/* x: SL_LOGISTIC_MAX of them, zero from n on. p: what was said about it. */
void sl_logistic_learn(struct sl_logistic *lr, const float *x, float p, float is_yes);

/* After a number of examples: take a step if it is time for one. */
void sl_logistic_step(struct sl_logistic *lr);

/* log2 of a positive, normal number: to 3e-4. */
static inline float sl_logistic_log2(float x)
{
    uint32_t bits;
    float m, e;

    memcpy(&bits, &x, sizeof(bits));
    e = (float)((int32_t)(bits >> 23) - 127);
    bits = (bits & 0x7FFFFFu) | 0x3F800000u;
    memcpy(&m, &bits, sizeof(m));
    /* least squares on 1..2 */
    return e + (((-0.0791504f * m + 0.6288157f) * m - 2.0810602f) * m + 4.0283728f) * m -
           2.4967738f;
}

/* 2^x, x in -126..126: relative error 2e-4. */
static inline float sl_logistic_exp2(float x)
{
    int32_t i = (int32_t)(x + 127.0f) - 127; /* floor, the sum is positive */
    float f = x - (float)i, scale;
    uint32_t bits = (uint32_t)(i + 127) << 23;

    memcpy(&scale, &bits, sizeof(scale));
    return scale * (((0.0778231f * f + 0.2258684f) * f + 0.6961721f) * f + 0.9998637f);
}

/* log2 of the odds of p, p held within 1/1024 and its complement. */
static inline float sl_logistic_odds(float p)
{
    p = p < 1.0f / 1024 ? 1.0f / 1024 : p > 1023.0f / 1024 ? 1023.0f / 1024 : p;
    return sl_logistic_log2(p) - sl_logistic_log2(1 - p);
}

/* The probability whose log2 odds are z; z is held within 12 of 0. */
static inline float sl_logistic_p(float z)
{
    z = z < -12 ? -12 : z > 12 ? 12 : z;
    return 1 / (1 + sl_logistic_exp2(-z));
}
