#include "fetch/retry.h"

#include <errno.h>
#include <stdio.h>

#define WAIT_MAX_MS 30000u

static int judge_status(const struct sl_transfer_reply *reply)
{
    switch (reply->status) {
    case 200:
    case 206: return 0;
    case 401:
    case 403: return -EACCES;
    case 404:
    case 410: return -ENOENT;
    case 416: return -ESTALE;
    case 408:
    case 425:
    case 429: break;
    default:
        if (reply->status < 500 || reply->status == 501 || reply->status == 505)
            return -EPROTO;
    }
    if (reply->retry_after_s != SL_TRANSFER_UNKNOWN && reply->retry_after_s > SL_RETRY_AFTER_MAX_S)
        return -EPROTO;
    return -EAGAIN;
}

static const char *name_of(int status)
{
    switch (status) {
    case 401: return " (unauthorized)";
    case 403: return " (forbidden)";
    case 404: return " (not found)";
    case 408: return " (timeout)";
    case 410: return " (gone)";
    case 416: return " (no such range)";
    case 429: return " (too many requests)";
    case 500: return " (error of the server)";
    case 502: return " (bad gateway)";
    case 503: return " (not available now)";
    case 504: return " (gateway timeout)";
    default: return "";
    }
}

int sl_retry_judge(const struct sl_transfer_reply *reply, char text[SL_RETRY_TEXT_BYTES])
{
    int r;

    text[0] = '\0';
    if (reply->error) {
        (void)snprintf(text, SL_RETRY_TEXT_BYTES, "%s", reply->text);
        switch (reply->error) {
        case -ETIMEDOUT:
        case -ECONNRESET:
        case -ECONNREFUSED:
        case -EHOSTUNREACH: return -EAGAIN;
        default: return reply->error;
        }
    }
    r = judge_status(reply);
    if (r < 0)
        (void)snprintf(text, SL_RETRY_TEXT_BYTES, "the server answers %d%s%s%s", reply->status,
                       name_of(reply->status), reply->text[0] ? ": " : "", reply->text);
    if (r == -EPROTO && reply->retry_after_s != SL_TRANSFER_UNKNOWN &&
        reply->retry_after_s > SL_RETRY_AFTER_MAX_S)
        (void)snprintf(text, SL_RETRY_TEXT_BYTES,
                       "the server answers %d%s and asks to come back in %llu s", reply->status,
                       name_of(reply->status), (unsigned long long)reply->retry_after_s);
    return r;
}

uint32_t sl_retry_wait_ms(const struct sl_retry_opts *opts, uint32_t n_fails, uint64_t seed)
{
    uint64_t wait = opts->first_ms;
    uint64_t mixed = (seed + 1) * 0x9E3779B97F4A7C15u;

    for (uint32_t i = 1; i < n_fails && wait < WAIT_MAX_MS; i++)
        wait *= 2;
    if (wait > WAIT_MAX_MS)
        wait = WAIT_MAX_MS;
    return (uint32_t)(wait - (wait / 2) * (mixed >> 40) / (1u << 24));
}
