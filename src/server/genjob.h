/*
 * A request to generate, ready for the scheduler: its prompt as tokens, and what else had to
 * be made of text. Made by the text thread (promptjob.h), from then on read-only but for the
 * scheduler's own field. It owns what it points to, unless it says otherwise.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "server/genid.h"
#include "server/genreq.h"

#define SL_GENJOB_MARKS_MAX 2

enum sl_genthink {
    SL_GENTHINK_NEVER = 0,
    SL_GENTHINK_MAY,  /* a reply that begins with <think> thinks */
    SL_GENTHINK_OPEN, /* the prompt ends in <think> */
};

struct sl_genjob {
    uint64_t id;                 /* names the request; not 0 */
    const struct sl_genreq *req; /* borrowed for as long as the job lives */
    struct sl_genid genid;
    uint64_t came_ns; /* sl_clock_ns */

    int32_t *tokens; /* the prompt, at least one, all in the vocabulary */
    uint32_t n_tokens;
    char *prompt_text; /* of all tokens; NULL unless SL_GENREQ_PROMPT_TEXT */
    size_t prompt_text_len;
    char *turn_begin; /* what the prompt begins the assistant's turn with; NULL: nothing */
    /* Numbers of tokens, ascending, at which messages end that other prompts may share: the
     * first, which is the system's if there is one, and all but the last. */
    uint32_t marks[SL_GENJOB_MARKS_MAX];
    uint32_t n_marks;

    enum sl_genthink think;
    struct sluice_logit_bias *bias; /* with those that ignore_eos means */
    uint32_t n_bias;
    uint64_t seed; /* asked for, or drawn */
    struct sluice_grammar *grammar; /* the request's, compiled; a reference; NULL: none */

    void *owner; /* whoever handed it to the scheduler: theirs to use */
};
