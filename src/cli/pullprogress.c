/* The rate is that of the last samples, about ten seconds: what the network gives now. */
#include "cli/pullprogress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/interrupt.h"

#define DRAW_NS 200000000u
#define SAMPLE_NS 450000000u
#define BAR_CHARS 20

const char *sl_pullprogress_time(char *buf, double seconds)
{
    unsigned long s = seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 1000000000ul;

    if (s < 100)
        (void)snprintf(buf, 32, "%lu s", s);
    else if (s < 6000)
        (void)snprintf(buf, 32, "%lu min %lu s", s / 60, s % 60);
    else
        (void)snprintf(buf, 32, "%lu h %lu min", s / 3600, s / 60 % 60);
    return buf;
}

static void take_sample(struct sl_pullprogress *p, uint64_t now, uint64_t bytes)
{
    uint32_t last = (p->n_samples + SL_PULLPROGRESS_SAMPLES - 1) % SL_PULLPROGRESS_SAMPLES;
    uint32_t i = p->n_samples % SL_PULLPROGRESS_SAMPLES;

    if (p->n_samples && now - p->at_ns[last] < SAMPLE_NS)
        return;
    p->at_ns[i] = now;
    p->at_bytes[i] = bytes;
    p->n_samples++;
}

/* Bytes per second since the oldest sample; 0: not known yet. */
static double rate(const struct sl_pullprogress *p, uint64_t now, uint64_t bytes)
{
    uint32_t oldest = p->n_samples > SL_PULLPROGRESS_SAMPLES
                          ? p->n_samples % SL_PULLPROGRESS_SAMPLES : 0;
    uint64_t ns = now - p->at_ns[oldest];

    if (!p->n_samples || ns < SAMPLE_NS || bytes < p->at_bytes[oldest])
        return 0.0;
    return (double)(bytes - p->at_bytes[oldest]) * 1e9 / (double)ns;
}

static void draw(struct sl_pullprogress *p, const struct sl_download_state *state, uint64_t now)
{
    bool is_checking = state->there_bytes == state->bytes;
    uint64_t done = p->before_bytes + (is_checking ? state->checked_bytes : state->there_bytes);
    double share = (double)done / (double)p->total_bytes;
    double per_s = rate(p, now, p->before_bytes + state->there_bytes);
    char bar[BAR_CHARS + 1], time[32];

    for (int i = 0; i < BAR_CHARS; i++)
        bar[i] = i < share * BAR_CHARS ? '#' : '-';
    bar[BAR_CHARS] = '\0';
    fprintf(stderr, "\r%s [%s] %.2f of %.2f GB", is_checking ? "checking" : "pulling", bar,
            (double)done * 1e-9, (double)p->total_bytes * 1e-9);
    if (!is_checking && state->wait_ms)
        fprintf(stderr, ", waiting %u s: %.60s", state->wait_ms / 1000 + 1, state->fault);
    else if (!is_checking && per_s > 0.0)
        fprintf(stderr, ", %.1f MB/s, %s left", per_s * 1e-6,
                sl_pullprogress_time(time, (double)(p->total_bytes - done) / per_s));
    fputs("\033[K", stderr);
    p->shown = true;
}

int sl_pullprogress_update(void *arg, const struct sl_download_state *state)
{
    struct sl_pullprogress *p = arg;
    uint64_t now = sl_clock_ns();

    take_sample(p, now, p->before_bytes + state->there_bytes);
    if (p->total_bytes && now - p->drawn_ns >= DRAW_NS && isatty(STDERR_FILENO)) {
        p->drawn_ns = now;
        draw(p, state, now);
    }
    return sl_interrupt_is_set();
}

void sl_pullprogress_end(struct sl_pullprogress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
