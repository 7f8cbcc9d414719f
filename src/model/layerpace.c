/*
 * Where experts are read from a disk, layers of a kind differ by chance: so a kind that this
 * prefill had is judged by the longest of all its layers. One that it had not yet is judged by
 * the last prefill, as if time grew with the rows; which is too much where there are more rows
 * now, and little where there are far fewer, but only for the first layer.
 */
#include "model/layerpace.h"

#include <assert.h>

void sl_layerpace_begin(struct sl_layerpace *pace, uint32_t n_rows)
{
    assert(n_rows > 0);
    for (uint32_t i = 0; i < SL_LAYERPACE_KINDS; i++) {
        uint64_t ns = pace->longest_ns[i] ? pace->longest_ns[i] : pace->past_ns[i];

        pace->past_ns[i] = pace->n_rows ? ns * n_rows / pace->n_rows : 0;
        pace->longest_ns[i] = 0;
    }
    pace->n_rows = n_rows;
}

void sl_layerpace_add(struct sl_layerpace *pace, uint32_t kind, uint64_t ns)
{
    assert(kind < SL_LAYERPACE_KINDS);
    ns = ns ? ns : 1;
    if (ns > pace->longest_ns[kind])
        pace->longest_ns[kind] = ns;
}

uint64_t sl_layerpace_guess(const struct sl_layerpace *pace, uint32_t kind)
{
    uint64_t longest = pace->longest_ns[kind] ? pace->longest_ns[kind] : pace->past_ns[kind];

    if (longest == 0)
        return SL_LAYERPACE_UNKNOWN;
    for (uint32_t i = 0; i < SL_LAYERPACE_KINDS; i++)
        if (pace->longest_ns[i] > longest)
            longest = pace->longest_ns[i];
    return longest;
}
