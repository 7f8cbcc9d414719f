/*
 * One Newton step solves (curvature + ridge) step = gradient + ridge (first - w) by
 * Cholesky. The gradient is of the examples since the last step alone, each at the
 * probability that was said at its time; the curvature is the decayed sum of all. That
 * is a running second-order fit: with keep 1 and small steps it ends where a batch fit
 * would.
 *
 * Odds are in powers of two: the factor ln 2 that this brings to gradient and curvature
 * is left out of both and put into the step.
 */
#include "experts/logistic.h"

#include <assert.h>
#include <math.h>

/* What holds the weights to the first ones: a quarter of the examples, of probability 1/2
 * and with features of 1, that outweigh it. */
#define RIDGE 8.0
#define STEP_SCALE 1.442695 /* 1 / ln 2 */
/* So that examples that were sure of themselves count a little. */
#define CURVATURE_MIN 0.01f

void sl_logistic_init(struct sl_logistic *lr, uint32_t n, const float *w_first, uint32_t n_step,
                      float memory)
{
    assert(n >= 1 && n <= SL_LOGISTIC_MAX && n_step >= 1);
    *lr = (struct sl_logistic){ .n = n, .n_step = n_step };
    lr->keep = memory > (float)n_step ? 1 - (float)n_step / memory : 0;
    for (uint32_t i = 0; i < n; i++)
        lr->w[i] = lr->w_first[i] = w_first[i];
}

void sl_logistic_learn(struct sl_logistic *lr, const float *x, float p, float is_yes)
{
    float error = is_yes - p, weight = p * (1 - p) + CURVATURE_MIN;

    for (uint32_t i = 0; i < SL_LOGISTIC_MAX; i++)
        lr->gradient[i] += error * x[i];
    /* whole rows, though one triangle would do: they are vectors */
    for (uint32_t i = 0; i < lr->n; i++) {
        float wx = weight * x[i];

        for (uint32_t j = 0; j < SL_LOGISTIC_MAX; j++)
            lr->curvature[i][j] += wx * x[j];
    }
    lr->n_since++;
}

/* In place: a's lower triangle becomes L with L L' = a. */
static void factor(double a[SL_LOGISTIC_MAX][SL_LOGISTIC_MAX], uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            double sum = a[i][j];

            for (uint32_t k = 0; k < j; k++)
                sum -= a[i][k] * a[j][k];
            if (i == j)
                a[i][i] = sqrt(sum > RIDGE * 1e-3 ? sum : RIDGE * 1e-3);
            else
                a[i][j] = sum / a[j][j];
        }
    }
}

void sl_logistic_step(struct sl_logistic *lr)
{
    double a[SL_LOGISTIC_MAX][SL_LOGISTIC_MAX], b[SL_LOGISTIC_MAX];
    uint32_t n = lr->n;

    if (lr->n_since < lr->n_step)
        return;
    lr->n_since = 0;
    for (uint32_t i = 0; i < n; i++) {
        b[i] = (double)lr->gradient[i] +
               RIDGE * (1 - (double)lr->keep) * ((double)lr->w_first[i] - (double)lr->w[i]);
        for (uint32_t j = 0; j <= i; j++) {
            lr->total[i][j] = lr->total[i][j] * (double)lr->keep + (double)lr->curvature[i][j];
            a[i][j] = lr->total[i][j] + (i == j ? RIDGE : 0);
        }
    }
    factor(a, n);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < i; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (uint32_t i = n; i-- > 0;) {
        for (uint32_t k = i + 1; k < n; k++)
            b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
    for (uint32_t i = 0; i < n; i++) {
        lr->w[i] += (float)(b[i] * STEP_SCALE);
        lr->gradient[i] = 0;
    }
    memset(lr->curvature, 0, sizeof(lr->curvature));
}
