/*
 * What to do about an answer that is not what was asked for: try again, and when, or give up.
 * Pure functions. Any thread.
 */
#pragma once

#include <stdint.h>

#include "fetch/transfer.h"

#define SL_RETRY_AFTER_MAX_S 600u /* a server that wants more patience is not waited for */

struct sl_retry_opts {
    uint32_t n_tries;  /* in a row without a byte of progress, at least 1; default 8 */
    uint32_t first_ms; /* wait before the second, doubled each time; default 500 */
};

/* Room for a line. */
#define SL_RETRY_TEXT_BYTES 400

/*
 * What a reply is that was to bring bytes. 0: it brought some (status 200 or 206, no error).
 * -EAGAIN: try again. Others are final: -EACCES (401, 403), -ENOENT (404, 410), -ESTALE (416:
 * it is shorter than it was), -EPROTO, -ENOMEM, what a callback returned. text: what it was,
 * "" for 0.
 */
int sl_retry_judge(const struct sl_transfer_reply *reply, char text[SL_RETRY_TEXT_BYTES]);

/*
 * Milliseconds to wait before the next try after n_fails (1, 2, ...) in a row: doubled each
 * time up to 30 s, then between half of that and all of it by seed, any number, so that many
 * who were refused at once do not come back at once.
 */
uint32_t sl_retry_wait_ms(const struct sl_retry_opts *opts, uint32_t n_fails, uint64_t seed);
