/*
 * A range is cut until all its characters have the same length, and each byte takes every
 * value between that of the first and of the last character, whatever the others are. With
 * 6 bits per continuation byte that holds when, for each tail of 6, 12 or 18 bits, either
 * all bits above are the same in both, or the tail runs from all zeroes to all ones.
 */
#include "text/utf8range.h"

#include <assert.h>

#include "base/codepoint.h"

static uint32_t length(uint32_t cp)
{
    return cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
}

/* Where to cut lo..hi: the last code point of the first part, or hi. */
static uint32_t find_cut(uint32_t lo, uint32_t hi)
{
    static const uint32_t lasts[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF};

    for (uint32_t i = 0; i < sizeof(lasts) / sizeof(*lasts); i++)
        if (lo <= lasts[i] && hi > lasts[i])
            return lasts[i];
    for (uint32_t i = 1; i < length(hi); i++) {
        uint32_t tail = (1u << (6 * i)) - 1;

        if ((lo & ~tail) == (hi & ~tail))
            continue;
        if ((lo & tail) != 0)
            return lo | tail;
        if ((hi & tail) != tail)
            return (hi & ~tail) - 1;
    }
    return hi;
}

uint32_t sl_utf8range_split(uint32_t lo, uint32_t hi, struct sl_utf8range ret[SL_UTF8RANGE_MAX])
{
    uint32_t n = 0;

    for (uint32_t cut; lo <= hi; lo = cut + 1) {
        cut = find_cut(lo, hi);
        while (find_cut(lo, cut) != cut)
            cut = find_cut(lo, cut);
        if (lo >= 0xD800 && lo < 0xE000)
            continue;
        assert(n < SL_UTF8RANGE_MAX);
        ret[n].n = (uint32_t)sl_codepoint_encode(lo, (char *)ret[n].lo);
        (void)sl_codepoint_encode(cut, (char *)ret[n].hi); /* of the same length */
        n++;
    }
    return n;
}
