/*
 * The words that options take, where they are few: one list for parsers, completions and the
 * makers of pages. Pure. Any thread.
 */
#pragma once

#include <argp.h>

/* The words of the option of that long name, ended by NULL; NULL if it takes others. In one
 * with a colon, what follows it stands for something: "replay:FILE". */
const char *const *sl_choices_find(const char *option);

/* For argp parsers: the index of arg among the words of that option, which must have some;
 * otherwise argp_error. */
int sl_choices_parse(struct argp_state *state, const char *option, const char *arg);
