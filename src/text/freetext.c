/*
 * From a state all characters of the alphabet are tried, a byte of each class for each place
 * of their UTF-8, and from the states behind them again, until enough characters are known to
 * go on. Within a string every character leads back to where it began, so that there is one
 * round; a string whose length is bounded has one for each character.
 *
 * A state that is being looked at counts as known for as many characters as are asked of it:
 * whatever leads back to it asks for fewer. (That n characters go on follows, by induction on
 * n, if one character goes on from each state that was met.) If some text does not go on,
 * what was noted on the way is taken back.
 */
#include "text/freetext.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/vector.h"

#define STATES_MAX 24u /* looked at for one answer; a bounded string needs CHARS_MAX */

struct look {
    struct sl_freetext *known;
    struct sl_matcher *matcher;
    struct sl_matcher_steps steps;
    enum sl_alphabet alphabet;
    struct sl_utf8range ranges[SL_ALPHABET_RANGES_MAX];
    uint32_t n_ranges;
    struct noted {
        uint32_t state;
        uint8_t before;
    } noted[STATES_MAX];
    uint32_t n_noted;
};

void sl_freetext_done(struct sl_freetext *f)
{
    free(f->n_free);
}

void sl_freetext_clear(struct sl_freetext *f)
{
    f->n_states = 0;
}

/* Where it is written how many characters are known to go on from a state, or NULL. */
static uint8_t *place(struct look *look, uint32_t state)
{
    struct sl_freetext *f = look->known;

    if (state >= f->n_states) {
        uint32_t more = state + 1 - f->n_states;

        if (sl_vector_grow(&f->n_free, &f->cap, f->n_states * SL_ALPHABET_N,
                           more * SL_ALPHABET_N) < 0)
            return NULL;
        memset(f->n_free + (size_t)f->n_states * SL_ALPHABET_N, 0, (size_t)more * SL_ALPHABET_N);
        f->n_states = state + 1;
    }
    return f->n_free + (size_t)state * SL_ALPHABET_N + look->alphabet;
}

static int64_t step(struct look *look, uint32_t state, uint32_t byte)
{
    uint32_t to =
        look->steps.states[(size_t)state * look->steps.n_classes + look->steps.class_of[byte]];
    int64_t next = to;

    if (to == 0) {
        next = sl_matcher_step(look->matcher, state, byte);
        look->steps = sl_matcher_steps(look->matcher);
    }
    return next;
}

static int try_state(struct look *look, uint32_t state, uint32_t n_chars);

/* n bytes, each from lo to hi of its place, and n_chars characters behind them. */
static int try_bytes(struct look *look, uint32_t state, const uint8_t *lo, const uint8_t *hi,
                     uint32_t n, uint32_t n_chars)
{
    int r = 1;

    if (n == 0)
        return try_state(look, state, n_chars);
    for (uint32_t byte = *lo; byte <= *hi && r == 1;
         byte = sl_matcher_steps_next(&look->steps, byte)) {
        int64_t to = step(look, state, byte);

        if (to < 0 || to == SL_MATCHER_DEAD)
            return to < 0 ? (int)to : 0;
        r = try_bytes(look, (uint32_t)to, lo + 1, hi + 1, n - 1, n_chars);
    }
    return r;
}

static int try_state(struct look *look, uint32_t state, uint32_t n_chars)
{
    uint8_t *n_free = n_chars ? place(look, state) : NULL;

    if (n_chars == 0)
        return 1;
    if (!n_free)
        return -ENOMEM;
    if (*n_free >= n_chars)
        return 1;
    if (look->n_noted == STATES_MAX)
        return 0;
    look->noted[look->n_noted++] = (struct noted){state, *n_free};
    *n_free = (uint8_t)n_chars;
    for (uint32_t i = 0; i < look->n_ranges; i++) {
        const struct sl_utf8range *range = &look->ranges[i];
        int r = try_bytes(look, state, range->lo, range->hi, range->n, n_chars - 1);

        if (r != 1)
            return r;
    }
    return 1;
}

int sl_freetext_is_free(struct sl_freetext *f, struct sl_matcher *matcher, uint32_t state,
                        enum sl_alphabet alphabet)
{
    struct look look = {.known = f, .matcher = matcher, .alphabet = alphabet};
    int r;

    look.steps = sl_matcher_steps(matcher);
    look.n_ranges = sl_alphabet_ranges(alphabet, look.ranges);
    r = try_state(&look, state, SL_FREETEXT_CHARS_MAX);
    while (r != 1 && look.n_noted > 0) {
        const struct noted *noted = &look.noted[--look.n_noted];

        *place(&look, noted->state) = noted->before; /* it has its place */
    }
    return r;
}
