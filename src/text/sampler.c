/*
 * From logits to a token, in the order of llama.cpp's default chain (llama.h,
 * common/sampling.cpp: logit bias, penalties, top-k, top-p, min-p, temperature,
 * dist):
 *
 *   1. bias         l += bias[token]
 *   2. penalties    for each token among the last n, seen c times:
 *                   l = l <= 0 ? l * repeat : l / repeat
 *                   l -= c * frequency + presence
 *      allowed      l = -inf for tokens that are not, if a mask is set
 *   3. top-k        the k greatest
 *   4. top-p        softmax of what is left; the shortest beginning, in descending
 *                   order, whose probabilities add up to at least p
 *   5. min-p        those with a probability of at least min_p times the greatest
 *   6. temperature  l /= t
 *   7. draw         from the softmax
 *
 * At temperature 0 the greatest after step 2 is taken; at least one candidate always
 * stays. Equal logits order by id, lowest first. A NaN logit counts as minus infinity.
 * With a mask, logits of allowed tokens are at least the least finite number, so that the
 * choice is one of them whatever the logits and biases are.
 *
 * A candidate is one number: the logit's bits, made to order like the value, above
 * the complement of the id. So "better" is "greater", no two are equal, and sorting
 * is a radix sort of three passes over the logit (ids are in order before it).
 * Top-k collects into a buffer of a few times k, and when that is full sorts it and
 * keeps k; what is below the k-th of then is not looked at again.
 *
 * Every sum runs in double, in the order of the candidates; exp is our own, because
 * libm's differs between machines in the last bit; the generator is xoshiro256**
 * (Blackman, Vigna), seeded by splitmix64. So a seed gives the same tokens anywhere.
 *
 * 65,536 normally distributed logits on one core of a shared EPYC, median of 200:
 * top-k 50 and penalties over 64 tokens 0.1 ms (logits in ascending order, the worst
 * case, 0.75 ms); min-p and penalties 0.08 ms; top-p, which sorts all, 1.5 ms.
 */
#include "text/sampler.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "text/vocab.h"

#define LAST_N_MAX 65536u
#define SORT_SMALL 48u   /* below: insertion sort */
#define BUFFER_MORE 1024 /* room beyond k in top-k's buffer */
#define BLOCK 64u        /* logits that are looked at at once; bits of a word of a mask */

struct sl_sampler {
    /* set once */
    struct sl_sampler_opts opts;
    struct sl_logit_bias *bias;
    double min_p_gap; /* <= 0 */
    const uint64_t *allowed; /* borrowed, or NULL: all */
    /* history */
    int32_t *last; /* ring of penalty_last_n */
    uint32_t n_last, i_last;
    uint32_t *count; /* of each token among them; NULL without penalties */
    uint32_t *seen;  /* step at which a token's penalty was last applied */
    uint32_t step;
    uint64_t random[4];
    /* scratch */
    float *logits;        /* n_vocab */
    uint64_t *candidates; /* n_vocab */
    uint64_t *other;      /* n_vocab, for sorting */
    double *weights;      /* n_vocab */
};

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static uint64_t draw(uint64_t s[4])
{
    const uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/*
 * e^x for x <= 0, relative error below 1e-15; 0 below -708. x = k ln 2 + r with
 * |r| <= ln 2 / 2; ln 2 is in two parts so that k times the first is exact; e^r is
 * its Taylor series to r^13 (the next term is below 2^-58).
 */
static double exp_neg(double x)
{
    static const double inv_factorial[] = {
        1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
        1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800,
    };
    const double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33;
    const double shift = 0x1.8p52; /* adding it rounds to an integer */
    double k, r, sum = inv_factorial[13], scale;
    uint64_t bits;

    if (!(x >= -708.0))
        return 0.0;
    k = x * 0x1.71547652b82fep0 + shift - shift;
    r = x - k * ln2_hi - k * ln2_lo;
    for (int i = 12; i >= 0; i--)
        sum = sum * r + inv_factorial[i];
    bits = (uint64_t)((int64_t)k + 1023) << 52;
    memcpy(&scale, &bits, sizeof(scale));
    return sum * scale;
}

static uint64_t make_candidate(float logit, uint32_t id)
{
    uint32_t bits = sl_f32_bits(logit);

    if (logit != logit)
        bits = 0xff800000u; /* minus infinity */
    else if (bits == 0x80000000u)
        bits = 0; /* -0 is 0: the id decides */
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~id;
}

static int32_t candidate_id(uint64_t c)
{
    return (int32_t)~(uint32_t)c;
}

static float candidate_logit(uint64_t c)
{
    uint32_t bits = (uint32_t)(c >> 32);

    return sl_f32_from_bits(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

static void sort_small(uint64_t *at, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        uint64_t x = at[i];
        uint32_t j = i;

        for (; j > 0 && at[j - 1] < x; j--)
            at[j] = at[j - 1];
        at[j] = x;
    }
}

/* Greatest first. at's equal logits must already be in order of id. */
static void sort_candidates(uint64_t *at, uint64_t *other, uint32_t n)
{
    static const int shifts[3] = {32, 43, 54};
    uint32_t starts[3][2048] = {{0}};
    uint64_t *from = at, *to = other;

    if (n <= SORT_SMALL) {
        sort_small(at, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        for (int pass = 0; pass < 3; pass++)
            starts[pass][at[i] >> shifts[pass] & 2047]++;
    for (int pass = 0; pass < 3; pass++) {
        uint32_t *start = starts[pass], sum = 0;

        for (int digit = 2047; digit >= 0; digit--) {
            uint32_t n_digit = start[digit];

            start[digit] = sum;
            sum += n_digit;
        }
        for (uint32_t i = 0; i < n; i++)
            to[start[from[i] >> shifts[pass] & 2047]++] = from[i];
        from = to;
        to = to == at ? other : at;
    }
    memcpy(at, other, n * sizeof(*at)); /* three passes end in other */
}

static void apply_bias(const struct sl_sampler *sampler, float *logits)
{
    for (uint32_t i = 0; i < sampler->opts.n_bias; i++)
        logits[sampler->bias[i].token] += sampler->bias[i].bias;
}

static void apply_penalties(struct sl_sampler *sampler, float *logits)
{
    const struct sl_sampler_opts *o = &sampler->opts;

    if (++sampler->step == 0) { /* after 2^32 steps: no stamp may look new */
        memset(sampler->seen, 0, o->n_vocab * sizeof(*sampler->seen));
        sampler->step = 1;
    }
    for (uint32_t i = 0; i < sampler->n_last; i++) {
        int32_t id = sampler->last[i];
        float l = logits[id];

        if (sampler->seen[id] == sampler->step)
            continue;
        sampler->seen[id] = sampler->step;
        l = l <= 0 ? l * o->repeat_penalty : l / o->repeat_penalty;
        l -= (float)sampler->count[id] * o->frequency_penalty + o->presence_penalty;
        logits[id] = l;
    }
}

/* Whether all n logits are below bound. No branch inside, so that compilers use
 * vectors; NaN is not below. */
static bool all_below(const float *logits, uint32_t n, float bound)
{
    int n_not = 0;

    for (uint32_t i = 0; i < n; i++)
        n_not += !(logits[i] < bound);
    return n_not == 0;
}

/* Whether any of n logits is above bound, as fast; NaN is not above. */
static bool any_above(const float *logits, uint32_t n, float bound)
{
    int n_above = 0;

    for (uint32_t i = 0; i < n; i++)
        n_above += logits[i] > bound;
    return n_above > 0;
}

/* Minus infinity for the logits whose bit is 0; no branch per logit either. */
static void apply_bits(float *logits, uint32_t n, uint64_t bits)
{
#define NO  -INFINITY
#define YES INFINITY
    static const float most_of[16][4] = {
        {NO, NO, NO, NO},   {YES, NO, NO, NO},   {NO, YES, NO, NO},   {YES, YES, NO, NO},
        {NO, NO, YES, NO},  {YES, NO, YES, NO},  {NO, YES, YES, NO},  {YES, YES, YES, NO},
        {NO, NO, NO, YES},  {YES, NO, NO, YES},  {NO, YES, NO, YES},  {YES, YES, NO, YES},
        {NO, NO, YES, YES}, {YES, NO, YES, YES}, {NO, YES, YES, YES}, {YES, YES, YES, YES},
    };
#undef NO
#undef YES
    float most[BLOCK];

    for (uint32_t i = 0; i < BLOCK / 4; i++, bits >>= 4)
        memcpy(most + 4 * i, most_of[bits & 15], sizeof(most_of[0]));
    for (uint32_t i = 0; i < n; i++) {
        float l = logits[i] > -FLT_MAX ? logits[i] : -FLT_MAX; /* NaN too */

        logits[i] = l < most[i] ? l : most[i];
    }
}

static void apply_allowed(const struct sl_sampler *sampler, float *logits)
{
    const uint32_t n = sampler->opts.n_vocab;

    for (uint32_t i = 0; i < n; i += BLOCK)
        apply_bits(logits + i, n - i < BLOCK ? n - i : BLOCK, sampler->allowed[i / BLOCK]);
}

/* The first of the greatest; the first of all if none is above minus infinity. */
static int32_t greatest(const float *logits, uint32_t n)
{
    float best = -INFINITY;
    uint32_t id = 0;

    for (uint32_t start = 0; start < n; start += BLOCK) {
        uint32_t end = n - start < BLOCK ? n : start + BLOCK;

        if (!any_above(logits + start, end - start, best))
            continue;
        for (uint32_t i = start; i < end; i++)
            if (logits[i] > best) {
                best = logits[i];
                id = i;
            }
    }
    return (int32_t)id;
}

/* The k greatest of n, sorted, into sampler->candidates. 1 <= k < n. */
static void take_top_k(struct sl_sampler *sampler, const float *logits, uint32_t n, uint32_t k)
{
    uint64_t *at = sampler->candidates, least = 0;
    uint32_t more = k > BUFFER_MORE ? k : BUFFER_MORE, cap = n - k > more ? k + more : n;
    uint32_t used = 0;
    float bound = -INFINITY;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t c;

        if (i % BLOCK == 0 && n - i >= BLOCK && all_below(logits + i, BLOCK, bound)) {
            i += BLOCK - 1;
            continue;
        }
        c = make_candidate(logits[i], i);
        if (c < least)
            continue;
        if (used == cap) {
            sort_candidates(at, sampler->other, used);
            used = k;
            least = at[k - 1];
            bound = candidate_logit(least);
            if (c < least)
                continue;
        }
        at[used++] = c;
    }
    sort_candidates(at, sampler->other, used);
}

/* weights[i] = e^((l[i] - l_max) / t), their sum returned. An infinite maximum shares
 * among its equals. */
static double weigh(const struct sl_sampler *sampler, uint32_t n, float max, double t)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        float l = candidate_logit(sampler->candidates[i]);
        double w = l == max ? 1.0 : exp_neg(((double)l - (double)max) / t);

        sampler->weights[i] = w;
        sum += w;
    }
    return sum;
}

static uint32_t cut_top_p(const struct sl_sampler *sampler, uint32_t n, float p)
{
    double sum = weigh(sampler, n, candidate_logit(sampler->candidates[0]), 1.0), part = 0;

    for (uint32_t i = 0; i < n; i++) {
        part += sampler->weights[i];
        if (part >= (double)p * sum)
            return i + 1;
    }
    return n;
}

/* Candidates need not be sorted; they keep their order. */
static uint32_t cut_min_p(struct sl_sampler *sampler, uint32_t n, float max)
{
    uint32_t n_kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        float l = candidate_logit(sampler->candidates[i]);

        if (l == max || (double)l - (double)max >= sampler->min_p_gap)
            sampler->candidates[n_kept++] = sampler->candidates[i];
    }
    return n_kept;
}

/* The least x <= 0 with exp_neg(x) >= p, for 0 < p <= 1: min-p as a distance between
 * logits. Bisection, because libm's log differs between machines too. */
static double find_gap(double p)
{
    double lo = -709, hi = 0;

    for (int i = 0; i < 80; i++) {
        double mid = (lo + hi) / 2;

        if (exp_neg(mid) >= p)
            hi = mid;
        else
            lo = mid;
    }
    return hi;
}

/* All candidates in order of id, but those that min-p cuts where nothing comes before
 * it. Returns how many. */
static uint32_t take_all(struct sl_sampler *sampler, const float *logits, bool min_p,
                         float *ret_max)
{
    const uint32_t n_vocab = sampler->opts.n_vocab;
    double bound = -INFINITY;
    float max = -INFINITY;
    uint32_t n = 0;

    for (uint32_t i = 0; i < n_vocab; i++)
        max = logits[i] > max ? logits[i] : max;
    if (min_p && max > -INFINITY)
        bound = max < INFINITY ? (double)max + sampler->min_p_gap - 1e-3 : (double)max;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (!((double)logits[i] < bound)) /* NaN stays: it is minus infinity later */
            sampler->candidates[n++] = make_candidate(logits[i], i);
    *ret_max = max;
    return n;
}

static int32_t draw_token(struct sl_sampler *sampler, uint32_t n, float max)
{
    double sum = weigh(sampler, n, max, (double)sampler->opts.temperature), part = 0;
    double aim = (double)(draw(sampler->random) >> 11) * 0x1p-53 * sum;
    uint32_t chosen = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (sampler->weights[i] <= 0)
            continue;
        chosen = i; /* the last one stands if rounding keeps part below aim */
        part += sampler->weights[i];
        if (part > aim)
            break;
    }
    return candidate_id(sampler->candidates[chosen]);
}

int32_t sl_sampler_sample(struct sl_sampler *sampler, const float *logits)
{
    const struct sl_sampler_opts *o = &sampler->opts;
    uint32_t n = o->n_vocab;
    float max;

    if (o->n_bias > 0 || sampler->count || sampler->allowed) {
        memcpy(sampler->logits, logits, n * sizeof(*logits));
        logits = sampler->logits;
        apply_bias(sampler, sampler->logits);
        if (sampler->count)
            apply_penalties(sampler, sampler->logits);
        if (sampler->allowed)
            apply_allowed(sampler, sampler->logits);
    }
    if (o->temperature <= 0)
        return greatest(logits, n);

    if (o->top_k > 0 && o->top_k < n) {
        take_top_k(sampler, logits, n, o->top_k);
        n = o->top_k;
        max = candidate_logit(sampler->candidates[0]);
    } else {
        n = take_all(sampler, logits, o->min_p > 0 && o->top_p >= 1, &max);
        if (o->top_p < 1)
            sort_candidates(sampler->candidates, sampler->other, n);
    }
    if (o->top_p < 1)
        n = cut_top_p(sampler, n, o->top_p);
    if (o->min_p > 0)
        n = cut_min_p(sampler, n, max);
    return draw_token(sampler, n, max);
}

void sl_sampler_set_allowed(struct sl_sampler *sampler, const uint64_t *allowed)
{
    sampler->allowed = allowed;
}

void sl_sampler_accept(struct sl_sampler *sampler, int32_t token)
{
    if (!sampler->count || token < 0 || (uint32_t)token >= sampler->opts.n_vocab)
        return;
    if (sampler->n_last == sampler->opts.penalty_last_n)
        sampler->count[sampler->last[sampler->i_last]]--;
    else
        sampler->n_last++;
    sampler->last[sampler->i_last] = token;
    sampler->count[token]++;
    sampler->i_last = (sampler->i_last + 1) % sampler->opts.penalty_last_n;
}

static bool in_range(float x, float lo, float hi)
{
    return x >= lo && x <= hi; /* false for NaN */
}

static int check_opts(const struct sl_sampler_opts *o, struct sl_diag *diag)
{
    const float big = 3.0e38f;

    if (o->n_vocab < 1 || o->n_vocab > SL_VOCAB_TOKENS_MAX)
        return sl_diag_set(diag, -ERANGE, "vocabulary of %u tokens: must be 1 to %u", o->n_vocab,
                           SL_VOCAB_TOKENS_MAX);
    if (!in_range(o->temperature, 0, big))
        return sl_diag_set(diag, -ERANGE, "temperature %g: must be 0 or more",
                           (double)o->temperature);
    if (!in_range(o->top_p, 0, 1))
        return sl_diag_set(diag, -ERANGE, "top-p %g: must be 0 to 1", (double)o->top_p);
    if (!in_range(o->min_p, 0, 1))
        return sl_diag_set(diag, -ERANGE, "min-p %g: must be 0 to 1", (double)o->min_p);
    if (!in_range(o->repeat_penalty, 0, big) || o->repeat_penalty <= 0)
        return sl_diag_set(diag, -ERANGE, "repeat penalty %g: must be above 0",
                           (double)o->repeat_penalty);
    if (!in_range(o->presence_penalty, -big, big))
        return sl_diag_set(diag, -ERANGE, "presence penalty %g: must be a finite number",
                           (double)o->presence_penalty);
    if (!in_range(o->frequency_penalty, -big, big))
        return sl_diag_set(diag, -ERANGE, "frequency penalty %g: must be a finite number",
                           (double)o->frequency_penalty);
    if (o->penalty_last_n > LAST_N_MAX)
        return sl_diag_set(diag, -ERANGE, "penalty window of %u tokens: must be 0 to %u",
                           o->penalty_last_n, LAST_N_MAX);
    for (uint32_t i = 0; i < o->n_bias; i++) {
        if (o->bias[i].token < 0 || (uint32_t)o->bias[i].token >= o->n_vocab)
            return sl_diag_set(diag, -ERANGE, "logit bias of token %d: must be 0 to %u",
                               o->bias[i].token, o->n_vocab - 1);
        if (o->bias[i].bias != o->bias[i].bias)
            return sl_diag_set(diag, -ERANGE, "logit bias of token %d is not a number",
                               o->bias[i].token);
    }
    return 0;
}

static int alloc(struct sl_sampler *sampler)
{
    const struct sl_sampler_opts *o = &sampler->opts;
    const bool penalties = o->penalty_last_n > 0 &&
                           (o->repeat_penalty != 1 || o->presence_penalty != 0 ||
                            o->frequency_penalty != 0);

    if (o->n_bias > 0) {
        sampler->bias = malloc(o->n_bias * sizeof(*sampler->bias));
        if (!sampler->bias)
            return -ENOMEM;
        memcpy(sampler->bias, o->bias, o->n_bias * sizeof(*sampler->bias));
    }
    if (penalties) {
        sampler->last = malloc(o->penalty_last_n * sizeof(*sampler->last));
        sampler->count = calloc(o->n_vocab, sizeof(*sampler->count));
        sampler->seen = calloc(o->n_vocab, sizeof(*sampler->seen));
        if (!sampler->last || !sampler->count || !sampler->seen)
            return -ENOMEM;
    }
    sampler->logits = malloc(o->n_vocab * sizeof(*sampler->logits));
    sampler->candidates = malloc(o->n_vocab * sizeof(*sampler->candidates));
    sampler->other = malloc(o->n_vocab * sizeof(*sampler->other));
    sampler->weights = malloc(o->n_vocab * sizeof(*sampler->weights));
    if (!sampler->logits || !sampler->candidates || !sampler->other || !sampler->weights)
        return -ENOMEM;
    return 0;
}

int sl_sampler_new(struct sl_sampler **ret_sampler, const struct sl_sampler_opts *opts,
                   struct sl_diag *diag)
{
    struct sl_sampler *sampler;
    uint64_t state;
    int r;

    r = check_opts(opts, diag);
    if (r < 0)
        return r;
    sampler = calloc(1, sizeof(*sampler));
    if (!sampler)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the sampler");
    sampler->opts = *opts;
    r = alloc(sampler);
    if (r < 0) {
        sl_sampler_free(sampler);
        return sl_diag_set(diag, r, "not enough memory for the sampler");
    }
    sampler->opts.bias = sampler->bias;
    if (opts->min_p > 0)
        sampler->min_p_gap = find_gap((double)opts->min_p);
    state = opts->seed;
    for (int i = 0; i < 4; i++)
        sampler->random[i] = splitmix(&state);
    *ret_sampler = sampler;
    return 0;
}

void sl_sampler_free(struct sl_sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->bias);
    free(sampler->last);
    free(sampler->count);
    free(sampler->seen);
    free(sampler->logits);
    free(sampler->candidates);
    free(sampler->other);
    free(sampler->weights);
    free(sampler);
}
