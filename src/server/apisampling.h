/*
 * How tokens are chosen, as the front ends' requests say it under the names that OpenAI,
 * llama.cpp and Ollama share. Filled into the call's request to generate; faults as in
 * apiobject.h. One thread at a time per parse.
 */
#pragma once

#include <stddef.h>

#include "server/apiobject.h"

/*
 * Temperature, top_k, top_p, min_p, the penalties, seed; refuses methods of sampling that
 * there are not, unless they are switched off.
 */
void sl_apisampling_read(struct sl_apiobject *o);

/* logit_bias in OpenAI's and llama.cpp's forms, and ignore_eos. */
void sl_apisampling_read_bias(struct sl_apiobject *o);

/* llama.cpp's list of samplers: those that it leaves out are off. An order other than ours is
 * refused. */
void sl_apisampling_read_order(struct sl_apiobject *o);

/* Add a bias; token -1: text, len bytes of it, is copied. */
void sl_apisampling_add_bias(struct sl_apiobject *o, const char *key, int32_t token,
                             const char *text, size_t len, float bias);

/* A member that is a text or a list of texts at which to stop. */
void sl_apisampling_read_stops(struct sl_apiobject *o, const char *key);

/* What a member must be for a request to mean the same without it. */
enum sl_apineutral {
    SL_APINEUTRAL_NONE = 0, /* it never is */
    SL_APINEUTRAL_ZERO,     /* 0 or false */
    SL_APINEUTRAL_ONE,
    SL_APINEUTRAL_TO_ZERO,  /* 0 or less, or false */
    SL_APINEUTRAL_BELOW,    /* less than 0 */
    SL_APINEUTRAL_EMPTY,    /* an empty text, list or object, or false */
};

struct sl_apirefusal {
    const char *key;
    enum sl_apineutral neutral;
    const char *hint; /* what to do instead; NULL */
};

/* Refuse each of n members that is there and not neutral. */
void sl_apisampling_refuse(struct sl_apiobject *o, const struct sl_apirefusal *list, size_t n);
