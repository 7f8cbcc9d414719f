/*
 * The rule: with q(i) the probability that the first i guesses all come true and c(n) the
 * time of a step of n tokens in single steps, a draft of n tokens gives
 *
 *     (1 + q(1) + ... + q(n)) / c(n + 1)
 *
 * tokens in the time of one, and the n for which this is greatest is drafted if it is more
 * than one.
 *
 * Probabilities. Every guess is held against the token that is then drawn, drafted or not,
 * so that they are known before anything is spent. The length of the agreement before a
 * guess says most about it: on source files and their edited versions, texts that quote their
 * prompt and texts that do not, guesses after 2, 3, 4 tokens that agreed came true in 43, 57,
 * 65 % of the cases, after 9 to 12 in 85 %, after 25 and more in over 99 %. So there is a
 * decayed count for each class of lengths, and a class that has seen little leans on the two
 * below it.
 *
 * Costs. Steps of a few sizes are used, and the median of each one's last measurements, so
 * that one interruption does not matter. Between two sizes that were measured the cost is
 * taken to be straight, beyond them to grow half as fast as before, since tokens share weights
 * and experts. A size is tried when that promises a gain and the loss could be borne if its
 * tokens shared nothing, and is at most twice the greatest measured one. What was measured long
 * ago is forgotten, so that nothing is ruled out for good.
 *
 * The bound: what drafts lose and gain is added up, and drafts are made only while the sum is
 * not negative. It begins at a few steps, grows by a hundredth of each plain step and never
 * beyond a few. Where it becomes negative, the costs are forgotten, and drafts begin again with
 * one token when the sum has recovered. So wrong probabilities and costs
 * cannot take more than about 1 % of a run, whatever they are.
 */
#include "text/draftlen.h"

#include <string.h>

#define PRIOR_TRUE 0.3   /* of a guess, before anything is known */
#define PRIOR_WEIGHT 2.0 /* what a class leans on those below counts as many guesses */
#define GUESS_DECAY 0.98
#define PRIOR_COST 1.5 /* of a step of two tokens: between 1, all shared, and 2, nothing */
#define GROWTH 0.5 /* of a slope, from one size to the next */
#define LEAST_GAIN 1.02
#define N_MEDIAN 5u  /* of the last so many steps of a size; of single steps of all samples */
#define N_SURE 3u    /* so many measurements need no expectation beside them */
#define LEARN_STEPS 64u  /* a single step is measured at least this often */
#define FORGET_STEPS 128u
#define LOSS_SHARE 0.01
#define BALANCE_START 3.0
#define BALANCE_MAX 8.0
#define BALANCE_MIN (-2.0)
#define OUTLIER 2.0 /* so many times the usual is an interruption, unless it comes again */
#define LEAST_HITS 0.95
#define HITS_DECAY (1.0 - 1.0 / 32)

/* Even ones, as kernels take tokens in pairs or fours. */
static const uint32_t sizes[SL_DRAFTLEN_SIZES] = { 2, 4, 6, 8, 12, 16, 24, 32 };

/* The least agreement of each class. */
static const uint32_t class_match[SL_DRAFTLEN_CLASSES] = { 0, 3, 4, 5, 7, 9, 13, 17, 25, 32 };

void sl_draftlen_init(struct sl_draftlen *d)
{
    *d = (struct sl_draftlen){ .balance = BALANCE_START };
}

static uint32_t class_of(uint32_t match)
{
    uint32_t i = SL_DRAFTLEN_CLASSES - 1;

    while (class_match[i] > match)
        i--;
    return i;
}

void sl_draftlen_learn(struct sl_draftlen *d, uint32_t match, bool is_true)
{
    uint32_t i = class_of(match);

    d->guesses[i].n = d->guesses[i].n * GUESS_DECAY + 1;
    d->guesses[i].n_true = d->guesses[i].n_true * GUESS_DECAY + is_true;
}

static double probability(const struct sl_draftlen *d, uint32_t i_class)
{
    double p = PRIOR_TRUE;

    for (uint32_t i = i_class < 2 ? 0 : i_class - 2; i <= i_class; i++)
        p = (d->guesses[i].n_true + PRIOR_WEIGHT * p) / (d->guesses[i].n + PRIOR_WEIGHT);
    return p;
}

/* How many of them are young enough. */
static uint32_t n_valid(const struct sl_draftlen *d, const struct sl_draftlen_samples *s)
{
    return d->n_steps - s->step > FORGET_STEPS ? 0 : s->n;
}

static void add_sample(struct sl_draftlen *d, struct sl_draftlen_samples *s, uint32_t n_max,
                       double value)
{
    s->n = n_valid(d, s);
    if (s->n == 0)
        s->at = 0;
    s->value[s->at] = value;
    s->at = (s->at + 1) % n_max;
    s->n += s->n < n_max;
    s->step = d->n_steps;
}

static double median(const double *values, uint32_t n)
{
    double sorted[SL_DRAFTLEN_SAMPLES];

    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = i;

        for (; j > 0 && sorted[j - 1] > values[i]; j--)
            sorted[j] = sorted[j - 1];
        sorted[j] = values[i];
    }
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* The median of what was measured and, as long as that is little, what was expected. */
static double usual(const struct sl_draftlen *d, const struct sl_draftlen_samples *s,
                    double expected)
{
    double values[SL_DRAFTLEN_SAMPLES];
    uint32_t n = n_valid(d, s);

    if (n >= N_SURE)
        return median(s->value, n);
    memcpy(values, s->value, n * sizeof(*values));
    values[n] = expected;
    return median(values, n + 1);
}

/* What a size would cost if only the others were measured: between the next smaller one, which
 * costs `cost` and lies on the slope, and the next greater one. */
static double expect(const struct sl_draftlen *d, uint32_t i, double cost, double slope)
{
    double size = i > 0 ? sizes[i - 1] : 1;

    for (uint32_t j = i + 1; j < SL_DRAFTLEN_SIZES; j++)
        if (n_valid(d, &d->cost[j]) > 0) {
            double other = median(d->cost[j].value, d->cost[j].n);

            return cost + (other - cost) * (sizes[i] - size) / (sizes[j] - size);
        }
    return cost + slope * GROWTH * (sizes[i] - size);
}

/* Cost of every size. */
static void find_costs(const struct sl_draftlen *d, double costs[SL_DRAFTLEN_SIZES])
{
    double slope = (PRIOR_COST - 1) / GROWTH, size = 1, cost = 1;

    for (uint32_t i = 0; i < SL_DRAFTLEN_SIZES; i++) {
        costs[i] = usual(d, &d->cost[i], expect(d, i, cost, slope));
        slope = (costs[i] - cost) / (sizes[i] - size);
        slope = slope < 0 ? 0 : slope;
        size = sizes[i];
        cost = costs[i];
    }
}

static bool is_single_known(const struct sl_draftlen *d)
{
    return d->single.n >= N_SURE;
}

static void add_to_balance(struct sl_draftlen *d, double steps)
{
    d->balance += steps;
    d->balance = d->balance < BALANCE_MAX ? d->balance : BALANCE_MAX;
}

/* What a step took in steps of one, and no more than an interruption can be blamed for. */
static double time_of(struct sl_draftlen *d, const struct sl_draftlen_step *step)
{
    double took = (double)step->ns / median(d->single.value, d->single.n);
    double costs[SL_DRAFTLEN_SIZES];
    bool was_outlier = d->was_outlier;
    uint32_t i = 0;

    while (sizes[i] < step->n_tok)
        i++;
    find_costs(d, costs);
    d->was_outlier = took > OUTLIER * costs[i];
    return d->was_outlier && !was_outlier ? OUTLIER * costs[i] : took;
}

void sl_draftlen_measure(struct sl_draftlen *d, const struct sl_draftlen_step *step)
{
    d->n_steps++;
    d->n_requests = d->n_requests * HITS_DECAY + (double)step->n_requests;
    d->n_hits = d->n_hits * HITS_DECAY + (double)step->n_hits;
    d->took = 0;
    if (step->n_tok == 1) {
        add_sample(d, &d->single, SL_DRAFTLEN_SAMPLES, (double)step->ns);
        add_to_balance(d, LOSS_SHARE);
        return;
    }
    if (!is_single_known(d))
        return;
    d->took = time_of(d, step);
    for (uint32_t i = 0; i < SL_DRAFTLEN_SIZES; i++)
        if (sizes[i] == step->n_tok)
            add_sample(d, &d->cost[i], N_MEDIAN,
                       (double)step->ns / median(d->single.value, d->single.n));
}

double sl_draftlen_settle(struct sl_draftlen *d, uint32_t n_kept)
{
    double saved = d->took > 0 ? (double)n_kept - d->took : 0;

    d->took = 0;
    add_to_balance(d, saved);
    if (d->balance >= 0)
        return saved;
    d->balance = d->balance > BALANCE_MIN ? d->balance : BALANCE_MIN;
    for (uint32_t i = 0; i < SL_DRAFTLEN_SIZES; i++)
        d->cost[i].n = 0;
    return saved;
}

static bool may_read(const struct sl_draftlen *d)
{
    return sl_draftlen_hit_share(d) >= LEAST_HITS;
}

/* Tokens of the longest step that may be tried. */
static uint32_t longest(const struct sl_draftlen *d)
{
    uint32_t most = 1;

    for (uint32_t i = 0; i < SL_DRAFTLEN_SIZES; i++)
        if (n_valid(d, &d->cost[i]) > 0)
            most = sizes[i];
    return 2 * most;
}

/* Whether a size may be used from which so many tokens are expected: what it costs is known,
 * or could be lost if its tokens shared nothing. */
static bool may_try(const struct sl_draftlen *d, uint32_t i, double tokens)
{
    return n_valid(d, &d->cost[i]) >= N_SURE || sizes[i] - tokens <= d->balance;
}

uint32_t sl_draftlen_choose(const struct sl_draftlen *d, uint32_t match, uint32_t n_max,
                            enum sl_draftlen_reason *ret_reason)
{
    uint32_t n_most = longest(d) - 1, chosen = 0, n = 0;
    double costs[SL_DRAFTLEN_SIZES], tokens = 1, all_true = 1, best = LEAST_GAIN;

    *ret_reason = may_read(d) ? SL_DRAFTLEN_COST : SL_DRAFTLEN_READING;
    if (!may_read(d) || !is_single_known(d) || d->balance < 0 ||
        d->n_steps - d->single.step >= LEARN_STEPS)
        return 0;
    find_costs(d, costs);
    n_most = n_most < n_max ? n_most : n_max;
    for (uint32_t i = 0; i < SL_DRAFTLEN_SIZES && sizes[i] <= n_most + 1; i++) {
        for (; n + 1 < sizes[i]; n++) {
            all_true *= probability(d, class_of(match + n));
            tokens += all_true;
        }
        if (tokens / costs[i] > best && may_try(d, i, tokens)) {
            best = tokens / costs[i];
            chosen = n;
        }
    }
    if (chosen > 0)
        *ret_reason = SL_DRAFTLEN_PAYS;
    return chosen;
}

double sl_draftlen_cost(const struct sl_draftlen *d, uint32_t n_tok)
{
    for (uint32_t i = 0; i < SL_DRAFTLEN_SIZES; i++)
        if (sizes[i] == n_tok && d->cost[i].n > 0)
            return median(d->cost[i].value, d->cost[i].n);
    return n_tok == 1 && is_single_known(d);
}

double sl_draftlen_hit_share(const struct sl_draftlen *d)
{
    return d->n_requests > 0 ? d->n_hits / d->n_requests : 1;
}
