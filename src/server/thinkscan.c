/*
 * "<" stands at the beginning of the markers alone, so that a byte which does not go on with
 * one can only begin it anew.
 */
#include "server/thinkscan.h"

#include <string.h>

static const char begin_mark[] = "<think>", end_mark[] = "</think>";

static void begin_step(struct sl_thinkscan *scan, char c)
{
    if (c != begin_mark[scan->n_matched])
        *scan = (struct sl_thinkscan){.state = SL_THINKSCAN_SAYS};
    else if (++scan->n_matched == sizeof(begin_mark) - 1)
        *scan = (struct sl_thinkscan){.state = SL_THINKSCAN_THINKS};
}

static void end_step(struct sl_thinkscan *scan, char c)
{
    scan->n_matched = c == end_mark[scan->n_matched] ? scan->n_matched + 1 : c == end_mark[0];
    if (scan->n_matched == sizeof(end_mark) - 1)
        *scan = (struct sl_thinkscan){.state = SL_THINKSCAN_SAYS};
}

size_t sl_thinkscan_feed(struct sl_thinkscan *scan, const char *text, size_t len)
{
    for (size_t i = 0; i < len && scan->state != SL_THINKSCAN_SAYS; i++) {
        if (scan->state == SL_THINKSCAN_BEGINS) {
            begin_step(scan, text[i]);
            continue;
        }
        end_step(scan, text[i]);
        if (scan->state == SL_THINKSCAN_SAYS)
            return i + 1;
    }
    return len;
}

const char *sl_thinkscan_rest(const struct sl_thinkscan *scan, const char *text, size_t len)
{
    const char *rest = begin_mark + scan->n_matched;
    size_t n = strlen(rest) < len ? strlen(rest) : len;

    return len && memcmp(rest, text, n) == 0 ? rest + n : NULL;
}
