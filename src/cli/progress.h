/* The bar on stderr while a big file is read or written. Main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sl_progress {
    const char *verb; /* NULL: "loading" */
    uint64_t start_ns;
    bool shown;
};

/* A sluice_model_opts.progress; arg is a struct sl_progress, all zeroes at first but for
 * the verb. Nothing is shown in the first half second. Nonzero after Ctrl-C. */
int sl_progress_update(void *arg, uint64_t done_bytes, uint64_t total_bytes);

/* Remove the bar. */
void sl_progress_end(struct sl_progress *progress);
