/*
 * dumprows TYPE COLUMNS: rows of blocks on stdin, their floats on stdout. For
 * test_dequant.py.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/kernels.h"

int main(int argc, char **argv)
{
    int dtype = argc == 3 ? sl_dtype_from_name(argv[1]) : -1;
    struct sl_tensor t = { .n_rows = 1, .n_mats = 1 };
    float *out;
    void *row;
    int r = EXIT_FAILURE;

    if (dtype < 0)
        return 2;
    t.dtype = (enum sl_dtype)dtype;
    t.n_cols = (uint32_t)atoi(argv[2]);
    t.row_bytes = sl_dtype_row_bytes(t.dtype, t.n_cols);
    t.data = row = malloc(t.row_bytes);
    out = malloc(t.n_cols * sizeof(float));
    if (!row || !out)
        goto done;
    while (fread(row, t.row_bytes, 1, stdin) == 1) {
        sl_dequant_row(out, &t, 0);
        if (fwrite(out, sizeof(float), t.n_cols, stdout) != t.n_cols)
            goto done;
    }
    r = fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;

done:
    free(out);
    free(row);
    return r;
}
