/*
 * Tool calls in the form that LFM2 models write and read:
 *
 *     <|tool_call_start|>[f(a="x", b=True), g()]<|tool_call_end|>
 *
 * Parsed from the text between the markers, and rendered with them. reply.h finds the
 * calls in a stream. Pure; any thread.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

#define SL_TOOLCALL_START "<|tool_call_start|>"
#define SL_TOOLCALL_END "<|tool_call_end|>"

#define SL_TOOLCALL_N_MAX 256 /* calls in one list */

struct sl_toolcall {
    const char *name;      /* terminated, never empty */
    const char *arguments; /* an object as JSON text, compact, terminated */
    size_t arguments_len;
};

/* All zeroes: none. */
struct sl_toolcalls {
    struct sl_toolcall *calls;
    size_t n;
    char *texts; /* what the calls point into */
};

/*
 * Parse a list of calls, or one call without brackets. Two forms are taken:
 *
 * - Python's: name(key=value, ...), values as in pyliteral.h, **{...} for keys that are no
 *   names. Names are as in pyliteral.h, a function's may have dots; keywords of Python are
 *   names too. The value of each argument is what ast.literal_eval gives.
 * - JSON's: {"name": "f", "arguments": {...}}, "parameters" for "arguments", arguments as
 *   JSON text, all of it within "function", and the same as a Python dict.
 *
 * -EBADMSG: anything else, an empty list, a positional argument, a repeated keyword, an
 * unfinished call: it is then all one text, and none of its calls may be made. -E2BIG:
 * more than SL_TOOLCALL_N_MAX calls, or too deep. -ENOMEM. ret_calls is untouched then;
 * otherwise the caller's, for sl_toolcall_done.
 */
int sl_toolcall_parse(struct sl_toolcalls *ret_calls, const char *text, size_t len);
void sl_toolcall_done(struct sl_toolcalls *calls);

/*
 * Render calls, with markers, to heap text that the caller frees. calls is an array of
 * {"name", "arguments"}, or of such in "function" as OpenAI has it; arguments are an
 * object, JSON text of one, null, or absent. Parsing gives them back: strings stand in
 * double quotes, escaped so that Python and JSON read the same; a "<|" in one is
 * escaped too, so that no argument can spell a special token.
 *
 * An empty array gives "". -EBADMSG (not of that form, a name that could not be read
 * back; says which), -E2BIG, -ENOMEM.
 */
int sl_toolcall_render(const struct sl_json *calls, char **ret_text, size_t *ret_len,
                        struct sl_diag *diag);
