/*
 * One request to generate, by whichever API it came: what the scheduler works from. The
 * front ends' parsers make it (api.h); afterwards it is read-only, and any thread may read
 * it. It owns all that it points to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sluice.h"

#define SL_GENREQ_STOPS_MAX  16
#define SL_GENREQ_TOOLS_MAX  1024
#define SL_GENREQ_BIASES_MAX 65536
#define SL_GENREQ_TOP_MAX    100 /* alternatives of a token */

enum sl_geninput {
    SL_GENINPUT_CHAT = 0, /* messages, tools, prefill */
    SL_GENINPUT_PROMPT,   /* parts */
};

/* A piece of a raw prompt: text, to be tokenised with special tokens, or tokens. Text that
 * is the first part is tokenised with BOS as well. */
struct sl_genpart {
    char *text; /* terminated; NULL: tokens */
    size_t len;
    int32_t *tokens; /* not yet held against the vocabulary */
    size_t n_tokens;
};

enum sl_gentoolchoice {
    SL_GENTOOLCHOICE_AUTO = 0, /* as the model likes */
    SL_GENTOOLCHOICE_NONE,     /* calls are text; the tools are listed nevertheless */
    SL_GENTOOLCHOICE_REQUIRED, /* at least one call; the grammar sees to it */
    SL_GENTOOLCHOICE_NAMED,    /* of the tool tool_name; likewise */
};

enum sl_genreasoning {
    SL_GENREASONING_SPLIT = 0, /* told apart, in events of its own */
    SL_GENREASONING_TEXT,      /* left in the text, with its markers */
    SL_GENREASONING_HIDDEN,    /* told apart; the writers leave it out */
};

struct sl_genbias {
    int32_t token; /* -1: all tokens of text */
    char *text;
    float bias; /* -INFINITY forbids */
};

enum {
    SL_GENREQ_STREAM = 1 << 0,
    SL_GENREQ_USAGE = 1 << 1,         /* a stream tells usage at its end */
    SL_GENREQ_PROGRESS = 1 << 2,      /* events of the prompt's progress are wanted */
    SL_GENREQ_TOKENS = 1 << 3,        /* the ids of tokens are wanted */
    SL_GENREQ_LOGPROBS = 1 << 4,      /* their log-probabilities, and n_top alternatives */
    SL_GENREQ_TIMINGS = 1 << 5,       /* in every piece of a stream */
    SL_GENREQ_IGNORE_EOS = 1 << 6,    /* tokens that end the turn are forbidden */
    SL_GENREQ_NO_CACHE = 1 << 7,      /* use no cached prefix */
    SL_GENREQ_ONE_CALL = 1 << 8,      /* of several calls only the first counts */
    SL_GENREQ_CALLS = 1 << 9,         /* calls are to be told apart from text */
    SL_GENREQ_NO_OPENING = 1 << 10,   /* do not open the assistant's turn */
    SL_GENREQ_NEW_TURN = 1 << 11,     /* open one even behind a message of its own */
    SL_GENREQ_PROMPT_TEXT = 1 << 12,  /* the start event is to bring the prompt's text */
};

struct sl_genreq {
    char *model; /* the name asked for; NULL: none */
    uint32_t flags; /* SL_GENREQ_* */

    enum sl_geninput input;
    /*
     * As sluice_chat_render takes them: messages with role and content, a text; the
     * assistant's may have thinking, a text, and tool_calls, [{"id", "type", "function":
     * {"name", "arguments"}}] with arguments as JSON text of an object; those of role tool
     * may have tool_call_id and name. genchat.h puts past calls into the content for
     * templates that would drop them.
     */
    char *messages_json;
    char *tools_json; /* an array of {"type": "function", "function"}; NULL: none */
    char *prefill;    /* what the assistant's turn begins with, not to be repeated; NULL */
    size_t prefill_len;
    struct sl_genpart *parts;
    size_t n_parts;

    /* Model's settings where the request says nothing. bias is NULL: see biases. */
    struct sluice_sampler_opts sampling;
    bool is_seeded; /* else sampling.seed is to be drawn */
    struct sl_genbias *biases;
    size_t n_biases;
    int64_t n_predict_max; /* tokens; -1: until the context is full */
    uint32_t n_top;        /* alternatives for each token */
    char **stops;          /* never empty; the reply ends before the first that appears */
    size_t n_stops;
    /*
     * What the text has to follow, from its first token on; where the prompt opens the
     * model's thinking, or the reply begins with it, from behind its end on. NULL: none.
     */
    char *grammar;
    size_t grammar_len;

    enum sl_genreasoning reasoning;
    enum sl_gentoolchoice tool_choice;
    char *tool_name;
    char **tool_names; /* of all tools, for struct sl_reply_opts */
    size_t n_tool_names;

    int32_t slot;     /* asked for; -1: any */
    int32_t ping_s;   /* between comments in a silent stream; 0: none; -1: not said */
    char *cache_key;  /* requests of one key are likely to share a prefix; NULL */
};

/* Free all that it owns. A request of all zeroes is allowed. */
void sl_genreq_done(struct sl_genreq *req);
