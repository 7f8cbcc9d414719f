/*
 * --draft: guesses at an answer's next tokens (text/speculate.h), for the commands that
 * answer, and what they report of it.
 */
#pragma once

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/jsonwriter.h"
#include "cli/generate.h"
#include "sluice.h"

struct sl_draft_args {
    bool is_on;
    uint32_t n_fixed; /* tokens of every draft; 0: as many as pay */
};
extern const struct argp sl_draft_argp; /* --draft; its input is a struct sl_draft_args */

/* Have a session made with room for the logits of a draft. */
void sl_draft_set_rows(const struct sl_draft_args *args, struct sluice_session_opts *opts);

/* For the answers of a session: NULL if drafts are off. 0 or an exit code, reported. */
int sl_draft_new(const struct sl_draft_args *args, const struct sluice_session *session,
                 struct sl_speculate **ret_speculate);

/* A line of statistics on stderr, and a member "drafts"; nothing if they were off. */
void sl_draft_print(const struct sl_generate_stats *stats);
void sl_draft_write(struct sl_jsonwriter *w, const struct sl_generate_stats *stats);
