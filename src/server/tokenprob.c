/*
 * Log-softmax in double, the greatest logit taken off first. The likeliest are kept in a
 * sorted list by insertion: lists are short, and after the first few most logits are too
 * small for them.
 */
#include "server/tokenprob.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static double logit(float value)
{
    return isnan(value) ? -INFINITY : value;
}

static uint32_t insert(struct sl_tokenprob *top, uint32_t n, uint32_t n_top,
                       struct sl_tokenprob one)
{
    uint32_t at = n;

    while (at > 0 && top[at - 1].logprob < one.logprob)
        at--;
    if (at == n_top)
        return n;
    n = n < n_top ? n + 1 : n;
    memmove(&top[at + 1], &top[at], (n - at - 1) * sizeof(*top));
    top[at] = one;
    return n;
}

uint32_t sl_tokenprob_get(const float *logits, uint32_t n_vocab, int32_t chosen, uint32_t n_top,
                          float *ret_chosen, struct sl_tokenprob *ret_top)
{
    double most = -INFINITY, sum = 0, base;
    uint32_t n = 0;

    assert(chosen >= 0 && (uint32_t)chosen < n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++)
        most = logit(logits[i]) > most ? logit(logits[i]) : most;
    if (!isfinite(most)) /* no distribution; say so without a NaN */
        most = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp(logit(logits[i]) - most);
    base = most + log(sum);
    for (uint32_t i = 0; i < n_vocab && n_top; i++) {
        struct sl_tokenprob one = {(int32_t)i, (float)logit(logits[i])};

        if (n < n_top || one.logprob > ret_top[n - 1].logprob)
            n = insert(ret_top, n, n_top, one);
    }
    for (uint32_t i = 0; i < n; i++)
        ret_top[i].logprob = (float)((double)ret_top[i].logprob - base);
    *ret_chosen = (float)(logit(logits[chosen]) - base);
    return n;
}
