/* Vector operations, AVX2. */
#include <assert.h>

#include "kernels/x86/v16_avx2.h"

#include "kernels/x86/vecops_tmpl.h"

void sl_fill_vecops_avx2(struct sl_kernels *k)
{
    fill(k);
}
