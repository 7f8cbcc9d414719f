/*
 * UTF-8 validation and the stream from token pieces to whole characters.
 *
 * The stream holds back at most three bytes: the beginning of a character. A byte
 * that cannot continue it turns the held bytes into one U+FFFD (the maximal
 * ill-formed part, as Unicode 3.9 and the web's decoders do) and is looked at again
 * as a beginning. Output is therefore always valid UTF-8, and its length is at most
 * 3 bytes for each byte fed plus 3 for what was held.
 */
#include "text/utf8.h"

#include <string.h>

#include "base/bytes.h"
#include "base/codepoint.h"
#include "text/tokenizer.h"

static const char REPLACEMENT[3] = {'\xef', '\xbf', '\xbd'};

/*
 * Length of the character at p (1 to 4); 0 if the n bytes there are the beginning of
 * one and more are needed; -1 if they can never become one.
 */
static int char_len(const unsigned char *p, size_t n)
{
    const unsigned char first = p[0];
    unsigned char lo = 0x80, hi = 0xbf; /* of the second byte */
    size_t need;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return -1;
    need = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first == 0xe0)
        lo = 0xa0;
    else if (first == 0xed)
        hi = 0x9f;
    else if (first == 0xf0)
        lo = 0x90;
    else if (first == 0xf4)
        hi = 0x8f;

    for (size_t i = 1; i < need; i++) {
        if (i >= n)
            return 0;
        if (p[i] < lo || p[i] > hi)
            return -1;
        lo = 0x80;
        hi = 0xbf;
    }
    return (int)need;
}

size_t sl_utf8_valid_len(const char *text, size_t len)
{
    uint32_t cp;
    size_t i = 0;

    while (i < len) {
        size_t n = 8;

        if (len - i < 8 || (sl_load_u64(text + i) & 0x8080808080808080u) != 0)
            n = sl_codepoint_decode(text + i, len - i, &cp);
        if (n == 0)
            break;
        i += n;
    }
    return i;
}

static size_t put(char *out, const void *bytes, size_t n)
{
    memcpy(out, bytes, n);
    return n;
}

size_t sl_utf8_stream_feed(struct sl_utf8_stream *s, const char *piece, size_t len, char *out)
{
    size_t n_out = 0, i = 0;

    while (i < len) {
        int n;

        s->held[s->n_held++] = (unsigned char)piece[i];
        n = char_len(s->held, s->n_held);
        if (n == 0) {
            i++;
        } else if (n > 0) {
            n_out += put(out + n_out, s->held, (size_t)n);
            s->n_held = 0;
            i++;
        } else {
            n_out += put(out + n_out, REPLACEMENT, sizeof(REPLACEMENT));
            if (s->n_held == 1)
                i++; /* the byte itself is bad; else it may begin a character */
            s->n_held = 0;
        }
    }
    return n_out;
}

size_t sl_utf8_stream_end(struct sl_utf8_stream *s, char *out)
{
    if (s->n_held == 0)
        return 0;
    s->n_held = 0;
    return put(out, REPLACEMENT, sizeof(REPLACEMENT));
}
