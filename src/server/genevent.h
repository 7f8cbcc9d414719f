/*
 * What becomes of a request, as the scheduler tells it and the writers of the APIs write it
 * (apiwriter.h). Events of one request come in this order:
 *
 *     START PROGRESS* (TOKEN | TEXT | REASONING | CALL_BEGIN CALL_ARGUMENTS* CALL_END)* FINISH
 *
 * ERROR may come at any place, and is then the last. Before START it is an answer of its own,
 * with its status; after it the last piece of a stream. TOKEN, told if the request wants
 * tokens or log-probabilities, comes before the text that the token makes; what is held back
 * (half a character, what may become a stop string or a call) is told with a later token, or
 * before FINISH. Everything that an event points to lasts for the call alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "server/apierror.h"

enum sl_genevent_kind {
    SL_GENEVENT_START = 0, /* the prompt is read, its cached part is known */
    SL_GENEVENT_PROGRESS,  /* the first has processed == cached, the last == total */
    SL_GENEVENT_TOKEN,
    SL_GENEVENT_TEXT,
    SL_GENEVENT_REASONING,
    SL_GENEVENT_CALL_BEGIN,
    SL_GENEVENT_CALL_ARGUMENTS, /* the next piece of them, together JSON text of an object */
    SL_GENEVENT_CALL_END,
    SL_GENEVENT_FINISH,
    SL_GENEVENT_ERROR,
};

enum sl_genfinish {
    SL_GENFINISH_EOS = 0,   /* the model ended its turn, with or without calls */
    SL_GENFINISH_WORD,      /* a stop string, which is not part of the text */
    SL_GENFINISH_LENGTH,    /* n_predict_max */
    SL_GENFINISH_CONTEXT,   /* the context is full */
    SL_GENFINISH_CANCELLED, /* by the server: it is told as an error */
};

/* So far. Of times: what belongs to this request. */
struct sl_gencounts {
    uint32_t n_prompt_tok; /* the cached ones too */
    uint32_t n_cached_tok;
    uint32_t n_predicted_tok;
    uint32_t n_reasoning_tok; /* of these */
    double prompt_ms;         /* reading the prompt */
    double predicted_ms;      /* from the first token to the last */
    double total_ms;          /* since the request came in */
};

struct sl_genprob {
    int32_t token;
    const char *piece; /* its bytes, perhaps a part of a character */
    size_t len;
    float logprob;
};

struct sl_genevent {
    enum sl_genevent_kind kind;
    struct sl_gencounts counts;
    union {
        struct {
            uint32_t slot;
            uint64_t seed; /* asked for, or drawn */
            const char *prompt; /* with SL_GENREQ_PROMPT_TEXT: all tokens' text; else "" */
            size_t prompt_len;
        } start;
        struct {
            uint32_t total, cached, processed; /* tokens of the prompt */
            double ms;
        } progress;
        struct {
            struct sl_genprob chosen;
            const struct sl_genprob *top; /* most likely first */
            uint32_t n_top;
        } token;
        struct { /* TEXT, REASONING, CALL_ARGUMENTS: whole characters, never none */
            const char *ptr;
            size_t len;
        } text;
        struct {
            uint32_t i_call;  /* 0, 1, ... */
            const char *id;   /* sl_genid_call */
            const char *name; /* as id: of CALL_BEGIN alone */
        } call;
        struct {
            enum sl_genfinish reason;
            const char *word; /* the stop string; NULL */
        } finish;
        const struct sl_apierror *error;
    };
};
