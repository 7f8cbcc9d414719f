/*
 * The KV cache and attention, AVX2: 8 registers of sums in flight, for scores as 4
 * queries x 16 positions, for values as 4 queries x 16 dimensions.
 */
#include <assert.h>

#include "kernels/x86/v16_avx2.h"

#define SCORE_GROUPS 1
#define QUERIES 4
#define QUERIES_VECS 1
#define FOUR_VECS 1

#include "kernels/x86/attend_tmpl.h"

void sl_fill_attend_avx2(struct sl_kernels *k)
{
    fill(k);
}
