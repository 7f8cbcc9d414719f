/*
 * The alphabets follow what grammars allow in free places: names, the text of a JSON string
 * or of Python's, whichever quotes that has. Each is a few ranges of code points.
 */
#include "text/alphabet.h"

#include <assert.h>

#include "base/codepoint.h"

static const struct range {
    uint32_t first, last;
    enum sl_alphabet alphabet; /* the first that has it */
} RANGES[] = {
    {' ', ' ', SL_ALPHABET_WORD},  {'-', '-', SL_ALPHABET_WORD},  {'0', '9', SL_ALPHABET_WORD},
    {'A', 'Z', SL_ALPHABET_WORD},  {'_', '_', SL_ALPHABET_WORD},  {'a', 'z', SL_ALPHABET_WORD},
    {'!', '!', SL_ALPHABET_SIGN},  {'#', '&', SL_ALPHABET_SIGN},  {'(', ',', SL_ALPHABET_SIGN},
    {'.', '/', SL_ALPHABET_SIGN},  {':', '@', SL_ALPHABET_SIGN},  {'[', '[', SL_ALPHABET_SIGN},
    {']', '^', SL_ALPHABET_SIGN},  {'`', '`', SL_ALPHABET_SIGN},  {'{', '~', SL_ALPHABET_SIGN},
    {0x80, 0x10FFFF, SL_ALPHABET_WIDE},
};
#define N_RANGES (sizeof(RANGES) / sizeof(RANGES[0]))

static enum sl_alphabet of_char(uint32_t cp)
{
    for (size_t i = 0; i < N_RANGES; i++)
        if (RANGES[i].first <= cp && cp <= RANGES[i].last)
            return RANGES[i].alphabet;
    return SL_ALPHABET_N;
}

enum sl_alphabet sl_alphabet_of(const char *text, size_t len, size_t *ret_n_chars)
{
    enum sl_alphabet alphabet = SL_ALPHABET_WORD;

    *ret_n_chars = 0;
    for (size_t i = 0; i < len && alphabet != SL_ALPHABET_N; ++*ret_n_chars) {
        uint32_t cp;
        size_t n = sl_codepoint_decode(text + i, len - i, &cp);
        enum sl_alphabet of = n ? of_char(cp) : SL_ALPHABET_N;

        alphabet = of > alphabet ? of : alphabet;
        i += n;
    }
    return alphabet;
}

uint32_t sl_alphabet_ranges(enum sl_alphabet alphabet,
                            struct sl_utf8range ret[SL_ALPHABET_RANGES_MAX])
{
    struct sl_utf8range split[SL_UTF8RANGE_MAX];
    uint32_t n = 0;

    for (size_t i = 0; i < N_RANGES; i++) {
        uint32_t n_split;

        if (RANGES[i].alphabet > alphabet)
            continue;
        n_split = sl_utf8range_split(RANGES[i].first, RANGES[i].last, split);
        assert(n + n_split <= SL_ALPHABET_RANGES_MAX);
        for (uint32_t k = 0; k < n_split; k++)
            ret[n++] = split[k];
    }
    return n;
}
