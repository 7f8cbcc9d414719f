/*
 * Names of replies, of the items in them and of tool calls: a prefix and letters and digits
 * that come from 128 random bits and a counter, so that one draw makes all the names of a
 * reply. Pure; any thread.
 */
#pragma once

#include <stdint.h>

#define SL_GENID_CHARS 32
#define SL_GENID_BYTES (16 + SL_GENID_CHARS + 1) /* a prefix of up to 16, terminated */

/* The random bits of a reply. Nothing secret may hang on them. */
struct sl_genid {
    uint64_t random[2];
};

/* "chatcmpl-" and 32 characters; the same for the same id, prefix and counter. */
void sl_genid_make(char out[SL_GENID_BYTES], const struct sl_genid *id, const char *prefix,
                   uint32_t counter);

/* The id of tool call i of a reply, in all APIs alike. */
void sl_genid_call(char out[SL_GENID_BYTES], const struct sl_genid *id, uint32_t i_call);
