/*
 * The KV cache and attention, AVX-512: 16 sums in flight, for scores as 8 queries x 32
 * positions (or 4 x 32), for values as 8 queries x 32 dimensions (or 4 x 64).
 */
#include <assert.h>

#include "kernels/x86/v16_avx512.h"

#define SCORE_GROUPS 2
#define QUERIES 8
#define QUERIES_VECS 2
#define FOUR_VECS 4

#include "kernels/x86/attend_tmpl.h"

void sl_fill_attend_avx512(struct sl_kernels *k)
{
    fill(k);
}
