/* One character of UTF-8. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The character at text, of at most len bytes (len >= 1): its length, 1 to 4, and code
 * point; 0 when the bytes are not well-formed UTF-8 (too long a form, a surrogate,
 * beyond U+10FFFF, cut off).
 */
static inline size_t sl_codepoint_decode(const char *text, size_t len, uint32_t *ret_cp)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)text[0];
    size_t n = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
    uint32_t cp;

    if (n == 0 || n > len)
        return 0;
    cp = n == 1 ? c : c & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            return 0;
        cp = cp << 6 | ((unsigned char)text[i] & 0x3F);
    }
    if (cp < least[n] || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return 0;
    *ret_cp = cp;
    return n;
}

/* Write the UTF-8 of a code point up to U+10FFFF, a surrogate too: its length, 1 to 4. */
static inline size_t sl_codepoint_encode(uint32_t cp, char out[4])
{
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

    for (size_t i = n; i > 1; i--, cp >>= 6)
        out[i - 1] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)(n == 1 ? cp : (0xF00u >> n & 0xFF) | cp);
    return n;
}
