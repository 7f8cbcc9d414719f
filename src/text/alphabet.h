/*
 * Alphabets that most tokens are written in, each with all characters of the one before: of
 * tokens in one alphabet can be told at once that they match (freetext.h). Any thread.
 */
#pragma once

#include <stddef.h>

#include "text/utf8range.h"

enum sl_alphabet {
    SL_ALPHABET_WORD, /* ASCII letters and digits, blank, - and _ */
    SL_ALPHABET_SIGN, /* printable ASCII but " ' and \ */
    SL_ALPHABET_WIDE, /* all characters but " ' \ and control characters of ASCII */
    SL_ALPHABET_N,    /* none */
};

/* The first alphabet with all characters of a text, or N; and how many there are, if one has. */
enum sl_alphabet sl_alphabet_of(const char *text, size_t len, size_t *ret_n_chars);

#define SL_ALPHABET_RANGES_MAX 32

/* The characters of an alphabet as byte sequences. Returns how many. */
uint32_t sl_alphabet_ranges(enum sl_alphabet alphabet,
                            struct sl_utf8range ret[SL_ALPHABET_RANGES_MAX]);
