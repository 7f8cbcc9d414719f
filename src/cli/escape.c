#include "cli/escape.h"

#include <stdbool.h>
#include <string.h>
#include <wchar.h>

#include "base/codepoint.h"

/* Control characters, and those that change the direction or order of what is around. */
static bool is_plain(uint32_t cp)
{
    return cp >= 0x20 && cp != 0x7F && !(cp >= 0x80 && cp < 0xA0) && cp != '\\' &&
           !(cp >= 0x200B && cp <= 0x200F) && !(cp >= 0x2028 && cp <= 0x202E) &&
           !(cp >= 0x2066 && cp <= 0x2069) && cp != 0xFEFF;
}

void sl_escape_add(struct sl_strbuf *buf, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = sl_codepoint_decode(name + i, len - i, &cp);

        if (n && is_plain(cp))
            sl_strbuf_add(buf, name + i, n);
        else if (n == 1 && cp == '\\')
            sl_strbuf_add_str(buf, "\\\\");
        else
            for (size_t k = 0; k < (n ? n : 1); k++)
                sl_strbuf_add_fmt(buf, "\\x%02x", (unsigned char)name[i + k]);
        i += n ? n : 1;
    }
}

int sl_escape_columns(const char *escaped)
{
    size_t len = strlen(escaped);
    int columns = 0;

    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = sl_codepoint_decode(escaped + i, len - i, &cp);
        int width = n ? wcwidth((wchar_t)cp) : 1;

        columns += width < 0 ? 1 : width;
        i += n ? n : 1;
    }
    return columns;
}
