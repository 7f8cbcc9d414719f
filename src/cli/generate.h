/*
 * An answer: compute what of a prompt is new to a sequence, then draw tokens until the
 * end. Used by run and chat.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sluice.h"
#include "text/speculate.h"

enum sl_stop {
    SL_STOP_END = 0,     /* the model ended it */
    SL_STOP_LENGTH,      /* n_max */
    SL_STOP_INTERRUPTED, /* Ctrl-C */
    SL_STOP_OUTPUT,      /* emit failed */
    SL_STOP_ERROR,
};

struct sl_generate_opts {
    struct sluice_sampler_opts sampling;
    const char *grammar_path; /* file of a grammar that the answer follows, or NULL */
    uint32_t n_max; /* 0: no limit */
    bool special;   /* show special tokens, and the one that ends the answer */
    /* Drafts for the answer, which they do not change; NULL: none. Borrowed; what it learned
     * in one answer serves the next. */
    struct sl_speculate *speculate;
    /* Whole UTF-8 characters of the answer; nonzero stops. */
    int (*emit)(void *arg, const char *text, size_t len);
    /* Each token after it was drawn; may be NULL. Nonzero stops. */
    int (*on_token)(void *arg, int32_t id);
    void *arg;
};

struct sl_generate_spread {
    uint64_t median, p99; /* of the tokens computed while answering; 0 if there are none */
};

struct sl_generate_drafts {
    bool is_on;
    struct sl_speculate_stats count; /* of this answer */
    struct sl_draftlen learned;      /* as it was last */
};

struct sl_generate_stats {
    uint32_t n_prompt;       /* tokens of the prompt */
    uint32_t n_reused;       /* of these, computed before */
    uint32_t n_answer;       /* tokens drawn, the ending one too */
    uint64_t prompt_ns, answer_ns;
    uint64_t n_answer_steps; /* tokens computed while answering, and kept */
    uint64_t weight_bytes;   /* weights multiplied while answering */
    enum sl_stop stop;
    struct sl_generate_spread stall_ns, compute_ns; /* waiting for experts; the rest; of a
                                                       step, which may be of many tokens if
                                                       there are drafts */
    struct sl_generate_drafts drafts;
    bool is_streaming;
    /* streaming: what happened meanwhile; what counts the present stands as it was last */
    struct sluice_expert_counters prompt_experts, answer_experts;
    double disk_bytes_per_s; /* as measured by sluice plan; 0: it was not */
};

/*
 * The sequence may hold any tokens: it is rewound to what it shares with ids. Returns 0,
 * or a negative errno with the error's text (what was emitted until then stays). stats
 * is filled either way. At least one id.
 */
int sl_generate(const struct sluice_model *model, struct sluice_session *session, int seq,
                const int32_t *ids, size_t n_ids, const struct sl_generate_opts *opts,
                struct sl_generate_stats *ret_stats, struct sluice_error *error);

const char *sl_generate_stop_name(enum sl_stop stop); /* "end", "length" ... */
