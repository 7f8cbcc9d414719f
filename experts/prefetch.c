/*
 * Guesses by layer: a short row for each, sorted by p, so that dropping a layer's
 * guesses is one store and the best of all is found among the first of each row.
 * A round has tens of layers and guesses reach a few of them, so layers without any
 * are skipped by a count; nothing here is worth a heap.
 *
 * Invariants: rows are sorted, likeliest first, by p and then by expert; an expert
 * stands in a row at most once; n_total is the sum of the rows' lengths.
 */
#include "experts/prefetch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* p is compared in steps of 1 / this: finer differences say less than nearness. */
#define P_STEPS 16.0f

struct row {
    uint32_t n;
    struct sl_guess guesses[SL_PREFETCH_PER_LAYER];
};

struct sl_prefetch {
    uint32_t n_layers, n_experts, n_total;
    uint64_t n_puts;
    uint64_t *put_at; /* [n_layers] the put that last replaced the row */
    struct row *rows; /* [n_layers] */
};

int sl_prefetch_new(struct sl_prefetch **ret_prefetch, uint32_t n_layers, uint32_t n_experts)
{
    struct sl_prefetch *prefetch = calloc(1, sizeof(*prefetch));

    if (!prefetch)
        return -ENOMEM;
    prefetch->n_layers = n_layers;
    prefetch->n_experts = n_experts;
    prefetch->rows = calloc(n_layers ? n_layers : 1, sizeof(*prefetch->rows));
    prefetch->put_at = calloc(n_layers ? n_layers : 1, sizeof(*prefetch->put_at));
    if (!prefetch->rows || !prefetch->put_at) {
        sl_prefetch_free(prefetch);
        return -ENOMEM;
    }
    *ret_prefetch = prefetch;
    return 0;
}

void sl_prefetch_free(struct sl_prefetch *prefetch)
{
    if (!prefetch)
        return;
    free(prefetch->rows);
    free(prefetch->put_at);
    free(prefetch);
}

static void row_remove(struct sl_prefetch *prefetch, struct row *row, uint32_t at)
{
    row->n--;
    prefetch->n_total--;
    memmove(row->guesses + at, row->guesses + at + 1, sizeof(*row->guesses) * (row->n - at));
}

static bool goes_before(const struct sl_guess *a, const struct sl_guess *b)
{
    return a->p != b->p ? a->p > b->p : a->expert < b->expert;
}

static void row_insert(struct sl_prefetch *prefetch, struct row *row, struct sl_guess guess)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < row->n; i++) {
        if (row->guesses[i].expert != guess.expert)
            continue;
        if (row->guesses[i].p >= guess.p)
            return;
        row_remove(prefetch, row, i);
        break;
    }
    while (at < row->n && goes_before(&row->guesses[at], &guess))
        at++;
    if (at == SL_PREFETCH_PER_LAYER)
        return;
    if (row->n == SL_PREFETCH_PER_LAYER)
        row_remove(prefetch, row, row->n - 1);
    memmove(row->guesses + at + 1, row->guesses + at, sizeof(*row->guesses) * (row->n - at));
    row->guesses[at] = guess;
    row->n++;
    prefetch->n_total++;
}

void sl_prefetch_put(struct sl_prefetch *prefetch, const struct sl_guess *guesses, uint32_t n)
{
    prefetch->n_puts++;
    for (uint32_t i = 0; i < n; i++) {
        struct sl_guess guess = guesses[i];

        if (guess.layer >= prefetch->n_layers)
            continue;
        if (prefetch->put_at[guess.layer] != prefetch->n_puts) {
            prefetch->put_at[guess.layer] = prefetch->n_puts;
            sl_prefetch_expire(prefetch, guess.layer);
        }
        if (guess.expert >= prefetch->n_experts || !(guess.p > 0))
            continue;
        if (guess.p > 1)
            guess.p = 1;
        row_insert(prefetch, &prefetch->rows[guess.layer], guess);
    }
}

void sl_prefetch_expire(struct sl_prefetch *prefetch, uint32_t layer)
{
    assert(layer < prefetch->n_layers);
    prefetch->n_total -= prefetch->rows[layer].n;
    prefetch->rows[layer].n = 0;
}

void sl_prefetch_clear(struct sl_prefetch *prefetch)
{
    for (uint32_t l = 0; l < prefetch->n_layers; l++)
        prefetch->rows[l].n = 0;
    prefetch->n_total = 0;
}

void sl_prefetch_drop(struct sl_prefetch *prefetch, uint32_t layer, uint32_t expert)
{
    struct row *row = &prefetch->rows[layer];

    assert(layer < prefetch->n_layers);
    for (uint32_t i = 0; i < row->n; i++)
        if (row->guesses[i].expert == expert) {
            row_remove(prefetch, row, i);
            return;
        }
}

bool sl_prefetch_best(const struct sl_prefetch *prefetch, uint32_t now_layer, float min_p,
                      struct sl_guess *ret_guess)
{
    int best_step = -1;

    if (prefetch->n_total == 0)
        return false;
    /* Nearest first, so that a later row must be likelier by a step to win. */
    for (uint32_t i = 1; i <= prefetch->n_layers; i++) {
        const struct row *row = &prefetch->rows[(now_layer + i) % prefetch->n_layers];
        int step;

        if (row->n == 0 || !(row->guesses[0].p >= min_p))
            continue;
        step = (int)(row->guesses[0].p * P_STEPS);
        if (step <= best_step)
            continue;
        best_step = step;
        *ret_guess = row->guesses[0];
    }
    return best_step >= 0;
}

uint32_t sl_prefetch_count(const struct sl_prefetch *prefetch)
{
    return prefetch->n_total;
}
