/* One line, drawn over itself with a carriage return. */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/interrupt.h"

#define QUIET_NS 500000000u
#define BAR_CHARS 24

int sl_progress_update(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct sl_progress *p = arg;
    uint64_t now = sl_clock_ns();
    char bar[BAR_CHARS + 1];
    double seconds, share;

    if (p->start_ns == 0)
        p->start_ns = now;
    if (now - p->start_ns >= QUIET_NS && total_bytes && isatty(STDERR_FILENO)) {
        seconds = (double)(now - p->start_ns) * 1e-9;
        share = (double)done_bytes / (double)total_bytes;
        for (int i = 0; i < BAR_CHARS; i++)
            bar[i] = i < share * BAR_CHARS ? '#' : '-';
        bar[BAR_CHARS] = '\0';
        fprintf(stderr, "\r%s [%s] %.1f of %.1f GB, %.1f GB/s\033[K",
                p->verb ? p->verb : "loading", bar, (double)done_bytes * 1e-9,
                (double)total_bytes * 1e-9, (double)done_bytes * 1e-9 / seconds);
        p->shown = true;
    }
    return sl_interrupt_is_set();
}

void sl_progress_end(struct sl_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
