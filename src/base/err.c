#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

int sl_diag_set(struct sl_diag *diag, int code, const char *fmt, ...)
{
    va_list args;

    if (!diag)
        return code;
    va_start(args, fmt);
    if (vsnprintf(diag->text, sizeof(diag->text), fmt, args) >= (int)sizeof(diag->text))
        trim_utf8(diag->text);
    va_end(args);
    for (char *p = diag->text; *p; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
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
