#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/codepoint.h"

/* Cut an incomplete UTF-8 character off the end of a text that filled its buffer. */
static void trim_utf8(char *text)
{
    size_t len = strlen(text);
    size_t lead = len;
    size_t want;

    while (lead > 0 && ((unsigned char)text[lead - 1] & 0xC0) == 0x80)
        lead--;
    if (lead == 0 || (unsigned char)text[lead - 1] < 0xC0)
        return;
    want = (unsigned char)text[lead - 1] >= 0xF0   ? 4
           : (unsigned char)text[lead - 1] >= 0xE0 ? 3
                                                   : 2;
    if (len - (lead - 1) < want)
        text[lead - 1] = '\0';
}

void sl_text_clean(char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = sl_codepoint_decode(text + i, len - i, &cp);

        if (n == 0)
            text[i] = '?';
        else if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
            memset(text + i, ' ', n);
        i += n ? n : 1;
    }
}

int sl_diag_set(struct sl_diag *diag, int code, const char *fmt, ...)
{
    va_list args;

    if (!diag)
        return code;
    va_start(args, fmt);
    if (vsnprintf(diag->text, sizeof(diag->text), fmt, args) >= (int)sizeof(diag->text))
        trim_utf8(diag->text);
    va_end(args);
    sl_text_clean(diag->text);
    return code;
}

int sl_diag_prefix(struct sl_diag *diag, int code, const char *fmt, ...)
{
    char prefix[SL_DIAG_BYTES];
    struct sl_diag old;
    va_list args;

    if (!diag)
        return code;
    va_start(args, fmt);
    (void)vsnprintf(prefix, sizeof(prefix), fmt, args); /* cut is fine */
    va_end(args);
    old = *diag;
    return sl_diag_set(diag, code, "%s: %s", prefix, old.text);
}

const char *sl_err_text(int code)
{
    switch (-code) {
    case EBADMSG: return "malformed or corrupt data";
    case ENOTSUP: return "not supported";
    case ERANGE: return "number out of range";
    case E2BIG: return "over a limit";
    case ENOMEM: return "not enough memory";
    case EIO: return "input/output error";
    case ENOBUFS: return "buffer too small";
    case ECANCELED: return "cancelled";
    case EAGAIN: return "try again later";
    case EINVAL: return "invalid argument";
    default: return strerror(-code);
    }
}
