/* Vector operations, AVX-512. */
#include <assert.h>

#include "kernels/x86/v16_avx512.h"

#include "kernels/x86/vecops_tmpl.h"

void sl_fill_vecops_avx512(struct sl_kernels *k)
{
    fill(k);
}
