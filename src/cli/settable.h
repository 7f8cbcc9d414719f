/* Which options may be set in the file of settings and the environment. Pure. Any thread. */
#pragma once

#include "cli/command.h"
#include "cli/optable.h"

/* Not those that say what a single run is about, or would change what it measures. */
bool sl_settable_is(const struct sl_command *command, const struct sl_option *option);

/* Given more than once, it has all these values. */
bool sl_settable_repeats(const char *option);

/* Not to be shown. */
bool sl_settable_is_secret(const char *option);

/* A file or a folder. */
bool sl_settable_is_path(const struct sl_option *option);

/* The option that, when typed, takes away what is set for this one; NULL: there is none. */
const char *sl_settable_gives_way_to(const char *option);

/* What yes, no, true, false, on, off, 1 and 0 say; false: none of these. */
bool sl_settable_parse_flag(const char *value, bool *ret_on);
