/*
 * What tests of the APIs need instead of a server: facts about a model, text functions that
 * need none, requests told as text, and replies played from short scripts.
 */
#pragma once

#include "base/strbuf.h"
#include "server/api.h"
#include "server/apiwriter.h"
#include "server/genevent.h"

/* A model called tiny-lfm2 of 2014 tokens with a context of 256, tools and no thinking. */
extern const struct sl_apienv apiworld_env;
/* The same, and it thinks. */
extern const struct sl_apienv apiworld_thinker;
extern const struct sl_apistate apiworld_state;

/* A token for each byte, its number the byte's; 256 is BOS. Messages and tools are rendered as
 * they are, in brackets; tools_json as "fail" fails. */
extern const struct sl_apitext apiworld_text;

extern const struct sl_genid apiworld_id;
#define APIWORLD_CREATED_NS 1795399530000000000

/* Append what a request asks for: JSON of what is not as in a request that says nothing. */
void apiworld_tell_call(const struct sl_apicall *call, const struct sl_apienv *env,
                        struct sl_strbuf *out);

/* How a reply ends, and what came before; each event's counts grow by one token. */
struct apiworld_event {
    enum sl_genevent_kind kind;
    const char *text; /* of text; a call's name; a token's piece; a stop string; an error */
    int32_t number;   /* enum sl_genfinish, token id, status, tokens processed */
};

/*
 * Play n events into a writer of the call. What each writes is appended to out; status and
 * type of the reply are in ret_reply. Returns what the writer did, and stops when that is
 * negative.
 */
int apiworld_play(const struct sl_apicall *call, const struct sl_apienv *env,
                  const struct apiworld_event *events, size_t n, struct sl_strbuf *out,
                  struct sl_apireply *ret_reply);
