/*
 * What an argument MODEL means: a path, or a name in one of the stores of other programs
 * (store/find.h says how they are spelt). Main thread.
 */
#pragma once

#include <argp.h>
#include <stddef.h>

/*
 * The path of the model that text means: text itself where it is one, else a path in buf.
 * For argp parsers, at ARGP_KEY_SUCCESS: where there is no such model, or more than one, this
 * ends the program with exit code 1 and says which there are.
 */
const char *sl_modelname_path(struct argp_state *state, const char *text, char *buf,
                              size_t cap);
